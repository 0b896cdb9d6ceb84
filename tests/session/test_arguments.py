"""Mistakes of the caller of mount(): nothing is mounted, and the error says what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import trio

import triofuse as t
from tests.conftest import mounts_below
from tests.session.test_mistakes import DIRECTORY, FILE, JsonFS
from triofuse.testing import open_kernel


class AsyncForget(JsonFS):
    async def forget(self, request: t.Forget) -> None:  # type: ignore[override]
        """A plain function: it cannot be awaited."""


#: What is wrong with the arguments of a session, and what is said to that.
SETTINGS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an option of the mount": (
        {"read_only": True},
        TypeError,
        r"'read_only': it is an option of the mount; pass MountOptions\(read_only=True\)",
    ),
    "a misspelt argument": ({"timeot": 1}, TypeError, "did you mean timeout?"),
    "a misspelt option": (
        {"allow_othr": True},
        TypeError,
        r"did you mean MountOptions\(allow_other=...\)",
    ),
    "an unknown argument": ({"xyz": 1}, TypeError, "there are busy_poll, max_handlers"),
    "a number as text": (
        {"max_handlers": "3"},
        TypeError,
        "max_handlers is an int, not '3' of class str",
    ),
    "half a handler": ({"max_handlers": 1.5}, TypeError, "is an int, not 1.5"),
    "no handlers": ({"max_handlers": 0}, ValueError, "at least 1, not 0"),
    "a truth for a number": ({"max_payload": True}, TypeError, "is an int, not True"),
    "a truth for a time": ({"timeout": True}, TypeError, "a number of seconds, not T"),
    "a time as text": ({"timeout": "5"}, TypeError, "timeout is a number of seconds"),
    "one time as text": (
        {"timeout": {"read": "5"}},
        TypeError,
        "timeout of read is a number of seconds",
    ),
    "a number for a name": ({"timeout": {1: 5}}, ValueError, "no operation 1 to limit"),
    "a time for nothing": ({"timeout": {"raed": 5}}, ValueError, "did you mean read?"),
    "no time": ({"timeout": 0}, ValueError, "above 0"),
    "a number for a truth": (
        {"strict": 1},
        TypeError,
        "strict is True or False, not 1",
    ),
    "text for a truth": ({"measure": "no"}, TypeError, "measure is True or False"),
    "a negative time": ({"busy_poll": -1}, ValueError, "busy_poll must be at least 0"),
}

each_setting = pytest.mark.parametrize(
    ("settings", "error", "words"), SETTINGS.values(), ids=SETTINGS.keys()
)

#: What is no filesystem, and what is said to that.
FILESYSTEMS: dict[str, tuple[Any, str]] = {
    "a class": (JsonFS, r"JsonFS is a class; make a filesystem of it: JsonFS\(\)"),
    "something else": (object(), "is no filesystem, but of class object; subclass"),
    "nothing": (None, "None is no filesystem"),
    "an async forget": (AsyncForget(), r"AsyncForget.forget\(\) must not be async"),
}

each_filesystem = pytest.mark.parametrize(
    ("filesystem", "words"), FILESYSTEMS.values(), ids=FILESYSTEMS.keys()
)


async def mount(*arguments: Any, **settings: Any) -> None:
    """Mount, and access the mount: that hangs if it is not served."""
    with trio.fail_after(10):
        async with t.mount(*arguments, **settings) as session:
            await trio.to_thread.run_sync(os.stat, session.mountpoint)


@pytest.mark.mount
@each_setting
async def test_a_wrong_argument_of_mount_leaves_no_mount(
    mountpoint: str, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await mount(JsonFS(), mountpoint, **settings)

    assert mounts_below(mountpoint) == []


@each_setting
async def test_a_wrong_argument_of_a_fake_kernel_is_refused_likewise(
    settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        async with open_kernel(JsonFS(), **settings):
            pytest.fail("not reached")


@pytest.mark.mount
@each_filesystem
async def test_what_is_no_filesystem_is_not_mounted(
    mountpoint: str, filesystem: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        await mount(filesystem, mountpoint)

    assert mounts_below(mountpoint) == []


@each_filesystem
async def test_what_is_no_filesystem_is_not_served(filesystem: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        async with open_kernel(filesystem):
            pytest.fail("not reached")


@pytest.mark.mount
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/mnt", JsonFS()), "the filesystem comes first, then the mountpoint '/mnt'"),
        ((JsonFS(), b"/mnt"), r"not b'/mnt'; os.fsdecode\(\) makes one"),
        ((JsonFS(), 3), "a mountpoint is a str or a Path, not 3"),
        ((JsonFS(), "/mnt", "ro"), r"write MountOptions.parse\('ro'\)"),
        ((JsonFS(), "/mnt", {"read_only": True}), r"options are MountOptions\(...\)"),
        ((JsonFS(), "/mnt", t.MountOptions), r"options are MountOptions\(...\)"),
    ],
)
async def test_arguments_that_are_something_else_are_named(
    arguments: tuple[Any, ...], words: str
) -> None:
    before = mounts_below("/mnt")

    with pytest.raises(TypeError, match=words):
        await mount(*arguments)

    assert mounts_below("/mnt") == before


class Rooted(JsonFS):
    """Has a root of any mode."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.destroyed = 0

    async def getattr(self, request: t.Getattr) -> Any:
        return t.FileAttr(1, self.mode)

    async def destroy(self) -> None:
        self.destroyed += 1


