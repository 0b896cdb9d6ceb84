"""What newcomers do wrong, and what they are told."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import triofuse
from triofuse import (
    AskedDirectory,
    Directory,
    File,
    Generated,
    Special,
    Stat,
    SymbolicLink,
    Tree,
)
from triofuse.testing import FakeKernel, open_kernel


class Forgetful(File):
    """Does not call its base."""

    def __init__(self) -> None:
        self.x = 1


class NoLookup(AskedDirectory):
    """Lacks what it cannot do without."""


def in_two_trees() -> None:
    file = File()
    Tree({"a": {"b": file}})
    Tree(Directory({"c": file}))


def a_directory_twice() -> None:
    directory = Directory()
    Directory({"a": directory, "b": directory})


def in_itself() -> None:
    outer = Directory()
    inner = Directory()
    outer["inner"] = inner
    inner["outer"] = outer


def moved_into_itself() -> None:
    root = Directory({"a": {}})
    a = root["a"]
    assert isinstance(a, Directory)
    root.move("a", a, "b")


def two_kinds_of_one_key() -> None:
    Tree({"a": File(key=5), "b": Directory(key=5)})


class PlainRead(File):
    def read(self, size, offset):  # type: ignore[no-untyped-def]
        return b""


class Yielding(File):
    async def read(self, size, offset):  # type: ignore[no-untyped-def]
        yield b""


class OfRequests(File):
    async def read(self, request):  # type: ignore[no-untyped-def,override]
        return b""


class Undecorated(File):
    async def open(self, flags):  # type: ignore[no-untyped-def]
        yield self


class Unlisted(AskedDirectory):
    async def lookup(self, name):  # type: ignore[no-untyped-def]
        return None

    async def entries(self):  # type: ignore[no-untyped-def,override]
        return []


#: What is done, the error, and words that must be in it.
MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: Directory({"x": File}), TypeError, r"File is a class.*File\(\.\.\.\)"),  # type: ignore[dict-item]
    (lambda: Directory({"x": 5}), TypeError, "int is no node"),  # type: ignore[dict-item]
    (
        lambda: Directory({b"x": "y"}),  # type: ignore[dict-item]
        TypeError,
        "a name is a str, not b'x': os.fsdecode",
    ),
    (lambda: Directory({"a/b": "y"}), ValueError, "'a/b' cannot be a name"),
    (lambda: Directory({"": "y"}), ValueError, "cannot be a name"),
    (lambda: Directory({"..": "y"}), ValueError, "cannot be a name"),
    (lambda: Directory({"x" * 256: "y"}), ValueError, "at most 255 bytes"),
    (
        lambda: Directory({"x": Forgetful()}),
        TypeError,
        r"Forgetful.__init__\(\) must call super",
    ),
    (lambda: File(5), TypeError, "content of a File is bytes or str, not 5"),  # type: ignore[arg-type]
    (lambda: File("x", stat=0o644), TypeError, r"stat= is a Stat, Stat\(mode=0o644\)"),  # type: ignore[arg-type]
    (
        lambda: File("x", stat=Stat(mtime_ns=1.5)),  # type: ignore[arg-type]
        TypeError,
        "Stat.mtime_ns is an int, not 1.5",
    ),
    (
        lambda: File("x", stat=Stat(mode=0o40755)),
        ValueError,
        "is of type 'd', the node '-'",
    ),
    (lambda: Generated("x"), TypeError, "takes a function"),  # type: ignore[arg-type]
    (lambda: Special(0o100644), ValueError, "devices, pipes and sockets"),
    (NoLookup, TypeError, r"NoLookup needs a method lookup\(\)"),
    (in_two_trees, ValueError, "in another tree, at /a/b"),
    (a_directory_twice, ValueError, "a directory has one place"),
    (in_itself, ValueError, "would contain itself"),
    (moved_into_itself, ValueError, "cannot be moved into itself"),
    (
        lambda: Tree(Directory({"a": {}})["a"]),
        ValueError,
        "root of a tree cannot be part",
    ),
    (lambda: Tree(Tree({})), TypeError, "Tree is no node"),  # type: ignore[arg-type]
    (
        two_kinds_of_one_key,
        ValueError,
        "key 5 is that of a (file|directory), at /[ab]: a key is of one",
    ),
    (lambda: File(key=[1]), TypeError, r"a key is a number, a str .*, not \[1\]"),  # type: ignore[arg-type]
    (lambda: Directory(["x"]), TypeError, r"takes a mapping, .*, not \['x'\]"),  # type: ignore[arg-type]
    (
        lambda: Directory({"x": lambda: "y"}),  # type: ignore[dict-item]
        TypeError,
        r"use Generated\(\.\.\.\) for what it makes",
    ),
    (lambda: SymbolicLink(b"x"), TypeError, "target of a SymbolicLink is a str"),  # type: ignore[arg-type]
    (lambda: File(stat=Stat(size=-1)), ValueError, "Stat.size is 0 or more, not -1"),
    (
        lambda: Directory({"x": PlainRead()}) and Tree({"x": PlainRead()}),
        TypeError,
        r"PlainRead.read\(\) is a plain function: write 'async def read', or put @trio",
    ),
    (
        lambda: Tree({"x": Yielding()}),
        TypeError,
        r"Yielding.read\(\) has a yield, .*: return what is due",
    ),
    (
        lambda: Tree({"x": OfRequests()}),
        TypeError,
        r"takes \(self, request\), but is called with \(self, size, offset\)",
    ),
    (
        lambda: Tree(Unlisted()),
        TypeError,
        r"entries\(\) is async and has no yield: yield",
    ),
    (
        lambda: Tree({"x": Undecorated()}),
        TypeError,
        r"open\(\) has a yield: put @asynccontextmanager before it",
    ),
]


@pytest.mark.parametrize(
    ("mistake", "error", "words"), MISTAKES, ids=range(len(MISTAKES))
)
def test_a_mistake_is_named(
    mistake: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        mistake()


# --- What shows when somebody asks


class Strings(File):
    async def read(self, size, offset):  # type: ignore[no-untyped-def]
        return "text"


class NoNumber(File):
    async def write(self, data, offset):  # type: ignore[no-untyped-def]
        pass


class OddRefresh(File):
    async def refresh(self):  # type: ignore[no-untyped-def]
        return 5


class Names(AskedDirectory):
    """Lists what it was given."""

    def __init__(self, *listed: object) -> None:
        super().__init__()
        self.listed = listed

    async def lookup(self, name: str) -> Any:
        return self.listed[0]

    async def entries(self) -> Any:
        for one in self.listed:
            yield one


async def _read(kernel: FakeKernel) -> None:
    entry = await kernel.lookup(1, "x")
    opened = await kernel.open(entry.nodeid, os.O_RDONLY)
    await kernel.read(entry.nodeid, opened.fh, 0, 10)


async def _write(kernel: FakeKernel) -> None:
    entry = await kernel.lookup(1, "x")
    opened = await kernel.open(entry.nodeid, os.O_WRONLY)
    await kernel.write(entry.nodeid, opened.fh, 0, b"x")


async def _getattr(kernel: FakeKernel) -> None:
    entry = await kernel.lookup(1, "x")
    await kernel.getattr(entry.nodeid)


async def _list(kernel: FakeKernel) -> None:
    opened = await kernel.opendir(1)
    await kernel.readdirplus(1, opened.fh)


async def _lookup(kernel: FakeKernel) -> None:
    await kernel.lookup(1, "x")


#: The root, what a client does, and words in the log.
ASKED: list[tuple[Any, Callable[[FakeKernel], Awaitable[None]], str]] = [
    ({"x": Strings()}, _read, "Strings.read() returns bytes or a FileData, not 'text'"),
    (
        {"x": NoNumber()},
        _write,
        "NoNumber.write() returns the bytes written, len(data)",
    ),
    (
        {"x": OddRefresh(valid=0)},
        _getattr,
        "OddRefresh.refresh() returns a Stat or None",
    ),
    ({"x": Generated(lambda: 5)}, _read, "is to return bytes or str, not 5"),  # type: ignore[arg-type, return-value]
    (Names("x"), _list, "Names.entries() has 'x'; a pair of name and node is due"),
    (Names((b"x", File())), _list, "a name is a str: os.fsdecode(b'x')"),
    (Names(("x", File)), _list, "File is a class; a tree takes instances"),
    (Names("x"), _lookup, "str is no node: use File, Directory or another Node"),
    (Names(("a/b", File())), _list, "a name is not empty, and has no slash"),
]


@pytest.mark.parametrize(("root", "action", "words"), ASKED, ids=range(len(ASKED)))
async def test_a_mistake_is_named_in_the_log(
    root: Any,
    action: Callable[[FakeKernel], Awaitable[None]],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(TypeError):
        async with open_kernel(Tree(root)) as kernel:
            await action(kernel)

    assert words in caplog.text


def test_a_method_that_is_never_called_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OfOld(Names):
        async def readdir(self) -> None: ...

        async def mkdir(self) -> None: ...

    Tree(OfOld())

    assert "OfOld.readdir() is never called: override entries()" in caplog.text
    assert "OfOld.mkdir() is never called: override make()" in caplog.text


def test_who_runs_a_directory_is_told_of_trees() -> None:
    with pytest.raises(TypeError, match=r"of nodes: triofuse.Tree\(\.\.\.\)"):
        triofuse.run(Directory(), "/mnt/x")  # type: ignore[arg-type]
