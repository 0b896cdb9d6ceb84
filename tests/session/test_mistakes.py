"""Mistakes of filesystems' authors: each is logged with class and method."""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import triofuse as t
from triofuse.filesystem.checks import check_filesystem, doubts_about
from triofuse.testing import FakeKernel, open_kernel

DIRECTORY, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
Call = Callable[[FakeKernel], Awaitable[object]]


class JsonFS(t.Filesystem):
    """Without a mistake: one directory with one file."""

    async def lookup(self, request: t.Lookup) -> Any:
        return t.Entry(t.FileAttr(2, FILE, size=4))

    async def getattr(self, request: t.Getattr) -> Any:
        return t.FileAttr(request.nodeid, DIRECTORY if request.nodeid == 1 else FILE)

    async def readdir(self, request: t.Readdir) -> Any:
        return [t.DirEntry("file", 2)]

    async def read(self, request: t.Read) -> Any:
        return b"text"


def returning(method: str, value: object) -> type[JsonFS]:
    """Return a class one method of which returns this."""

    async def wrong(self: JsonFS, request: object) -> Any:
        return value

    return type("JsonFS", (JsonFS,), {method: wrong})


def having(name: str, function: Any) -> type[JsonFS]:
    """Return a class with another method."""
    return type("JsonFS", (JsonFS,), {name: function})


def entry(**fields: Any) -> t.Entry:
    return t.Entry(t.FileAttr(**{"ino": 2, "mode": FILE, **fields}))


async def _listing(self: JsonFS, request: t.Readdir) -> AsyncIterator[t.DirEntry]:
    yield t.DirEntry("file", 2)


def _yielding(self: JsonFS, request: t.Readdir) -> Iterator[t.DirEntry]:
    yield t.DirEntry("file", 2)


def _plain(self: JsonFS, request: t.Lookup) -> t.Entry:
    return entry()


def look_up(kernel: FakeKernel) -> Awaitable[object]:
    return kernel.lookup(1, "file")


def stat_it(kernel: FakeKernel) -> Awaitable[object]:
    return kernel.getattr(2)


def read_it(kernel: FakeKernel) -> Awaitable[object]:
    return kernel.read(2, 7)


async def list_it(kernel: FakeKernel) -> object:
    opened = await kernel.opendir(1)
    return await kernel.readdir(1, opened.fh)


def open_it(kernel: FakeKernel) -> Awaitable[object]:
    return kernel.open(2)


