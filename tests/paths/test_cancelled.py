"""Callers that are killed, and what becomes of what they began."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.paths.stores import Mirror, Shelf
from triofuse import PathFilesystem, mount
from triofuse.testing import open_kernel

SECONDS = 20


class Slow(Mirror):
    """A mirror whose methods block until they are let through."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.slow: set[str] = set()
        self.begun = threading.Semaphore(0)
        self.free = threading.Event()
        self.released: list[int] = []

    def wait(self, name: str) -> None:
        if name in self.slow:
            self.begun.release()
            assert self.free.wait(SECONDS)

    def mkdir(self, path: str, mode: int) -> None:
        self.wait("mkdir")
        super().mkdir(path, mode)

    def open(self, path: str, flags: int) -> int:
        self.wait("open")
        return super().open(path, flags)

    def create(self, path: str, mode: int, flags: int) -> int:
        self.wait("create")
        return super().create(path, mode, flags)

    def rename(self, old: str, new: str, flags: int) -> None:
        self.wait("rename")
        super().rename(old, new, flags)

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        self.wait("read")
        return super().read(path, size, offset, handle)

    def release(self, path: str, handle: int) -> None:
        self.released.append(handle)
        super().release(path, handle)


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    (tmp_path / "disk").mkdir()
    return Slow(tmp_path / "disk")


async def begun(slow: Slow) -> None:
    """Wait until a method blocks in its thread."""
    with trio.fail_after(SECONDS):
        await trio.to_thread.run_sync(slow.begun.acquire)


async def test_what_a_cancelled_rename_did_is_known(slow: Slow) -> None:
    (slow.root / "a").mkdir()
    (slow.root / "a" / "f").write_bytes(b"x")
    slow.slow = {"rename"}

    async with open_kernel(PathFilesystem(slow)) as kernel:
        directory = await kernel.lookup(1, "a")
        file = await kernel.lookup(directory.nodeid, "f")
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_when_begun, slow, scope)
                await kernel.rename(1, "a", 1, "b")
        assert (slow.root / "a").exists()
        slow.free.set()
        attr = await kernel.getattr(file.nodeid)  # waits for the rename

    assert attr.size == 1
    assert (slow.root / "b" / "f").exists()


async def _cancel_when_begun(slow: Slow, scope: trio.CancelScope) -> None:
    await begun(slow)
    scope.cancel()


@pytest.mark.parametrize("operation", ["open", "create"])
async def test_a_file_that_is_opened_for_nobody_is_released(
    slow: Slow, operation: str
) -> None:
    (slow.root / "f").write_bytes(b"x")
    slow.slow = {operation}
    filesystem = PathFilesystem(slow)

    async with open_kernel(filesystem) as kernel:
        file = await kernel.lookup(1, "f")
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_when_begun, slow, scope)
                if operation == "open":
                    await kernel.open(file.nodeid, os.O_RDONLY)
                else:
                    await kernel.create(1, "new", os.O_RDWR)
        slow.free.set()
        with trio.fail_after(SECONDS):
            while not slow.released:
                await trio.sleep(0)

    assert len(slow.released) == 1


async def test_a_cancelled_mkdir_is_looked_up_again(slow: Slow) -> None:
    slow.slow = {"mkdir"}

    async with open_kernel(PathFilesystem(slow, valid=1000)) as kernel:
        assert (await kernel.lookup(1, "d")).nodeid == 0
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_when_begun, slow, scope)
                await kernel.mkdir(1, "d")
        slow.free.set()
        with trio.fail_after(SECONDS):
            notification = await kernel.notifications.receive()

        assert notification.payload == b"d"
        assert (await kernel.lookup(1, "d")).nodeid != 0


async def test_after_a_failure_the_store_is_asked_again() -> None:
    class Odd(Shelf):
        async def mkdir(self, path: str, mode: int) -> None:
            await super().mkdir(path, mode)
            raise OSError(5, "after all")

    async with open_kernel(PathFilesystem(Odd(), valid=1000)) as kernel:
        with pytest.raises(OSError, match="Input/output error"):
            await kernel.mkdir(1, "d")
        with trio.fail_after(SECONDS):
            notification = await kernel.notifications.receive()

    assert notification.payload == b"d"


