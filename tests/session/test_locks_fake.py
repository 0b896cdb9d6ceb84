"""File locks over the fake kernel, which can do what processes cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator

import pytest
import trio
import trio.lowlevel
import trio.testing

import triofuse as t
from memfs import MemFS
from triofuse.testing import FakeKernel, open_kernel

RD, WR, UN = (int(kind) for kind in t.LockType)


@pytest.fixture
async def kernel() -> AsyncIterator[FakeKernel]:
    memfs = MemFS()
    with trio.fail_after(5):
        async with open_kernel(memfs) as kernel:
            yield kernel
        assert not memfs._locks._files


async def opened(kernel: FakeKernel) -> tuple[int, int, int]:
    """Make a file and open it twice."""
    entry, one = await kernel.create(1, "file", os.O_RDWR)
    other = await kernel.open(entry.nodeid, os.O_RDWR)
    return entry.nodeid, one.fh, other.fh


async def test_an_interrupt_ends_the_waiting(kernel: FakeKernel) -> None:
    nodeid, fh, _ = await opened(kernel)
    await kernel.setlk(nodeid, fh, t.FileLock(type=WR), 1)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.setlkw, nodeid, fh, t.FileLock(type=RD), 2)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    await kernel.flush(nodeid, fh, 1)
    await kernel.setlk(nodeid, fh, t.FileLock(type=WR), 3)
    await kernel.flush(nodeid, fh, 3)


async def test_every_open_file_has_a_handle_by_which_its_locks_end(
    kernel: FakeKernel,
) -> None:
    nodeid, one, other = await opened(kernel)
    await kernel.setlk(nodeid, one, t.FileLock(type=WR), 1)
    assert one != other

    await kernel.release(nodeid, other)
    with pytest.raises(BlockingIOError):
        await kernel.setlk(nodeid, one, t.FileLock(type=WR), 2)
    await kernel.release(nodeid, one)

    assert await kernel.getlk(nodeid, 0, t.FileLock(type=WR), 2) == t.FileLock()


async def test_a_release_ends_the_flock_it_names(kernel: FakeKernel) -> None:
    nodeid, one, other = await opened(kernel)
    whole, flock = t.FileLock(type=WR), t.LockFlags.FLOCK
    await kernel.setlk(nodeid, one, whole, 1, flock)
    await kernel.flush(nodeid, one, 1)
    with pytest.raises(BlockingIOError):
        await kernel.setlk(nodeid, other, whole, 2, flock)

    await kernel.release(nodeid, one, 0, t.ReleaseFlags.FLOCK_UNLOCK, 1)

    await kernel.setlk(nodeid, other, whole, 2, flock)
    await kernel.release(nodeid, other, 0, t.ReleaseFlags.FLOCK_UNLOCK, 2)


async def test_a_deadlock_is_an_errno_of_its_own(kernel: FakeKernel) -> None:
    nodeid, fh, _ = await opened(kernel)
    for owner in (1, 2):
        await kernel.setlk(nodeid, fh, t.FileLock(owner, owner, WR), owner)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.setlkw, nodeid, fh, t.FileLock(2, 2, WR), 1)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            await kernel.setlkw(nodeid, fh, t.FileLock(1, 1, WR), 2)
        assert caught.value.errno == errno.EDEADLK
        await kernel.flush(nodeid, fh, 2)
    await kernel.flush(nodeid, fh, 1)


async def test_locks_end_with_the_mount() -> None:
    memfs = MemFS()
    with trio.fail_after(5):
        async with open_kernel(memfs) as kernel:
            nodeid, one, other = await opened(kernel)
            await kernel.setlk(nodeid, one, t.FileLock(type=WR), 1)
            await kernel.setlk(nodeid, other, t.FileLock(type=WR), 2, 1)

    assert not memfs._locks._files


async def test_the_kernel_keeps_the_locks_of_who_has_no_method_for_them() -> None:
    async with open_kernel(t.Filesystem()) as kernel:
        assert not kernel.negotiated.granted & t.InitFlags.POSIX_LOCKS
        assert not kernel.negotiated.granted & t.InitFlags.FLOCK_LOCKS
    async with open_kernel(MemFS()) as kernel:
        assert kernel.negotiated.granted & t.InitFlags.POSIX_LOCKS
        assert kernel.negotiated.granted & t.InitFlags.FLOCK_LOCKS
