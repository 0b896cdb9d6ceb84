"""A walk: system calls, signals and ends in any order, and the books afterwards."""

from __future__ import annotations

import errno
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Unpack

import trio
import trio.testing

from tests.fuzz.connection import BookKeeper, connected
from tests.fuzz.ledger import Ledger
from tests.fuzz.programs import CALLS, Step, Walker
from triofuse.session.session import SessionOptions
from triofuse.testing import Refusal
from triofuse.wire import layouts
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND, INTERRUPT_BIT

__all__ = ["ENDS", "STEPS", "Step", "walk"]

#: The number of the first request of all.
_INIT = 2

#: Bytes of payload that no walk comes up to.
_AMPLE = 64 << 20

#: A request's number, however often it was sent.
_NUMBER = ~FUSE_UNIQUE_RESEND

#: How a walk may end.
ENDS = ["rest", "leave", "abort", "cancel"]


# --- What else happens


async def _forget(walker: Walker, step: Step) -> None:
    known = sorted((+walker.kernel.lookups).items())
    if known:
        nodeid, count = known[step.which % len(known)]
        await walker.kernel.forget(nodeid, 1 + step.size % count)


async def _forget_all(walker: Walker, step: Step) -> None:
    await walker.kernel.forget_all()


async def _signal(walker: Walker, step: Step) -> None:
    if walker.scopes:
        walker.scopes[step.which % len(walker.scopes)].cancel()


async def _vanish(walker: Walker, step: Step) -> None:
    pending = sorted(walker.kernel.pending)
    if pending:
        walker.kernel.vanish(pending[step.which % len(pending)])


async def _settle(walker: Walker, step: Step) -> None:
    await trio.testing.wait_all_tasks_blocked()


async def _yield(walker: Walker, step: Step) -> None:
    for _ in range(step.size):
        await trio.lowlevel.checkpoint()


async def _wait(walker: Walker, step: Step) -> None:
    await trio.testing.wait_all_tasks_blocked()
    walker.clock.jump(step.size)
    await trio.testing.wait_all_tasks_blocked()


async def _tell(walker: Walker, step: Step) -> None:
    notifier = walker.kernel.session.notifier
    match step.which % 4:
        case 0:
            await notifier.poll(step.which)
        case 1:
            await notifier.inc_epoch()
        case 2:
            await notifier.inval_inode(walker.node(step.which), -1)
        case 3:
            await notifier.store(walker.node(step.which), 0, b"x" * step.size)
    walker.notified += 1


async def _resend(walker: Walker, step: Step) -> None:
    """Have requests sent again, unless some are still unread.

    Linux sends only again what was read, and changes the numbers before the write
    returns; a socket knows neither.
    """
    await trio.testing.wait_all_tasks_blocked()
    if walker.kernel.session.max_payload < _AMPLE:  # copies would wait for room
        return
    in_flight = walker.kernel.session.in_flight()
    known = {one.request.unique & _NUMBER for one in in_flight if one.request}
    if not known >= {unique & _NUMBER for unique in walker.kernel.pending}:
        return
    await walker.kernel.session.notifier.resend()
    await trio.testing.wait_all_tasks_blocked()
    walker.notified += 1


_Happening = Callable[[Walker, Step], Awaitable[None]]

_HAPPENINGS: dict[str, _Happening] = {
    "forget": _forget,
    "forget_all": _forget_all,
    "signal": _signal,
    "vanish": _vanish,
    "settle": _settle,
    "yield": _yield,
    "wait": _wait,
    "tell": _tell,
    "resend": _resend,
}

STEPS = [*CALLS, *_HAPPENINGS]


async def _take(walker: Walker, step: Step) -> None:
    if step.what in CALLS:
        CALLS[step.what](walker, step)
    else:
        await _HAPPENINGS[step.what](walker, step)


# --- From the beginning to the end


#: Real seconds after which a walk has certainly got stuck: it takes a few thousandths.
_HANGS = 5

#: Seconds after which every plan has come to its end.
_LONG = 1000


def walk(steps: Sequence[Step], end: str, **options: Unpack[SessionOptions]) -> None:
    """Take these steps on a session of its own, and look at the books.

    Args:
      steps: What happens, in this order.
      end: One of `ENDS`: once everything has been answered, given back and closed;
        in the midst of it, by unmounting, aborting, or cancelling the session.
      options: Of the session.
    """
    clock = trio.testing.MockClock()
    trio.run(_walk, clock, steps, end, options, clock=clock)