#: What the author did, in a class, a call that shows it, and what the log says.
ANSWERS: dict[str, tuple[type[JsonFS], Call, str]] = {
    "no answer": (
        returning("lookup", None),
        look_up,
        (
            "JsonFS.lookup() returned None; an Entry is due "
            "(or raise FuseError(errno.ENOENT))"
        ),
    ),
    "attributes in place of an entry": (
        returning("lookup", t.FileAttr(2, FILE, uid=0, gid=0)),
        look_up,
        "an Entry is due",
    ),
    "no attributes": (
        returning("getattr", None),
        stat_it,
        "JsonFS.getattr() returned None; a FileAttr is due",
    ),
    "os.stat_result": (
        returning("getattr", os.stat("/")),
        stat_it,
        "a FileAttr is due",
    ),
    "text where bytes are due": (
        returning("read", "text"),
        read_it,
        "JsonFS.read() returned 'text' (str); bytes, a bytearray, a memoryview",
    ),
    "no bytes": (
        returning("read", None),
        read_it,
        "JsonFS.read() returned None; bytes",
    ),
    "bytes where a target is due": (
        returning("readlink", b"to"),
        lambda kernel: kernel.readlink(2),
        "JsonFS.readlink() returned b'to' (bytes); a str is due (os.fsdecode()",
    ),
    "nothing written": (
        returning("write", None),
        lambda kernel: kernel.write(2, 7, 0, b"text"),
        "JsonFS.write() returned None; the number of bytes (an int) is due",
    ),
    "a bare handle": (
        returning("open", 7),
        open_it,
        "JsonFS.open() returned 7 (int); an Opened is due",
    ),
    "an entry without its handle": (
        returning("create", entry()),
        lambda kernel: kernel.create(1, "new"),
        "a pair (Entry, Opened) is due",
    ),
    "no listing": (
        returning("readdir", None),
        list_it,
        "JsonFS.readdir() returned None; an iterable of DirEntry is due",
    ),
    "bare names": (
        returning("readdir", ["file"]),
        list_it,
        "JsonFS.readdir() returned 'file' (str) in a listing; a DirEntry is due",
    ),
    "bytes as a name": (
        returning("readdir", [t.DirEntry("a", 2), t.DirEntry(b"b", 3)]),  # type: ignore[arg-type]
        list_it,
        "a DirEntry with name b'b' (bytes); a str is due (os.fsdecode() makes one)",
    ),
    "a path as a name": (
        returning("readdir", [t.DirEntry("a/b", 2)]),
        list_it,
        "a DirEntry with name 'a/b'",
    ),
    "a float time": (
        returning("lookup", entry(mtime_ns=time.time())),
        look_up,
        "an int of nanoseconds, as time.time_ns() returns is due",
    ),
    "a time of datetime's kind": (
        returning("getattr", t.FileAttr(2, FILE, atime_ns="now")),  # type: ignore[arg-type]
        stat_it,
        "a FileAttr with atime_ns 'now' (str); an int of nanoseconds",
    ),
    "a float size": (
        returning("getattr", t.FileAttr(2, FILE, size=1.5)),  # type: ignore[arg-type]
        stat_it,
        "a FileAttr with size 1.5 (float); an int is due",
    ),
    "no owner": (
        returning("getattr", t.FileAttr(2, FILE, uid=None)),  # type: ignore[arg-type]
        stat_it,
        "a FileAttr with uid None; an int is due",
    ),
    "a lifetime of None": (
        returning("lookup", t.Entry(t.FileAttr(2, FILE), entry_valid=None)),  # type: ignore[arg-type]
        look_up,
        "an Entry with entry_valid None; seconds are due",
    ),
    "permissions without a type": (
        returning("lookup", entry(mode=0o644)),
        look_up,
        (
            "JsonFS.lookup() returned a mode of 0o644, which has no file type: "
            "give stat.S_IFREG | 0o644"
        ),
    ),
    "the number of the root": (
        returning("lookup", entry(ino=1)),
        look_up,
        "JsonFS.lookup() returned an Entry with nodeid 1, which is the root",
    ),
    "the number 0": (
        returning("lookup", entry(ino=0)),
        look_up,
        "JsonFS.lookup() returned an Entry with nodeid 0, which says that there is no",
    ),
    "an async generator": (
        having("readdir", _listing),
        list_it,
        "JsonFS.readdir() has a yield, which makes it a generator: write 'async def'",
    ),
    "a generator": (
        having("readdir", _yielding),
        list_it,
        "JsonFS.readdir() has a yield, which makes it a generator",
    ),
    "an errno in place of nothing": (
        returning("unlink", -errno.EACCES),
        lambda kernel: kernel.unlink(1, "file"),
        "JsonFS.unlink() returned -13 (int); None is due (a refusal is raised: raise",
    ),
    "a refusal that nobody hears": (
        returning("access", False),
        lambda kernel: kernel.access(2, os.R_OK),
        "JsonFS.access() returned False (bool); None is due",
    ),
    "a file in place of a directory": (
        returning("mkdir", entry()),
        lambda kernel: kernel.mkdir(1, "new"),
        (
            "JsonFS.mkdir() returned an Entry with a mode of 0o100644 where 'd' was to "
            "be made: 0o40000"
        ),
    ),
    "no symbolic link": (
        returning("symlink", entry()),
        lambda kernel: kernel.symlink(1, "new", "to"),
        "where 'l' was to be made",
    ),
    "the absence of what was made": (
        returning("mkdir", t.Entry.negative()),
        lambda kernel: kernel.mkdir(1, "new"),
        "JsonFS.mkdir() returned an Entry with nodeid 0, but what was made has a number",
    ),
    "a file larger than any": (
        returning("getattr", t.FileAttr(2, FILE, size=2**63)),
        stat_it,
        "a FileAttr with size 9223372036854775808; 2**63-1 is the most",
    ),
    "a child larger than any": (
        returning("lookup", entry(size=2**63)),
        look_up,
        "a FileAttr with size 9223372036854775808; 2**63-1 is the most",
    ),
    "an offset that leads back to the start": (
        returning("readdir", [t.DirEntry("a", 2, offset=0)]),
        list_it,
        "JsonFS.readdir() returned 'a' with offset 0, after which the listing was to",
    ),
    "an offset for some": (
        returning("readdir", [t.DirEntry("a", 2, offset=5), t.DirEntry("b", 3)]),
        list_it,
        "JsonFS.readdir() returned 'b' without an offset",
    ),
    "a name that is no text": (
        returning("readdir", [t.DirEntry("\ud800", 2)]),
        list_it,
        "a DirEntry with name '\\ud800'; a name is text, or made by os.fsdecode()",
    ),
    "a flag as text": (
        returning("open", t.Opened(flags="x")),  # type: ignore[arg-type]
        open_it,
        "JsonFS.open() returned an Opened with flags 'x' (str); an int is due",
    ),
    "a file for its descriptor": (
        returning("read", t.FileData("file", 0, 1)),  # type: ignore[arg-type]
        read_it,
        "JsonFS.read() returned a FileData with fd 'file' (str); an int is due",
    ),
    "one name for a list of them": (
        returning("listxattr", "user.a"),
        lambda kernel: kernel.listxattr(2),
        "JsonFS.listxattr() returned 'user.a' (str); an iterable of str is due",
    ),
    "bytes among names": (
        returning("listxattr", [b"user.a"]),
        lambda kernel: kernel.listxattr(2),
        "JsonFS.listxattr() returned b'user.a' (bytes) among the names",
    ),
    "a plain function": (
        having("lookup", _plain),
        look_up,
        "JsonFS.lookup() returned what cannot be awaited; write 'async def'",
    ),
}


