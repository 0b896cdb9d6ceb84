"""Filesystems whose methods are never cancelled, on trio's virtual clock."""

from __future__ import annotations

import math
import os
import stat
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

import triofuse as t
from triofuse.testing import FakeKernel, open_kernel

Clock = trio.testing.MockClock

#: Seconds that a slow method takes.
SLOW = 5.0


class Shielded(t.Filesystem):
    """Names that start with "slow" take a while."""

    shielded = True

    def __init__(self) -> None:
        self.said: list[str] = []
        self.numbers = iter(range(2, 100))

    def attr(self, nodeid: int, mode: int = stat.S_IFDIR) -> t.FileAttr:
        return t.FileAttr(nodeid, mode | 0o755)

    async def work(self, what: str, name: str) -> None:
        self.said.append(f"{what} {name} begins")
        try:
            await trio.sleep(SLOW if name.startswith("slow") else 0)
        except trio.Cancelled:
            self.said.append(f"{what} {name} is cancelled")
            raise
        self.said.append(f"{what} {name} ends")

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        return self.attr(request.nodeid)

    async def lookup(self, request: t.Lookup) -> t.Entry:
        await self.work("lookup", request.name)
        return t.Entry(self.attr(next(self.numbers), stat.S_IFREG))

    def forget(self, request: t.Forget) -> None:
        self.said.append(f"forget {request.nodeid}")

    async def mkdir(self, request: t.Mkdir) -> t.Entry:
        await self.work("mkdir", request.name)
        return t.Entry(self.attr(next(self.numbers)))

    async def create(self, request: t.Create) -> tuple[t.Entry, t.Opened]:
        await self.work("create", request.name)
        return t.Entry(self.attr(next(self.numbers), stat.S_IFREG)), t.Opened(7)

    async def open(self, request: t.Open) -> t.Opened:
        return t.Opened(7, t.OpenFlags.DIRECT_IO)

    async def read(self, request: t.Read) -> bytes:
        await self.work("read", "slow")
        return b"data"

    async def release(self, request: t.Release) -> None:
        self.said.append(f"release {request.fh}")


async def killed_after(seconds: float, call: object) -> float:
    """Have a client of that system call killed; return when it is gone."""
    began = trio.current_time()
    with trio.move_on_after(seconds):
        await call()  # type: ignore[operator]
    return trio.current_time() - began


async def test_a_killed_caller_is_gone_at_once_and_its_method_goes_on(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel:
        gone = await killed_after(1, partial(kernel.lookup, 1, "slow"))
        await trio.sleep(SLOW)

    assert gone < 1.5
    assert shielded.said[:2] == ["lookup slow begins", "lookup slow ends"]


async def test_what_a_method_returns_to_nobody_is_undone(autojump_clock: Clock) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel:
        await killed_after(1, partial(kernel.create, 1, "slow", os.O_RDWR))
        await trio.sleep(SLOW)
        said = list(shielded.said)

    assert said == ["create slow begins", "create slow ends", "release 7", "forget 2"]


async def test_changes_in_the_same_directory_wait_for_the_abandoned_one(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel:
        await killed_after(1, partial(kernel.mkdir, 1, "slow"))
        await kernel.mkdir(1, "next")

    assert shielded.said.index("mkdir slow ends") < shielded.said.index(
        "mkdir next begins"
    )


async def test_other_requests_do_not_wait_for_it(autojump_clock: Clock) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel:
        await killed_after(1, partial(kernel.mkdir, 1, "slow"))
        await kernel.getattr(1)

        assert shielded.said == ["mkdir slow begins"]


async def test_a_caller_that_is_killed_while_it_is_held_back_never_starts(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel:
        await killed_after(1, partial(kernel.mkdir, 1, "slow"))
        gone = await killed_after(1, partial(kernel.mkdir, 1, "next"))
        await trio.sleep(SLOW)

    assert gone < 1.5
    assert "mkdir next begins" not in shielded.said


async def test_a_file_is_not_released_while_an_abandoned_read_uses_it(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel:
        entry = await kernel.lookup(1, "file")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        await killed_after(1, partial(kernel.read, entry.nodeid, opened.fh, 0, 10))
        await kernel.release(entry.nodeid, opened.fh)
        said = list(shielded.said)

    assert said[-3:] == ["read slow begins", "read slow ends", "release 7"]


async def test_a_node_is_not_forgotten_while_an_abandoned_request_uses_it(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel:
        entry = await kernel.lookup(1, "file")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        await killed_after(1, partial(kernel.read, entry.nodeid, opened.fh, 0, 10))
        await kernel.forget(entry.nodeid)
        await trio.sleep(1)
        early = list(shielded.said)
        await trio.sleep(SLOW)

        assert "forget 2" not in early
        assert shielded.said[-2:] == ["read slow ends", "forget 2"]


async def test_a_signal_that_the_caller_survives_does_not_end_a_stream(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with open_kernel(shielded) as kernel, trio.open_nursery() as nursery:
        entry = await kernel.lookup(1, "file")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)

        async def read() -> None:
            assert await kernel.read(entry.nodeid, opened.fh, 0, 10) == b"data"

        nursery.start_soon(read)
        await trio.sleep(1)
        (unique,) = kernel.pending
        await kernel.interrupt(unique, fatal=False)


async def test_at_the_end_of_the_mount_methods_run_to_their_end(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with trio.open_nursery() as nursery:
        async with open_kernel(shielded) as kernel:
            nursery.start_soon(partial(_try, kernel, "slow"))
            await trio.sleep(1)

    assert shielded.said[:2] == ["mkdir slow begins", "mkdir slow ends"]


async def _try(kernel: FakeKernel, name: str) -> None:
    with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        await kernel.mkdir(1, name)


async def test_a_timeout_answers_the_caller_and_cancels_nothing(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()

    async with open_kernel(shielded, timeout=1) as kernel:
        with pytest.raises(TimeoutError):
            await kernel.mkdir(1, "slow")
        await trio.sleep(SLOW)

        assert shielded.said[:2] == ["mkdir slow begins", "mkdir slow ends"]


async def test_finish_with_an_infinite_grace_lets_running_requests_end(
    autojump_clock: Clock,
) -> None:
    shielded = Shielded()
    shielded.shielded = False  # the grace says it, too

    async with open_kernel(shielded) as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(kernel.mkdir, 1, "slow")
        await trio.sleep(1)
        kernel.session.finish(math.inf)
        await kernel.session.wait_unmounted()

    assert shielded.said[:2] == ["mkdir slow begins", "mkdir slow ends"]
