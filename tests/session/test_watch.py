"""One handler leads: it waits for the device, and another is promoted when it blocks."""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import suppress

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.probe import FILES, TEXT, Probe
from triofuse.session.scheduling.coroutine import ObservedCoroutine
from triofuse.session.scheduling.policy import Handler, Policy
from triofuse.testing import FakeKernel, open_kernel
from triofuse.testing.messages import encode_request
from triofuse.wire.opcodes import Opcode


class Steps(trio.abc.Instrument):
    """Counts the steps of tasks, by the name of their function."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count[task.name.rpartition(".")[2]] += 1


async def steps_of(kernel: FakeKernel) -> Counter[str]:
    """Return the steps of each task while an idle mount gets a request."""
    await trio.testing.wait_all_tasks_blocked()
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        await kernel.lookup(1, "plain")
        await trio.testing.wait_all_tasks_blocked()
    finally:
        trio.lowlevel.remove_instrument(steps)
    return steps.count


async def test_an_idle_handler_is_woken_by_the_device_itself() -> None:
    async with open_kernel(Probe()) as kernel:
        await kernel.lookup(1, "plain")

        steps = await steps_of(kernel)

    assert steps["_handle"] == 1
    assert "_read" not in steps


async def test_while_a_handler_is_blocked_another_one_leads() -> None:
    probe = Probe()
    async with open_kernel(probe) as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(kernel.read, FILES["slow"], 1)
        await probe.arrived.wait()

        steps = await steps_of(kernel)

        assert steps["_handle"] == 1  # it serves what it finds, without a task switch
        assert kernel.session.statistics().handlers == 2
        probe.let_go.set()


async def test_an_interrupt_finds_the_only_handler_wherever_it_waits() -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with open_kernel(probe, max_handlers=1) as kernel:
            for _ in range(3):
                probe.arrived = trio.Event()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kernel.read, FILES["slow"], 1)
                    await probe.arrived.wait()
                    nursery.cancel_scope.cancel()
                await kernel.lookup(1, "plain")

    assert probe.ended == ["cancelled"] * 3


@pytest.mark.parametrize("limit", [1, 2])
async def test_what_somebody_else_has_read_is_served_beside_a_handler_that_watches(
    limit: int,
) -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with open_kernel(probe, max_handlers=limit) as kernel:
            await kernel.lookup(1, "plain")
            await trio.testing.wait_all_tasks_blocked()
            send_getattr(kernel, 4000)
            kernel.session.notifier._read_copies()  # the loop does not run meanwhile

            while probe.calls["getattr"] < 1:
                await trio.lowlevel.checkpoint()
            await kernel.lookup(1, "plain")
            await trio.testing.wait_all_tasks_blocked()
            assert kernel.session.statistics().handlers <= limit
            assert await kernel.read(FILES["plain"], 1) == TEXT


async def test_the_end_of_the_connection_is_not_lost_on_a_handler_that_watches() -> (
    None
):
    with trio.fail_after(10):
        async with open_kernel(Probe()) as kernel:
            await kernel.lookup(1, "plain")
            await trio.testing.wait_all_tasks_blocked()
            kernel.unmount()
            await kernel.session.wait_unmounted()


async def test_a_request_that_awaits_twice_has_another_promoted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoted: list[Handler] = []
    wake = Policy.wake

    def wake_and_note(policy: Policy) -> Handler | None:
        handler = wake(policy)
        if handler is not None:
            promoted.append(handler)
        return handler

    monkeypatch.setattr(Policy, "wake", wake_and_note)

    class Patient(Probe):
        async def getattr(self, request: t.Getattr) -> t.FileAttr:
            await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            return await super().getattr(request)

    async with open_kernel(Patient()) as kernel:
        await kernel.lookup(1, "plain")
        await trio.testing.wait_all_tasks_blocked()
        promoted.clear()
        assert (await kernel.getattr(1)).ino == 1
        assert len(promoted) == 1
        assert (await kernel.getattr(1)).ino == 1  # served by the one that leads now
        assert len(promoted) == 2


@pytest.fixture(params=range(10))
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tasks of a turn in another order for each number."""
    monkeypatch.setattr("trio._core._run._r", random.Random(request.param))


class Hoarding(Probe):
    """A GETATTR of the root reads others, and takes until the slice is over.

    Each of them waits until the last has come.
    """

    def __init__(self, count: int, clock: trio.testing.MockClock) -> None:
        super().__init__()
        self.kernel: FakeKernel
        self.clock = clock
        self.count = count

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        if request.nodeid == 1:
            send_getattr(self.kernel, 3998, FILES["slow"])  # whose end sees the time
            for number in range(self.count):
                send_getattr(self.kernel, 4000 + 2 * number)
            self.kernel.session.notifier._read_copies()
            self.clock.jump(0.003)
        if request.nodeid != FILES["plain"]:
            return self.attr(request.nodeid)
        self.calls["other"] += 1
        if self.calls["other"] == self.count:
            self.let_go.set()
        await self.let_go.wait()
        return self.attr(request.nodeid)