async def _walk(
    clock: trio.testing.MockClock,
    steps: Sequence[Step],
    end: str,
    options: SessionOptions,
) -> None:
    ledger = Ledger()
    async with trio.open_nursery() as callers:
        with trio.CancelScope() as scope:
            async with connected(ledger, **options) as kernel, _guarded(kernel):
                walker = Walker(ledger, kernel, callers, clock)
                for step in steps:
                    await _take(walker, step)
                if end == "rest":
                    await _come_to_rest(walker)
                    _check_statistics(walker)
                    await _give_back(walker)
                clock.autojump_threshold = 0
                match end:
                    case "abort":
                        kernel.abort()
                    case "cancel":
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
    _check_books(walker, end)


@asynccontextmanager
async def _guarded(kernel: BookKeeper) -> AsyncIterator[None]:
    """Fail where somebody waits for ever, by real time: the clock stands still."""
    stuck: list[str] = []
    token = trio.lowlevel.current_trio_token()

    def let_go() -> None:
        stuck.append(f"{kernel.pending} wait for ever")
        kernel.abort()
        scope.cancel()

    with trio.CancelScope() as scope:
        guard = threading.Timer(_HANGS, token.run_sync_soon, (let_go,))
        guard.start()
        try:
            yield
        finally:
            guard.cancel()
            guard.join()
            assert not stuck, stuck


async def _come_to_rest(walker: Walker) -> None:
    """Wait until nobody waits any more."""
    for _ in range(100):
        await trio.testing.wait_all_tasks_blocked()
        if not walker.scopes and not walker.kernel.session.in_flight():
            break
        walker.clock.jump(_LONG)
    for _ in range(walker.ledger.told + walker.notified):  # threads tell some of it
        await walker.kernel.notifications.receive()
    assert walker.kernel.notifications.statistics().current_buffer_used == 0
    assert walker.scopes == []
    assert walker.kernel.session.in_flight() == []
    assert walker.kernel.pending == {}


def _check_statistics(walker: Walker) -> None:
    """See that every request is in the numbers once, but for what never began."""
    statistics = walker.kernel.session.statistics()
    operations = statistics.operations.values()
    asked = set(walker.kernel.asked) - {_INIT}

    assert (statistics.in_flight, statistics.queued) == (0, 0)
    assert statistics.handled == sum(one.handled for one in operations)
    assert statistics.failed == sum(sum(one.failed.values()) for one in operations)
    assert all(sum(one.failed.values()) <= one.handled for one in operations)
    never_began = len(asked) - statistics.handled
    assert 0 <= never_began <= len(asked - walker.ledger.seen)
    if walker.kernel.session.measure:
        assert all(len(one.latencies) == one.handled for one in operations)


async def _give_back(walker: Walker) -> None:
    """Close and forget everything, and see that the filesystem is rid of it."""
    ledger, kernel = walker.ledger, walker.kernel
    assert +ledger.lookups >= +kernel.lookups  # listings may hold more
    for handle in walker.handles:
        release = kernel.releasedir if handle.directory else kernel.release
        await release(handle.nodeid, handle.fh)
    await trio.testing.wait_all_tasks_blocked()
    assert ledger.handles == {}
    assert +ledger.lookups == +kernel.lookups
    await kernel.forget_all()
    await trio.testing.wait_all_tasks_blocked()
    assert not +ledger.lookups


def _check_books(walker: Walker, end: str) -> None:
    """See that nothing is left, and that everybody was answered once.

    Closing the device lets those go who waited for a handler when the mount ended.
    """
    ledger, kernel = walker.ledger, walker.kernel
    assert ledger.wrong == []
    assert (ledger.running, ledger.destroyed, ledger.handles) == (0, 1, {})
    assert kernel.pending == {}
    assert set(kernel.answers.values()) <= {1}
    assert +ledger.lookups >= +kernel.lookups
    waited = [one for one in kernel.session.in_flight() if not one.stack]
    assert kernel.session.in_flight() == waited
    if end in ("rest", "leave"):
        unanswered = kernel.asked.keys() - kernel.answers.keys() - kernel.gone
        assert not unanswered & ledger.seen
        assert len(unanswered) <= len(waited)
        assert end == "leave" or not waited
        assert [one for one in kernel.refusals if not _too_late(one)] == []
        assert +ledger.lookups == +kernel.lookups


def _too_late(refusal: Refusal) -> bool:
    """Whether this is the answer to an INTERRUPT that came after its request's."""
    _, error, unique = layouts.OUT_HEADER.unpack_from(refusal.message)
    return bool(unique & INTERRUPT_BIT) and bool(error == -errno.EAGAIN)