@pytest.mark.parametrize(
    ("filesystem", "call", "words"), ANSWERS.values(), ids=ANSWERS.keys()
)
async def test_a_wrong_answer_is_named_once_and_its_caller_gets_eio(
    filesystem: type[JsonFS], call: Call, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(5):
        async with open_kernel(filesystem(), strict=False) as kernel:
            for _ in range(3):
                with pytest.raises(OSError, match="Input/output error"):
                    await call(kernel)

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [words in record.getMessage() for record in errors] == [True]
    assert errors[0].exc_info is None  # our own insides would say nothing


@pytest.mark.parametrize("number", ["ENOENT", 2.5, None, 0, -2, 600])
async def test_an_errno_that_is_none_is_named_and_becomes_eio(
    number: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(JsonFS):
        async def lookup(self, request: t.Lookup) -> t.Entry:
            raise OSError(number, "words")

    async with open_kernel(Failing(), strict=False) as kernel:
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output"):
                await look_up(kernel)

    told = [record.getMessage() for record in caplog.records if record.exc_info]
    assert len(told) == 1
    assert f"whose errno is {number!r}: write FuseError(errno.ENOENT)" in told[0]


def test_what_is_said_of_destroy_is_that_it_has_no_arguments() -> None:
    class Asking(JsonFS):
        async def destroy(self, request: object) -> None:  # type: ignore[override]
            """As all the others."""

    assert list(doubts_about(Asking())) == [
        "Asking.destroy() takes (request), but is called with none"
    ]


def test_a_method_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match=r"JsonFS.read is b'text', which cannot be"):
        check_filesystem(having("read", b"text")())


@pytest.mark.parametrize("method", ["init", "destroy"])
async def test_a_plain_function_that_is_to_be_awaited_is_named(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    def plain(self: JsonFS, *_: object) -> None:
        """Lacks an async."""

    words = rf"JsonFS.{method}\(\) returned what cannot be awaited; write 'async def'"
    with pytest.raises(TypeError, match=words):
        async with open_kernel(having(method, plain)()):
            pass


async def test_a_frozen_filesystem_gets_its_notifier() -> None:
    @attrs.frozen
    class Frozen(JsonFS):
        text: str = "a"

    async with open_kernel(Frozen()) as kernel:
        await look_up(kernel)


async def test_in_strict_mode_a_wrong_answer_ends_the_session_in_the_same_words() -> (
    None
):
    with pytest.raises(TypeError, match=r"JsonFS.lookup\(\) returned None; an Entry"):
        async with open_kernel(returning("lookup", None)()) as kernel:
            await kernel.lookup(1, "file")


async def test_what_a_generator_raises_keeps_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def entries() -> Iterator[t.DirEntry]:
        yield t.DirEntry("a", 2)
        raise TypeError("of the author")

    async with open_kernel(returning("readdir", entries())(), strict=False) as kernel:
        with pytest.raises(OSError, match="Input/output"):
            await list_it(kernel)

    assert "JsonFS.readdir failed" in caplog.text
    assert "of the author" in caplog.text


async def _async(self: JsonFS, *arguments: object) -> None:
    """Any method."""


class Plain(JsonFS):
    def lookup(self, request: t.Lookup) -> t.Entry:  # type: ignore[override]
        return entry()


class Spread(JsonFS):
    async def lookup(self, parent: int, name: str) -> t.Entry:  # type: ignore[override]
        return entry()


#: What the log says when such a class is served.
DOUBTS: dict[str, tuple[type[t.Filesystem], str]] = {
    "a misspelt method": (
        type("JsonFS", (t.Filesystem,), {"read_dir": _async}),
        (
            "JsonFS.read_dir() is never called: no operation has that name; "
            "did you mean readdir()?"
        ),
    ),
    "a method that lacks a letter": (
        type("JsonFS", (t.Filesystem,), {"lokup": _async}),
        "did you mean lookup()?",
    ),
    "a method in capitals": (
        type("JsonFS", (t.Filesystem,), {"getAttr": _plain}),
        (
            "JsonFS.getAttr() is never called: no operation has that name; "
            "did you mean getattr()?"
        ),
    ),
    "a method of another library": (
        having("truncate", _async),
        "did you mean setattr()?",
    ),
    "no lookup": (
        type("JsonFS", (t.Filesystem,), {}),
        "JsonFS has no lookup(): no name in it can be found",
    ),
    "no getattr": (
        type("JsonFS", (t.Filesystem,), {}),
        "JsonFS has no getattr(): stat(2) fails for everything",
    ),
    "no readdir": (
        type("JsonFS", (t.Filesystem,), {}),
        "JsonFS has no readdir(): no directory can be listed",
    ),
    "an async generator": (
        having("readdir", _listing),
        "JsonFS.readdir() has a yield",
    ),
    "a plain function": (
        Plain,
        "Plain.lookup() is a plain function: unless it returns an awaitable, write",
    ),
    "arguments of another library": (
        Spread,
        "Spread.lookup() takes (parent, name), but is called with one argument, the",
    ),
}


@pytest.mark.parametrize(("filesystem", "words"), DOUBTS.values(), ids=DOUBTS.keys())
async def test_what_is_likely_a_mistake_is_told_when_a_session_begins(
    filesystem: type[t.Filesystem], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_kernel(filesystem()):
        pass

    assert words in caplog.text


class Fine(JsonFS):
    """Has methods of its own, and some that are no plain ``async def``."""

    def lookup(self, request: t.Lookup) -> Coroutine[Any, Any, t.Entry]:
        return self._found(request)

    async def _found(self, request: t.Lookup) -> t.Entry:
        return entry()

    async def refresh(self) -> None:
        """No operation is called anything like that."""

    def read_all(self) -> bytes:
        return b""

    def __init__(self) -> None:
        self.getattr = partial(super().getattr)  # type: ignore[method-assign]


async def test_a_filesystem_that_does_well_is_told_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_kernel(JsonFS()) as kernel:
        await look_up(kernel)
        await list_it(kernel)
    assert caplog.records == []

    async with open_kernel(Fine()) as kernel:
        await look_up(kernel)
        await stat_it(kernel)
    assert [record.getMessage() for record in caplog.records] == [
        (
            "Fine.lookup() is a plain function: unless it returns an awaitable, "
            "write 'async def'"
        )
    ]


async def test_a_handler_that_holds_the_loop_is_named_with_its_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    class Blocking(JsonFS):
        async def lookup(self, request: t.Lookup) -> t.Entry:
            self.compute()
            return entry()

        def compute(self) -> None:
            assert told.wait(10)  # the event loop stands still meanwhile

    logger, handler = logging.getLogger("triofuse"), Told(logging.WARNING)
    logger.addHandler(handler)
    try:
        async with open_kernel(Blocking()) as kernel:
            await look_up(kernel)
    finally:
        logger.removeHandler(handler)

    assert "Blocking.lookup() has held the event loop for a second" in caplog.text
    assert "trio.to_thread.run_sync()" in caplog.text
    assert "in compute" in caplog.text
    assert "service.py" not in caplog.text  # what is ours tells an author nothing


class Generated(JsonFS):
    """Has a file whose size it does not know."""

    size = 0

    async def lookup(self, request: t.Lookup) -> t.Entry:
        return entry(size=self.size)

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        mode = DIRECTORY if request.nodeid == 1 else FILE
        return t.FileAttr(request.nodeid, mode, size=self.size)


@pytest.mark.mount
@pytest.mark.parametrize(("size", "told"), [(0, 1), (4, 0)])
async def test_a_file_that_the_kernel_takes_for_empty_is_told_of(
    mountpoint: str, size: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem = Generated()
    filesystem.size = size

    with trio.fail_after(20):
        async with t.mount(filesystem, mountpoint):
            path = Path(mountpoint, "file")
            for _ in range(3):
                text = await trio.to_thread.run_sync(path.read_bytes)

    assert text == b"text"[:size]
    assert caplog.text.count("so that the kernel never calls Generated.read()") == told
    assert caplog.text.count("Opened(flags=OpenFlags.DIRECT_IO)") == told


def _complaint(command: str) -> str:
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=20, check=False
    )
    return done.stderr


@pytest.mark.mount
@pytest.mark.parametrize(
    "command",
    [
        "touch new",
        "touch file",
        "mkdir new",
        "echo > new",
        "echo > file",
        "echo >> file",
        "rm -f file",
        "mv file new",
        "ln file new",
        "ln -s file new",
        "mkfifo new",
        "chmod 600 file",
    ],
)
async def test_what_nobody_can_write_is_a_read_only_file_system(
    mountpoint: str, command: str
) -> None:
    class Still(JsonFS):
        async def lookup(self, request: t.Lookup) -> t.Entry:
            if request.name != "file":
                raise t.FuseError(errno.ENOENT)
            return entry(size=4)

    with trio.fail_after(20):
        async with t.mount(Still(), mountpoint):
            line = f"cd {mountpoint} && {command}"
            said = await trio.to_thread.run_sync(_complaint, line)

    assert "Read-only file system" in said


async def test_what_else_can_be_written_makes_no_file_system_read_only() -> None:
    filesystem = returning("write", 4)()

    async with open_kernel(filesystem) as kernel:
        assert await kernel.open(2, os.O_RDWR) == t.Opened()
        with pytest.raises(PermissionError):
            await kernel.mkdir(1, "new")
        with pytest.raises(PermissionError):
            await kernel.create(1, "new")
