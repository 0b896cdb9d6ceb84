"""Readiness: who polls is woken, and no wake-up is lost."""

from __future__ import annotations

import select

import pytest
import trio
import trio.testing

import triofuse
from triofuse.testing import FakeKernel, open_kernel
from triofuse.wire.opcodes import NotifyCode

POLLIN, POLLOUT = select.POLLIN, select.POLLOUT
NOTIFY = triofuse.PollFlags.SCHEDULE_NOTIFY


class Pollable(triofuse.Filesystem):
    """Files that are all ready for the same."""

    def __init__(self) -> None:
        self.ready = triofuse.Readiness(self)

    async def poll(self, request: triofuse.Poll) -> int:
        return self.ready.poll(request)


async def woken(kernel: FakeKernel) -> list[int]:
    """Return whom the filesystem has woken."""
    await trio.testing.wait_all_tasks_blocked(0.01)
    numbers: list[int] = []
    while True:
        try:
            notification = kernel.notifications.receive_nowait()
        except trio.WouldBlock:
            return sorted(numbers)
        assert notification.code == NotifyCode.POLL
        numbers.append(notification.fields["kh"])


async def test_what_a_file_is_ready_for_is_answered() -> None:
    pollable = Pollable()
    async with open_kernel(pollable) as kernel:
        assert await kernel.poll(2, 0, POLLIN | POLLOUT) == 0
        await pollable.ready.set(POLLIN)
        assert await kernel.poll(2, 0, POLLIN | POLLOUT) == POLLIN
        assert await kernel.poll(2, 0, POLLOUT) == 0
        await pollable.ready.set(POLLOUT)
        pollable.ready.clear(POLLIN)
        assert await kernel.poll(2, 0, POLLIN | POLLOUT) == POLLOUT


@pytest.mark.parametrize("event", [select.POLLERR, select.POLLHUP])
async def test_errors_are_answered_unasked(event: int) -> None:
    pollable = Pollable()
    async with open_kernel(pollable) as kernel:
        await pollable.ready.set(event)
        assert await kernel.poll(2, 0, POLLIN) == event


@pytest.mark.parametrize(
    ("event", "other"),
    [(POLLIN, select.POLLRDNORM), (POLLOUT, select.POLLWRNORM)],
)
async def test_who_asks_by_the_other_name_gets_an_answer(
    event: int, other: int
) -> None:
    pollable = Pollable()
    async with open_kernel(pollable) as kernel:
        await pollable.ready.set(event)
        assert await kernel.poll(2, 0, other) == other
        pollable.ready.clear(event)
        assert await kernel.poll(2, 0, other) == 0


async def test_everybody_who_waits_is_woken_once() -> None:
    pollable = Pollable()
    async with open_kernel(pollable) as kernel:
        await kernel.poll(2, 0, POLLIN, 5, NOTIFY)
        await kernel.poll(2, 0, POLLIN, 6, NOTIFY)
        await kernel.poll(2, 0, POLLIN, 6, NOTIFY)
        await kernel.poll(2, 0, POLLIN, 7)  # only asks
        assert await woken(kernel) == []

        await pollable.ready.set(POLLIN)
        assert await woken(kernel) == [5, 6]
        await pollable.ready.set(POLLIN)
        assert await woken(kernel) == []


async def test_more_of_the_same_is_an_edge_for_who_has_asked_again() -> None:
    pollable = Pollable()
    async with open_kernel(pollable) as kernel:
        await pollable.ready.set(POLLIN)
        assert await kernel.poll(2, 0, POLLIN, 5, NOTIFY) == POLLIN
        await pollable.ready.set(POLLIN)
        assert await woken(kernel) == [5]


async def test_a_wake_up_is_not_lost_to_a_cancellation() -> None:
    pollable = Pollable()
    async with open_kernel(pollable) as kernel:
        await kernel.poll(2, 0, POLLIN, 5, NOTIFY)
        with trio.CancelScope() as scope:
            scope.cancel()
            await pollable.ready.set(POLLIN)
        assert await woken(kernel) == [5]


async def test_waiting_ends_when_the_file_is_ready() -> None:
    pollable = Pollable()
    order: list[str] = []

    async def wait() -> None:
        await pollable.ready.wait(POLLIN)
        order.append("ready")

    async with open_kernel(pollable), trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await pollable.ready.set(POLLOUT)
        await trio.testing.wait_all_tasks_blocked()
        order.append("set")
        await pollable.ready.set(POLLIN)
    with trio.testing.assert_checkpoints():
        await pollable.ready.wait(POLLIN)

    assert order == ["set", "ready"]


async def test_who_waits_for_a_file_that_fails_is_let_go() -> None:
    pollable = Pollable()
    async with open_kernel(pollable), trio.open_nursery() as nursery:
        nursery.start_soon(pollable.ready.wait, POLLIN)
        await trio.testing.wait_all_tasks_blocked()
        await pollable.ready.set(select.POLLHUP)


async def test_after_the_end_there_is_nobody_to_wake() -> None:
    pollable = Pollable()
    async with open_kernel(pollable) as kernel:
        await kernel.poll(2, 0, POLLIN, 5, NOTIFY)
    await pollable.ready.set(POLLIN)
    assert pollable.ready.events & POLLIN


async def test_a_file_may_be_ready_before_anybody_is_mounted() -> None:
    pollable = Pollable()
    await pollable.ready.set(POLLIN)
    async with open_kernel(pollable) as kernel:
        assert await kernel.poll(2, 0, POLLIN) == POLLIN
