"""Paths of the fake kernel do what `trio.Path` does on a mount, errors included."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

import triofuse as t
from memfs import MemFS
from tests.testing.shelf import Shelf
from triofuse.testing import FakeKernel, KernelPath, open_kernel

#: A step takes the root, a `trio.Path` or a `KernelPath`.
Step = Callable[[Any], Awaitable[object]]


async def mode(path: Any) -> int:
    return int((await path.lstat()).st_mode)


async def names(path: Any) -> list[str]:
    return sorted(child.name for child in await path.iterdir())


async def size(path: Any) -> tuple[int, int]:
    status = await path.stat()
    return status.st_size, status.st_nlink


#: What is done, one after the other; each result is compared.
STEPS: list[Step] = [
    lambda root: (root / "d").mkdir(0o750),
    lambda root: mode(root / "d"),
    lambda root: (root / "d").mkdir(),
    lambda root: (root / "d").mkdir(exist_ok=True),
    lambda root: (root / "x/y/z").mkdir(),
    lambda root: (root / "x/y/z").mkdir(parents=True),
    lambda root: (root / "d/f").write_bytes(b"some text"),
    lambda root: (root / "d/f").read_bytes(),
    lambda root: (root / "d/f").write_text("more\u00e9"),
    lambda root: (root / "d/f").read_text(),
    lambda root: size(root / "d/f"),
    lambda root: (root / "d/large").write_bytes(b"0123456789" * 500_000),
    lambda root: size(root / "d/large"),
    lambda root: (root / "d/large").read_bytes(),
    lambda root: (root / "d/large").write_bytes(b"cut"),
    lambda root: (root / "d/large").read_bytes(),
    lambda root: (root / "d/none").read_bytes(),
    lambda root: (root / "none/none").write_bytes(b""),
    lambda root: (root / "d/f/none").read_bytes(),
    lambda root: (root / "d").read_bytes(),
    lambda root: (root / "d").write_bytes(b""),
    lambda root: names(root / "d"),
    lambda root: names(root / "d/f"),
    lambda root: names(root / "none"),
    lambda root: (root / "d/f").chmod(0o600),
    lambda root: mode(root / "d/f"),
    lambda root: (root / "d/new").touch(0o640),
    lambda root: (root / "d/new").touch(),
    lambda root: (root / "d/new").touch(exist_ok=False),
    lambda root: mode(root / "d/new"),
    lambda root: (root / "l").symlink_to("d/f"),
    lambda root: (root / "l").symlink_to("again"),
    lambda root: (root / "l").readlink(),
    lambda root: (root / "d/f").readlink(),
    lambda root: (root / "l").read_text(),
    lambda root: mode(root / "l"),
    lambda root: (root / "dl").symlink_to("x/../d"),
    lambda root: names(root / "dl"),
    lambda root: (root / "dl/../l").read_text(),
    lambda root: (root / "loop").symlink_to("loop"),
    lambda root: (root / "loop").read_bytes(),
    lambda root: (root / "dangling").symlink_to("made"),
    lambda root: (root / "dangling").exists(),
    lambda root: (root / "dangling").write_bytes(b"through"),
    lambda root: (root / "made").read_bytes(),
    lambda root: (root / "d/hard").hardlink_to(root / "d/f"),
    lambda root: size(root / "d/hard"),
    lambda root: (root / "d/hard").hardlink_to(root / "made"),
    lambda root: (root / "d/hard").unlink(),
    lambda root: (root / "d/hard").unlink(),
    lambda root: (root / "d/hard").unlink(missing_ok=True),
    lambda root: (root / "d").unlink(),
    lambda root: (root / "d").rmdir(),
    lambda root: (root / "d/f").rmdir(),
    lambda root: (root / "d/f").rename(root / "x/f"),
    lambda root: (root / "d/f").exists(),
    lambda root: (root / "x/f").is_file(),
    lambda root: (root / "x").is_dir(),
    lambda root: (root / "l").is_symlink(),
    lambda root: (root / "none").is_file(),
    lambda root: (root / "x/f/none").exists(),
    lambda root: (root / "none").rename(root / "x/none"),
    lambda root: (root / "x/y").rename(root / "x/y/z/under"),
    lambda root: (root / "x/y/z").rmdir(),
    lambda root: names(root),
]


async def outcome(step: Step, root: Any) -> tuple[object, set[str]]:
    """Return the result of a step, or its error, and the paths that it names."""
    above = str(root).rstrip("/")
    try:
        result = await step(root)
    except OSError as exc:
        names = {
            str(name).removeprefix(above) for name in (exc.filename, exc.filename2)
        }
        return errno.errorcode[exc.errno or 0], names - {"None"}
    if isinstance(result, trio.Path | KernelPath):
        return str(result).removeprefix(above).lstrip("/"), set()
    return result, set()


@pytest.mark.mount
async def test_every_step_is_as_on_a_mount(mountpoint: str) -> None:
    with trio.fail_after(60):
        async with t.mount(MemFS(), mountpoint):
            real = [await outcome(step, trio.Path(mountpoint)) for step in STEPS]
        async with open_kernel(MemFS()) as kernel:
            fake = [await outcome(step, kernel.path("/")) for step in STEPS]

    for number, (on_mount, on_fake) in enumerate(zip(real, fake, strict=True)):
        assert on_fake[0] == on_mount[0], f"step {number}"
        assert on_fake[1] <= on_mount[1], f"step {number}"


async def test_nothing_stays_looked_up_or_open() -> None:
    shelf = Shelf()
    async with open_kernel(shelf) as kernel:
        assert await kernel.path("/file2").read_bytes() == b"text"
        assert len(await kernel.path("/").iterdir()) == 23
        with pytest.raises(FileNotFoundError, match="'/none'"):
            await kernel.path("/none").stat()
        await trio.testing.wait_all_tasks_blocked()
        assert not +shelf.lookups
        assert not +kernel.lookups
        assert not shelf.handles


async def test_a_call_that_is_cancelled_leaves_nothing() -> None:
    shelf = Shelf()
    async with open_kernel(shelf) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.path("/stubborn").read_bytes)
            await shelf.arrived.wait()
            nursery.cancel_scope.cancel()
            shelf.let_go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not +shelf.lookups
        assert not shelf.handles


class Unsized(Shelf):
    """Has a file that says size 0, and contents."""

    flags = 0

    def attr(self, nodeid: int) -> t.FileAttr:
        if nodeid == 1:
            return t.FileAttr.directory(1)
        return t.FileAttr.file(nodeid)

    async def open(self, request: t.Open) -> t.Opened:
        return t.Opened(flags=self.flags)

    async def release(self, request: t.Release) -> None:
        pass

    async def read(self, request: t.Read) -> bytes:
        return b"contents"[request.offset :]


async def test_a_file_whose_size_is_unknown_is_empty_without_direct_io() -> None:
    unsized = Unsized()
    async with open_kernel(unsized) as kernel:
        assert await kernel.path("/file2").read_bytes() == b""
        unsized.flags = t.OpenFlags.DIRECT_IO
        assert await kernel.path("/file2").read_bytes() == b"contents"


async def test_a_bug_comes_as_itself_and_not_in_a_group() -> None:
    class Broken(Shelf):
        async def read(self, request: t.Read) -> bytes:
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        async with open_kernel(Broken()) as kernel:
            await kernel.path("/file2").read_bytes()


async def test_the_caller_is_that_of_the_path() -> None:
    class Asked(Shelf):
        async def lookup(self, request: t.Lookup) -> t.Entry:
            seen.append((request.uid, request.gid))
            return await super().lookup(request)

    seen: list[tuple[int, int]] = []
    async with open_kernel(Asked()) as kernel:
        await (kernel.path("/", uid=1000, gid=7) / "file2").stat()

    assert seen == [(1000, 7)]


async def test_what_stat_says_is_what_os_stat_would_say() -> None:
    attr = t.FileAttr.file(2, 17, 0o640, uid=3, gid=4, mtime_ns=1_500_000_000)

    class One(Shelf):
        def attr(self, nodeid: int) -> t.FileAttr:
            return attr if nodeid == 2 else t.FileAttr.directory(1)

    async with open_kernel(One()) as kernel:
        status = await kernel.path("/file2").stat()

    assert isinstance(status, os.stat_result)
    assert status.st_mode == stat.S_IFREG | 0o640
    assert (status.st_ino, status.st_size, status.st_blocks) == (2, 17, 1)
    assert (status.st_uid, status.st_gid) == (3, 4)
    assert (status.st_mtime_ns, status.st_mtime) == (1_500_000_000, 1.5)


def test_paths_are_made_as_those_of_pathlib() -> None:
    path = KernelPath(FakeKernel.__new__(FakeKernel), {}) / "a//./b" / "c"

    assert (str(path), path.name, str(path.parent)) == ("/a/b/c", "c", "/a/b")
    assert str(path / "/x") == "/x"
    assert str(path.parent.parent.parent.parent) == "/"
    assert repr(path) == "KernelPath('/a/b/c')"
