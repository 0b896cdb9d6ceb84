"""Which requests which signal interrupts, and when, on the fake kernel."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.probe import FILES, Probe
from tests.testing.scripted import fails, until
from triofuse.device.callers import Standing
from triofuse.testing import FakeKernel, open_kernel
from triofuse.wire.opcodes import NotifyCode

FLAGS = t.OpenFlags


class Sleeping(Probe):
    """Its files are opened as the test says; their requests block."""

    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        self.flags = flags

    async def open(self, request: t.Open) -> t.Opened:
        return t.Opened(1, self.flags)

    async def release(self, request: t.Release) -> None:
        pass

    async def read(self, request: t.Read) -> bytes:
        await self._sleep()
        return b"text"

    async def write(self, request: t.Write) -> int:
        await self._sleep()
        return request.size

    async def poll(self, request: t.Poll) -> int:
        await self._sleep()
        return 0

    async def setlkw(self, request: t.Setlkw) -> None:
        await self._sleep()

    async def setattr(self, request: t.Setattr) -> t.FileAttr:
        await self._sleep()
        return self.attr(request.nodeid)


class Pipe(Sleeping):
    """A filesystem that names what waits by its nature."""

    interruptible = frozenset({"write"})


Call = Callable[[FakeKernel], Awaitable[object]]


async def read(kernel: FakeKernel) -> bytes:
    opened = await kernel.open(FILES["plain"])
    return await kernel.read(FILES["plain"], opened.fh, 0, 100)


async def read_after_release(kernel: FakeKernel) -> bytes:
    """Read with the number of a handle that was endless before."""
    opened = await kernel.open(FILES["plain"])
    kernel.session.filesystem.flags = 0  # type: ignore[attr-defined]
    await kernel.release(FILES["plain"], opened.fh)
    return await read(kernel)


def write(kernel: FakeKernel) -> Awaitable[int]:
    return kernel.write(FILES["plain"], 1, 0, b"text")


def truncate(kernel: FakeKernel) -> Awaitable[t.FileAttr]:
    return kernel.setattr(FILES["plain"], size=0)


def lock(kernel: FakeKernel) -> Awaitable[None]:
    return kernel.setlkw(FILES["plain"], 1, t.FileLock(type=t.LockType.WRLCK))


def unlock(kernel: FakeKernel) -> Awaitable[None]:
    """Drop a lock, as flock(2) does it without LOCK_NB."""
    return kernel.setlkw(FILES["plain"], 1, t.FileLock(type=t.LockType.UNLCK))


@pytest.mark.parametrize(
    ("filesystem", "call"),
    [
        (Sleeping(), read),
        (Sleeping(FLAGS.KEEP_CACHE), read),
        (Sleeping(FLAGS.DIRECT_IO), read_after_release),
        (Sleeping(FLAGS.STREAM), write),
        (Sleeping(), truncate),
        (Sleeping(), unlock),
        (Pipe(), truncate),
    ],
)
async def test_a_signal_that_the_caller_survives_changes_nothing(
    filesystem: Sleeping, call: Call, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_kernel(filesystem) as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(call, kernel)
        await filesystem.arrived.wait()
        (unique,) = kernel.pending
        await kernel.interrupt(unique, fatal=False)
        await trio.sleep(10)
        assert list(kernel.pending) == [unique]
        filesystem.let_go.set()

    assert filesystem.ended == ["woken"]


@pytest.mark.parametrize(
    ("filesystem", "call"),
    [
        (Sleeping(FLAGS.DIRECT_IO), read),
        (Sleeping(FLAGS.STREAM), read),
        (Sleeping(FLAGS.NONSEEKABLE | FLAGS.KEEP_CACHE), read),
        (Sleeping(), lock),
        (Pipe(), write),
    ],
)
async def test_what_waits_by_its_nature_gives_way_to_any_signal(
    filesystem: Sleeping, call: Call
) -> None:
    async with open_kernel(filesystem) as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(fails, errno.EINTR, call, kernel)
        await filesystem.arrived.wait()
        (unique,) = kernel.pending
        await kernel.interrupt(unique, fatal=False)

    assert filesystem.ended == ["cancelled"]


async def test_a_signal_that_ends_a_poll_makes_no_file_fail() -> None:
    sleeping = Sleeping()
    ready: list[int] = []
    async with open_kernel(sleeping) as kernel, trio.open_nursery() as nursery:

        async def poll() -> None:
            ready.append(await kernel.poll(FILES["plain"], 1, select.POLLIN, kh=7))

        nursery.start_soon(poll)
        await sleeping.arrived.wait()
        (unique,) = kernel.pending
        await kernel.interrupt(unique, fatal=False)
        with trio.fail_after(10):
            woken = await kernel.notifications.receive()

    assert (ready, sleeping.ended) == ([0], ["cancelled"])
    assert (woken.code, woken.fields["kh"]) == (NotifyCode.POLL, 7)


@pytest.mark.parametrize("resent", [False, True])
async def test_a_fatal_signal_is_found_after_one_that_was_survived(
    resent: bool, autojump_clock: trio.testing.MockClock
) -> None:
    sleeping = Sleeping()
    async with open_kernel(sleeping) as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(fails, errno.EINTR, truncate, kernel)
        await sleeping.arrived.wait()
        (unique,) = kernel.pending
        await kernel.interrupt(unique, fatal=False)
        if resent:
            await sleeping.notifier.resend()
            await until(lambda: unique not in kernel.pending)
        await trio.sleep(5)
        (unique,) = kernel.pending
        began = trio.current_time()
        await kernel.interrupt(unique)

    assert trio.current_time() - began < 0.05
    assert sleeping.ended == ["cancelled"]


async def test_a_caller_that_cannot_be_seen_has_a_second(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeKernel, "look", lambda *_: Standing.UNSEEN)
    sleeping = Sleeping()
    async with open_kernel(sleeping) as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(fails, errno.EINTR, truncate, kernel)
        await sleeping.arrived.wait()
        (unique,) = kernel.pending
        await kernel.interrupt(unique, fatal=False)
        began = trio.current_time()

    assert trio.current_time() - began == pytest.approx(1, abs=0.1)


async def test_looking_at_many_callers_takes_a_small_part_of_the_time(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def look(self: FakeKernel, unique: int, pid: int) -> Standing:
        nonlocal looks
        looks += 1
        return Standing.SURVIVES

    monkeypatch.setattr(FakeKernel, "look", look)
    monkeypatch.setattr(time, "perf_counter", lambda: looks * 20e-6)
    sleeping = Sleeping()
    async with open_kernel(sleeping) as kernel, trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(truncate, kernel)
        await until(lambda: kernel.session.statistics().in_flight == 500)
        for unique in list(kernel.pending):
            await kernel.interrupt(unique, fatal=False)
        await trio.testing.wait_all_tasks_blocked()
        looks = 0
        await trio.sleep(10)
        sleeping.let_go.set()

    assert looks > 1000
    assert looks * 20e-6 < 0.11 * 10
