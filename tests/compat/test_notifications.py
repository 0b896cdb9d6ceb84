"""pyfuse3's notifications, in handlers and in threads."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path

import pytest
import trio

import triofuse.compat.pyfuse3 as pyfuse3
from tests.compat.world import PRI, TEXT, Files, in_thread, mounted

pytestmark = pytest.mark.mount


class Cached(Files):
    """The kernel may cache everything for ever."""

    def attr(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = super().attr(inode)
        entry.attr_timeout = entry.entry_timeout = 10_000
        return entry

    async def open(
        self, inode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode)


class Telling(Cached):
    """Sends a notification in the handler of a request of the same directory."""

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if name == b"tell":
            pyfuse3.invalidate_entry(1, b"message")
        return await super().lookup(parent_inode, name, ctx)


async def test_an_invalidated_name_is_looked_up_again(mountpoint: str) -> None:
    files = Cached()
    path = Path(mountpoint) / "message"
    async with mounted(files, mountpoint):
        await in_thread(path.stat)
        await in_thread(path.stat)
        assert len(files.named("lookup")) == 1

        await in_thread(pyfuse3.invalidate_entry, 1, b"message")
        await in_thread(path.stat)
        assert len(files.named("lookup")) == 2

        await in_thread(pyfuse3.invalidate_entry, 1, b"message", 2)
        await in_thread(path.stat)
        assert len(files.named("lookup")) == 3


async def test_a_name_is_invalidated_in_the_handler_that_holds_its_directory(
    mountpoint: str,
) -> None:
    files = Telling()
    root = Path(mountpoint)
    async with mounted(files, mountpoint):
        await in_thread((root / "message").stat)
        with trio.fail_after(10):
            assert not await in_thread((root / "tell").exists)
            while len(files.named("lookup")) < 3:  # sent after the reply
                await in_thread((root / "message").stat)


async def test_an_invalidated_inode_is_read_again(mountpoint: str) -> None:
    files = Cached()
    path = Path(mountpoint) / "message"
    async with mounted(files, mountpoint):
        assert await in_thread(path.read_bytes) == TEXT
        assert await in_thread(path.read_bytes) == TEXT
        assert len(files.named("read")) == 1

        pyfuse3.invalidate_inode(2, attr_only=True)
        assert await in_thread(path.read_bytes) == TEXT
        assert len(files.named("read")) == 1

        pyfuse3.invalidate_inode(2)
        assert await in_thread(path.read_bytes) == TEXT
        assert len(files.named("read")) == 2


async def test_stored_data_is_read_from_the_cache(mountpoint: str) -> None:
    files = Cached()
    path = Path(mountpoint) / "message"
    async with mounted(files, mountpoint):
        await in_thread(path.stat)
        pyfuse3.notify_store(2, offset=0, data=memoryview(b"HELLO WORLD!"))

        assert await in_thread(path.read_bytes) == b"HELLO WORLD!"
        assert files.named("read") == []


async def test_what_the_kernel_does_not_know_is_enoent(mountpoint: str) -> None:
    async with mounted(Cached(), mountpoint):
        await in_thread(os.stat, mountpoint)
        for call, arguments in (
            (pyfuse3.invalidate_entry, (1, b"none")),
            (pyfuse3.invalidate_inode, (99,)),
            (pyfuse3.notify_store, (99, 0, b"x")),
        ):
            with pytest.raises(FileNotFoundError):
                call(*arguments)
            with pytest.raises(FileNotFoundError):
                await in_thread(call, *arguments)
        with pytest.raises(TypeError, match="bytes"):
            pyfuse3.invalidate_entry(1, "none")  # type: ignore[arg-type]


async def test_nothing_is_told_to_a_kernel_that_has_unmounted(mountpoint: str) -> None:
    with pytest.raises(RuntimeError, match="init"):
        pyfuse3.invalidate_inode(2)
    pyfuse3.init(Cached(), mountpoint)
    with pytest.raises(FileNotFoundError):  # the kernel knows nothing yet
        pyfuse3.invalidate_inode(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await in_thread(os.stat, mountpoint)
        pyfuse3.terminate()
    with pytest.raises(OSError, match=os.strerror(19)):
        pyfuse3.invalidate_inode(2)
    pyfuse3.close()


async def test_the_event_loop_is_not_blocked_by_a_notification(mountpoint: str) -> None:
    files = Files()  # its read of "slow" holds the pages of that file
    async with mounted(files, mountpoint), trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, (Path(mountpoint) / "slow").read_bytes)
        await files.slow_began.wait()
        began = trio.current_time()
        pyfuse3.notify_store(3, 0, b"x" * 12)  # waits for the page that is being read
        assert trio.current_time() - began < 1
        files.let_go.set()


async def test_invalidations_are_sent_by_a_thread(
    mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = Cached()
    path = Path(mountpoint) / "message"
    async with mounted(files, mountpoint):
        await in_thread(path.stat)
        pyfuse3.invalidate_entry_async(1, b"none", ignore_enoent=True)
        pyfuse3.invalidate_entry_async(1, b"other")
        pyfuse3.invalidate_entry_async(1, b"message")
        with trio.fail_after(10):
            while len(files.named("lookup")) < 2:
                await in_thread(path.stat)

    assert "other" in caplog.text
    assert "none" not in caplog.text


async def test_a_poller_is_woken(mountpoint: str) -> None:
    files = Files()
    events: list[tuple[int, int]] = []

    def wait() -> None:
        fd = os.open(f"{mountpoint}/message", os.O_RDONLY)
        try:
            poller = select.poll()
            poller.register(fd, PRI)
            events.extend(poller.poll(10_000))
        finally:
            os.close(fd)

    async with mounted(files, mountpoint), trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, wait)
        with trio.fail_after(10):
            while files.handle is None:
                await trio.sleep(0.01)
        files.ready = PRI
        waker = threading.Thread(target=files.handle.notify)
        waker.start()
        await in_thread(waker.join)

    assert [event for _, event in events] == [PRI]
    with pytest.raises(OSError, match=os.strerror(19)):
        files.handle.notify()