def send_getattr(kernel: FakeKernel, unique: int, nodeid: int = 2) -> None:
    """Put a request at the device for which no task of this program waits."""
    message = encode_request(Opcode.GETATTR, unique, nodeid, (0, 0, 0), bytes(16))
    os.write(kernel._socket.fileno(), message)


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize(("count", "limit"), [(10, 1000), (2, 2), (3, 3)])
async def test_what_is_queued_while_a_handler_pauses_is_not_left_there(
    count: int, limit: int, mock_clock: trio.testing.MockClock
) -> None:
    hoarding = Hoarding(count, mock_clock)
    async with open_kernel(hoarding, max_handlers=limit, busy_poll=0) as kernel:
        hoarding.kernel = kernel
        await kernel.lookup(1, "plain")
        await trio.testing.wait_all_tasks_blocked()
        await kernel.getattr(1)
        await trio.testing.wait_all_tasks_blocked()
        missing = count - hoarding.calls["other"]
        hoarding.let_go.set()

    assert missing == 0


@pytest.mark.usefixtures("order")
async def test_a_mount_that_ends_as_the_watch_changes_hands_ends_cleanly() -> None:
    class Ending(Probe):
        async def getattr(self, request: t.Getattr) -> t.FileAttr:
            if request.nodeid == 1:
                self.arrived.set()
                await trio.lowlevel.cancel_shielded_checkpoint()
                kernel.unmount()
            return self.attr(request.nodeid)

    ending = Ending()

    async def read_another() -> None:
        while not ending.arrived.is_set():
            await trio.lowlevel.checkpoint()
        with suppress(BrokenPipeError):  # it may have ended before that
            send_getattr(kernel, 4000)
        kernel.session.notifier._read_copies()

    with trio.fail_after(10):
        async with (
            open_kernel(ending, busy_poll=0) as kernel,
            trio.open_nursery() as nursery,
        ):
            await kernel.lookup(1, "plain")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(read_another)
            await kernel.getattr(1)
            await kernel.session.wait_unmounted()


async def test_waiting_for_a_lock_leaves_no_handler_too_many() -> None:
    class Locking(Probe):
        most = 0

        async def setlkw(self, request: t.Setlkw) -> None:
            await self.arrived.wait()

        async def getattr(self, request: t.Getattr) -> t.FileAttr:
            self.calls["now"] += 1
            self.most = max(self.most, self.calls["now"])
            try:
                await self.let_go.wait()
            finally:
                self.calls["now"] -= 1
            return self.attr(request.nodeid)

    locking = Locking()
    with trio.fail_after(10):
        async with (
            open_kernel(locking, max_handlers=1) as kernel,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(kernel.setlkw, 2, 7, t.FileLock(type=1))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(kernel.getattr, 2)
            await trio.testing.wait_all_tasks_blocked()
            locking.arrived.set()  # the lock is free, and there are two handlers
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(kernel.getattr, 3)
            await trio.testing.wait_all_tasks_blocked()
            locking.let_go.set()

    assert locking.most == 1


class Trap:
    """What a coroutine yields to the event loop."""

    def __await__(self) -> object:
        return (yield self)


def test_a_coroutine_is_seen_to_let_go_and_to_end() -> None:
    seen: list[str] = []
    trap = Trap()

    async def inner() -> None:
        seen.append("begins")
        try:
            seen.append(await trap)  # type: ignore[misc]
        except ValueError as exc:
            seen.append(str(exc))
            await trap  # type: ignore[misc]

    async def outer() -> None:
        await ObservedCoroutine(inner(), lambda: seen.append("lets go"))

    coroutine = outer()
    assert coroutine.send(None) is trap
    assert coroutine.throw(ValueError("error")) is trap
    with pytest.raises(StopIteration):
        coroutine.send(None)

    assert seen == ["begins", "lets go", "error", "lets go", "lets go"]


def test_a_coroutine_that_is_given_up_is_closed() -> None:
    closed: list[bool] = []

    async def inner() -> None:
        try:
            await Trap()  # type: ignore[misc]
        finally:
            closed.append(True)

    async def outer() -> None:
        await ObservedCoroutine(inner(), lambda: None)

    coroutine = outer()
    coroutine.send(None)
    coroutine.close()

    assert closed == [True]