@pytest.mark.mount
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o755, r"the root is 0o755 .* no file type \(give stat.S_IFDIR \| 0o755\)"),
        (FILE, r"0o100644 by Rooted.getattr\(\), which is a regular file \(the mountp"),
        (stat.S_IFLNK | 0o777, "which is neither a directory nor a regular file"),
    ],
)
async def test_a_root_that_is_no_directory_is_not_mounted_on_one(
    mountpoint: str, mode: int, words: str
) -> None:
    rooted = Rooted(mode)

    with pytest.raises(t.MountError, match=words) as refusal:
        await mount(rooted, mountpoint)

    assert refusal.value.mountpoint == mountpoint
    assert mounts_below(mountpoint) == []
    assert rooted.destroyed == 1


@pytest.mark.mount
async def test_a_directory_is_not_mounted_on_a_file_but_a_file_is(
    tmp_path: Path,
) -> None:
    place = tmp_path / "file"
    place.touch()

    with pytest.raises(t.MountError, match="the mountpoint is a regular file"):
        await mount(Rooted(DIRECTORY), place)
    assert mounts_below(str(tmp_path)) == []

    await mount(Rooted(FILE), place)
    assert mounts_below(str(tmp_path)) == []


async def test_a_fake_kernel_refuses_a_root_without_a_type_as_well() -> None:
    with pytest.raises(t.MountError, match="the root is 0o755"):
        async with open_kernel(Rooted(0o755)):
            pytest.fail("not reached")


@pytest.mark.mount
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (t.FuseError(5), "Away.getattr() of the root (nodeid 1) fails: [Errno 5]"),
        (KeyError(1), "KeyError: 1"),
    ],
)
async def test_a_root_that_cannot_be_looked_at_yet_is_mounted_and_told_of(
    mountpoint: str, error: Exception, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(JsonFS):
        async def getattr(self, request: t.Getattr) -> t.FileAttr:
            raise error

    with trio.fail_after(10):
        async with t.mount(Away(), mountpoint):
            assert mounts_below(mountpoint) == [mountpoint]

    assert words in caplog.text


@pytest.mark.mount
async def test_a_getattr_that_waits_for_the_block_does_not_keep_it_from_beginning(
    mountpoint: str,
) -> None:
    begun = trio.Event()

    class Waiting(JsonFS):
        async def getattr(self, request: t.Getattr) -> Any:
            await begun.wait()
            return await super().getattr(request)

    with trio.fail_after(10):
        async with t.mount(Waiting(), mountpoint):
            begun.set()
            status = await trio.to_thread.run_sync(os.stat, mountpoint)

    assert stat.S_ISDIR(status.st_mode)


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
def test_a_mountpoint_that_is_no_path_is_named(path: str) -> None:
    with pytest.raises(ValueError, match=r"the mountpoint "):
        t.mount(JsonFS(), path)


@pytest.mark.parametrize("names", [5, None, [1], "read"])
def test_interruptible_methods_that_are_no_names_are_named(names: object) -> None:
    class Wrong(JsonFS):
        interruptible = names  # type: ignore[assignment]

    with pytest.raises(ValueError, match=r"Wrong.interruptible is .*; a set of the na"):
        t.mount(Wrong(), "/")


async def test_an_async_that_was_left_out_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"write 'async with triofuse.mount"):
        with t.mount(JsonFS(), "/"):  # type: ignore[attr-defined]
            pass
    with pytest.raises(RuntimeError, match=r"write 'async with triofuse.mount"):
        await t.mount(JsonFS(), "/")  # type: ignore[misc]