async def test_a_rename_waits_for_methods_that_use_its_path() -> None:
    reading, free = trio.Event(), trio.Event()
    order = []

    class Waiting(Shelf):
        async def read(
            self, path: str, size: int, offset: int, handle: object
        ) -> bytes:
            reading.set()
            await free.wait()
            order.append(f"read {path}")
            return b""

        async def rename(self, old: str, new: str, flags: int) -> None:
            order.append("rename")
            await super().rename(old, new, flags)

    shelf = Waiting.of({"/a/b/f": b"x"})

    async with open_kernel(PathFilesystem(shelf)) as kernel:
        a = await kernel.lookup(1, "a")
        b = await kernel.lookup(a.nodeid, "b")
        file = await kernel.lookup(b.nodeid, "f")
        opened = await kernel.open(file.nodeid, os.O_RDONLY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.read, file.nodeid, opened.fh, 0, 10)
            await reading.wait()
            nursery.start_soon(kernel.rename, 1, "a", 1, "z")
            await wait_all_tasks_blocked()
            nursery.start_soon(kernel.getattr, file.nodeid)
            await wait_all_tasks_blocked()
            assert order == []
            free.set()
        await kernel.release(file.nodeid, opened.fh)

    assert order == ["read /a/b/f", "rename"]


async def test_lookups_and_forgets_leave_nothing_behind() -> None:
    shelf = Shelf.of({f"/d{n}/f": b"x" for n in range(5)})
    filesystem = PathFilesystem(shelf)

    async with open_kernel(filesystem) as kernel:
        for n in range(5):
            directory = await kernel.lookup(1, f"d{n}")
            file = await kernel.lookup(directory.nodeid, "f")
            await kernel.forget(directory.nodeid)  # before what is in it
            assert (await kernel.getattr(file.nodeid)).size == 1
            await kernel.forget(file.nodeid)
        with trio.fail_after(SECONDS):
            while len(filesystem._numbered) > 1:
                await trio.sleep(0)

        assert not filesystem._inodes.root.children


async def test_a_failed_replacement_shows_the_open_file_again() -> None:
    class Refusing(Shelf):
        async def rename(self, old: str, new: str, flags: int) -> None:
            if old == "/new":
                raise PermissionError(1, "no")
            await super().rename(old, new, flags)

    shelf = Refusing.of({"/old": b"old", "/new": b"new"})

    async with open_kernel(PathFilesystem(shelf)) as kernel:
        old = await kernel.lookup(1, "old")
        await kernel.lookup(1, "new")
        opened = await kernel.open(old.nodeid, os.O_RDONLY)
        with pytest.raises(PermissionError):
            await kernel.rename(1, "new", 1, "old")
        assert (await kernel.lookup(1, "old")).nodeid == old.nodeid
        await kernel.release(old.nodeid, opened.fh)

    assert sorted(shelf.files) == ["/", "/new", "/old"]


@pytest.mark.mount
async def test_a_killed_client_goes_at_once_and_its_thread_goes_on(
    slow: Slow, mountpoint: str
) -> None:
    (slow.root / "f").write_bytes(b"x")
    slow.slow = {"read"}

    async with mount(PathFilesystem(slow, threads=2), mountpoint, strict=True):
        command = [sys.executable, "-c", f"open('{mountpoint}/f').read()"]
        with subprocess.Popen(command) as process:
            await begun(slow)
            process.send_signal(signal.SIGKILL)
            with trio.fail_after(2):
                code = await trio.to_thread.run_sync(process.wait)
        assert code == -signal.SIGKILL
        assert not slow.free.is_set()
        slow.free.set()

    assert len(slow.released) == 1


@pytest.mark.mount
async def test_blocked_threads_do_not_exceed_the_limit(
    slow: Slow, mountpoint: str
) -> None:
    names = [f"f{n}" for n in range(6)]
    for name in names:
        (slow.root / name).write_bytes(name.encode())
    slow.slow = {"read"}
    filesystem = PathFilesystem(slow, threads=3)
    contents = []

    async def read(name: str) -> None:
        path = Path(mountpoint) / name
        contents.append(await trio.to_thread.run_sync(path.read_bytes))

    async with mount(filesystem, mountpoint, strict=True):
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(read, name)
            for _ in range(3):
                await begun(slow)
            assert filesystem._threads.running == 3
            slow.free.set()

    assert sorted(contents) == [name.encode() for name in names]
