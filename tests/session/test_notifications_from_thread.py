"""Notifications as plain functions, for threads: ``notifier.from_thread``."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
import trio

import triofuse as t

pytestmark = pytest.mark.mount

TEXT = b"text"


class Cached(t.Filesystem):
    """One file, which the kernel may cache for ever."""

    def __init__(self) -> None:
        self.lookups = self.reads = 0
        self.began, self.let_go = trio.Event(), trio.Event()
        self.let_go.set()

    def attr(self, nodeid: int) -> t.FileAttr:
        kind = stat.S_IFDIR if nodeid == 1 else stat.S_IFREG
        return t.FileAttr(nodeid, kind | 0o755, size=len(TEXT), attr_valid=10_000)

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        return self.attr(request.nodeid)

    async def lookup(self, request: t.Lookup) -> t.Entry:
        self.lookups += 1
        return t.Entry(self.attr(2), entry_valid=10_000)

    async def read(self, request: t.Read) -> bytes:
        self.reads += 1
        self.began.set()
        await self.let_go.wait()
        return TEXT


async def test_a_thread_gets_to_know_whether_the_kernel_knows_it(
    mountpoint: str,
) -> None:
    path = Path(mountpoint) / "file"
    cached = Cached()
    async with t.mount(cached, mountpoint) as session:
        await trio.to_thread.run_sync(path.stat)

        def tell() -> list[bool]:
            told = session.notifier.from_thread
            return [
                told.inval_inode(99),
                told.inval_inode(2, -1),
                told.inval_entry(1, "none"),
                told.expire_entry(1, "file"),
                told.store(2, 0, b"TEXT"),
                told.inval_entry(1, "file"),
            ]

        assert await trio.to_thread.run_sync(tell) == [
            False,
            True,
            False,
            True,
            True,
            True,
        ]
        before = cached.lookups
        await trio.to_thread.run_sync(path.stat)
        assert cached.lookups == before + 1


async def test_a_plain_thread_may_notify(mountpoint: str) -> None:
    results: list[bool] = []
    async with t.mount(Cached(), mountpoint) as session:
        await trio.to_thread.run_sync((Path(mountpoint) / "file").stat)
        told = session.notifier.from_thread
        thread = threading.Thread(target=lambda: results.append(told.inval_inode(2)))
        thread.start()
        await trio.to_thread.run_sync(thread.join)

    assert results == [True]


async def test_the_event_loop_waits_a_moment_only(mountpoint: str) -> None:
    cached = Cached()
    cached.let_go = trio.Event()
    async with t.mount(cached, mountpoint) as session, trio.open_nursery() as nursery:
        path = Path(mountpoint) / "file"
        nursery.start_soon(lambda: trio.to_thread.run_sync(path.read_bytes))
        await cached.began.wait()

        began = trio.current_time()
        assert session.notifier.from_thread.inval_inode(2)  # its page is locked
        assert trio.current_time() - began < 1
        assert session.notifier.waiting == 1
        cached.let_go.set()


async def test_after_the_end_it_is_an_end_of_channel(mountpoint: str) -> None:
    async with t.mount(Cached(), mountpoint) as session:
        told = session.notifier.from_thread

    with pytest.raises(trio.EndOfChannel):
        told.inval_inode(2)
    with pytest.raises(trio.EndOfChannel):
        session.notifier.from_thread  # noqa: B018  (it raises)
