"""Deadlines, on trio's virtual clock: copy these for your own filesystem."""

from __future__ import annotations

import errno
import logging
import math

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.probe import FILES, Probe
from triofuse.session.control.deadlines import limits_of
from triofuse.testing import open_kernel
from triofuse.wire.opcodes import Opcode


class Slow(Probe):
    """Its reads end when the virtual clock says so."""

    def __init__(self, seconds: float = math.inf) -> None:
        super().__init__()
        self.seconds = seconds

    async def read(self, request: t.Read) -> bytes:
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            self.ended.append("cancelled")
            raise
        return b"late"

    async def setlkw(self, request: t.Setlkw) -> None:
        await trio.sleep(self.seconds)


class Stubborn(Slow):
    """Ignores its cancellation."""

    async def open(self, request: t.Open) -> t.Opened:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.seconds)
        self.handles.add(7)
        return t.Opened(7)


async def test_a_request_ends_with_etimedout_when_its_time_is_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Slow()

    async with open_kernel(slow, timeout=5) as kernel:
        started = trio.current_time()
        with pytest.raises(TimeoutError):
            await kernel.read(FILES["slow"], 1, 0, 10)

        assert trio.current_time() - started == pytest.approx(5)
        assert slow.ended == ["cancelled"]
        assert kernel.session.statistics().in_flight == 0


async def test_what_is_in_time_is_not_touched(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Slow(4.9), timeout=5) as kernel:
        for _ in range(3):
            assert await kernel.read(FILES["slow"], 1, 0, 10) == b"late"


async def test_each_operation_may_have_a_timeout_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timeout = {"read": 1, "setlkw": 60}
    async with open_kernel(Slow(50), timeout=timeout) as kernel:
        with pytest.raises(TimeoutError):
            await kernel.read(FILES["slow"], 1, 0, 10)
        lock = t.FileLock(0, 9, t.LockType.WRLCK, 1)
        await kernel.setlkw(FILES["slow"], 1, lock, owner=5)


async def test_waiting_for_a_lock_has_no_limit_unless_it_is_named() -> None:
    limits = limits_of(5.0)

    assert limits[Opcode.READ] == 5
    assert Opcode.SETLKW not in limits
    assert Opcode.RELEASE not in limits
    assert limits_of({"setlkw": 60}) == {Opcode.SETLKW: 60}


async def test_everything_ends_before_the_kernels_own_request_timeout() -> None:
    limits = limits_of({"read": 5}, request_timeout=20)

    assert limits[Opcode.READ] == 5
    assert {limits[opcode] for opcode in limits if opcode != Opcode.READ} == {15}
    assert Opcode.RELEASE in limits
    assert Opcode.SETLKW in limits


@pytest.mark.parametrize("timeout", [0, -1, {"read": 0}])
async def test_a_timeout_must_be_above_zero(timeout: float | dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        limits_of(timeout)


async def test_a_misspelt_operation_is_named() -> None:
    with pytest.raises(ValueError, match="no operation 'raed'"):
        limits_of({"raed": 5})


async def test_a_request_that_waits_for_a_handler_is_never_started_after_its_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Slow()
    answers: list[int | None] = []

    async with open_kernel(slow, timeout=5, max_handlers=1) as kernel:

        async def read() -> None:
            with pytest.raises(TimeoutError) as caught:
                await kernel.read(FILES["slow"], 1, 0, 10)
            answers.append(caught.value.errno)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)

    assert answers == [errno.ETIMEDOUT] * 3
    assert slow.ended == ["cancelled"]  # the others never began


async def test_a_handler_that_does_not_give_way_keeps_its_task_but_not_its_caller(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = Stubborn(100)

    async with open_kernel(stubborn, timeout=5) as kernel:
        started = trio.current_time()
        with pytest.raises(TimeoutError):
            await kernel.open(FILES["slow"])
        assert trio.current_time() - started == pytest.approx(5.5)
        assert kernel.session.statistics().in_flight == 1

        await trio.sleep(100)
        await trio.testing.wait_all_tasks_blocked()

        assert kernel.session.statistics().in_flight == 0
        assert stubborn.handles == set()  # opened for nobody, so it was released
    assert "nothing has ended OPEN in time" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize("late", [0.1, 50])
async def test_a_handler_that_was_given_up_serves_the_next_request(
    mock_clock: trio.testing.MockClock, late: float
) -> None:
    """Also if the event loop was blocked, so that the check comes late."""
    stubborn = Stubborn(100)

    async def timed_out() -> None:
        with pytest.raises(TimeoutError):
            await kernel.open(FILES["slow"])

    async with open_kernel(stubborn, timeout=5, max_handlers=1) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timed_out)
            for seconds in (5 + late, 1):
                await trio.testing.wait_all_tasks_blocked()
                assert kernel.pending, "cancelled first, and given time"
                mock_clock.jump(seconds)
        mock_clock.jump(100)
        await trio.testing.wait_all_tasks_blocked()

        with trio.fail_after(5):
            mock_clock.autojump_threshold = 0
            assert (await kernel.getattr(1)).is_dir


async def test_a_handler_that_fails_after_its_caller_is_not_answered_for_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Late(Stubborn):
        async def open(self, request: t.Open) -> t.Opened:
            await super().open(request)
            raise PermissionError(errno.EACCES, "at last")

    async with open_kernel(Late(100), timeout=5) as kernel:
        with pytest.raises(TimeoutError):
            await kernel.open(FILES["slow"])
        await trio.sleep(100)
        await trio.testing.wait_all_tasks_blocked()

    assert kernel.refusals == []


async def test_without_a_timeout_a_request_may_take_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Slow(1e6)) as kernel:
        assert await kernel.read(FILES["slow"], 1, 0, 10) == b"late"
