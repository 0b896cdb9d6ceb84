"""Plain functions in threads: `Threads`.

The law: a caller that is cancelled continues at once.  Its thread runs to the end, and
keeps its place until then.

To wake the event loop costs 80 us, to wait for a thread 20.  So a caller may wait for a
short moment in the loop's own thread, where that has been worth it before.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import attrs
import trio

__all__ = ["Outcome", "Patience", "Settle", "Threads"]

#: Seconds that the loop waits for a function that may return at once: if nothing else
#: runs, and otherwise.
_ALONE = 0.001
_MOMENT = 0.0001

#: So many functions may return within that moment before the loop goes round.
_QUICK_MOST = 32

#: After a moment in vain, so many callers at most do not try again.
_BACK_OFF_MOST = 256

#: Threads of `blocking` without an argument; trio's own default for to_thread.
_DEFAULT_LIMIT = 40


@attrs.define
class Outcome:
    """The result of a function, or its exception.

    Attributes:
      value: What it returned.
      error: What it raised; None if it returned.
      awaited: Whether its caller still waits.
    """

    value: Any = None
    error: BaseException | None = None
    awaited: bool = True

    def unwrap(self) -> Any:
        """Return the result, or raise the exception."""
        if self.error is not None:
            raise self.error
        return self.value


#: Takes the outcome of a function and returns its result, or raises.
Settle = Callable[[Outcome], Any]


@attrs.define(eq=False)
class Patience:
    """Whether it is worth it to wait for a moment for a function to return.

    After a moment in vain the next calls do not wait, twice as many each time.
    """

    _back_off: int = 0
    _skipped: int = 0

    def is_worth_it(self) -> bool:
        """Whether the next call is to wait."""
        if self._skipped >= self._back_off:
            return True
        self._skipped += 1
        return False

    def note(self, *, in_time: bool) -> None:
        """Note whether a call was worth it."""
        self._back_off = 0 if in_time else min(2 * self._back_off + 1, _BACK_OFF_MOST)
        self._skipped = 0


class _NoPatience(Patience):
    """Waits never."""

    def is_worth_it(self) -> bool:
        return False


_NO_PATIENCE = _NoPatience()


def _at_least_one(_: object, __: object, limit: int) -> None:
    if limit < 1:
        message = f"limit is the most threads at a time, 1 or more, not {limit}"
        raise ValueError(message)


@attrs.define(eq=False)
class Threads:
    """Runs plain functions in threads, at most ``limit`` at a time.

    Functions that find no free place wait in order.

    Attributes:
      limit: The most functions that run at a time.
      running: The number of functions that run.
    """

    limit: int = attrs.field(default=_DEFAULT_LIMIT, validator=_at_least_one)
    running: int = attrs.field(default=0, init=False)
    #: Functions that have returned at once, since the loop last went round.
    _quick: int = attrs.field(default=0, init=False, repr=False)
    _waiting: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )
    _idle: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )

    async def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        settle: Settle | None = None,
        begin_anyway: bool = False,
        patience: Patience = _NO_PATIENCE,
    ) -> Any:
        """Call a function in a thread and return its result.

        A cancelled caller continues at once, with `trio.Cancelled`.  The function runs
        to the end; its result is dropped.

        If the function returns within 1 ms, this may be no checkpoint.

        Args:
          function: The function.  It sees the caller's context variables.
          arguments: Its arguments.  A memoryview is copied: the memory behind it may
            be reused while the thread still runs.
          settle: Is called once, in trio's thread, when the function has ended, also
            if the caller was cancelled meanwhile or before the function began.  What
            it returns or raises is the result.
          begin_anyway: Begin also if the caller is cancelled already, except if all
            places are taken.
          patience: Whether to wait for a moment in the event loop's thread: one for
            each function.  Default: do not wait.
        """
        if self.running >= self.limit or not begin_anyway:
            try:
                await self._take_place()
            except BaseException as exc:
                if settle is not None:
                    settle(Outcome(None, exc))
                raise
        else:
            self.running += 1
        call = _Call(self, settle)
        if not patience.is_worth_it():
            call.expect_late()
            call.start(function, arguments)
        else:
            call.start(function, arguments)
            in_time = call.returns_within(_ALONE if self.running == 1 else _MOMENT)
            patience.note(in_time=in_time)
            if in_time:
                self._quick += 1
                if self._quick >= _QUICK_MOST:
                    self._quick = 0
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return call.result()
        return await trio.lowlevel.wait_task_rescheduled(call.let_go)

    async def _take_place(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.running < self.limit:
            self.running += 1
        else:
            await self._waiting.park()  # until a place is handed over

    @property
    def is_full(self) -> bool:
        """Whether a further function would have to wait."""
        return self.running >= self.limit

    async def wait_idle(self) -> None:
        """Wait until no function runs."""
        await trio.lowlevel.checkpoint()
        while self.running:
            await self._idle.park()

    def give_back(self) -> None:
        """Hand a place to the next caller."""
        if self._waiting:
            self._waiting.unpark()
            return
        self.running -= 1
        if not self.running and self._idle:
            self._idle.unpark_all()


class _Call:
    """A function in a thread, and the task that waits for it."""

    __slots__ = ("claims", "done", "outcome", "settle", "task", "threads", "token")

    def __init__(self, threads: Threads, settle: Settle | None) -> None:
        self.threads = threads
        self.settle = settle
        #: One claim, which the thread or the caller takes, whoever is first.
        self.claims = [None]
        self.done = threading.Lock()
        self.done.acquire()
        self.outcome: Any = None
        self.task: trio.lowlevel.Task | None = None
        self.token: trio.lowlevel.TrioToken | None = None

    def start(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Start the thread."""
        for argument in arguments:
            if type(argument) is memoryview:
                arguments = tuple(map(_kept, arguments))
                break
        work = functools.partial(copy_context().run, function, *arguments)
        trio.lowlevel.start_thread_soon(work, self.deliver, "triofuse store")

    def expect_late(self) -> bool:
        """Have the thread wake the loop; False if it has returned already."""
        self.task = trio.lowlevel.current_task()
        self.token = trio.lowlevel.current_trio_token()
        return self._claim()

    def returns_within(self, seconds: float) -> bool:
        """Wait for a moment; return whether the function has returned."""
        if self.done.acquire(timeout=seconds):
            return True
        if self.expect_late():
            return False
        self.done.acquire()  # it returns this very moment
        return True

    def _claim(self) -> bool:
        """Decide who comes first, the thread or the end of the moment."""
        try:
            self.claims.pop()
        except IndexError:
            return False
        return True

    def result(self) -> Any:
        """Return the result or raise the exception, of a function that has returned."""
        self.threads.give_back()
        if self.settle is None:
            return self.outcome.unwrap()
        return self.settle(_with_caller(self.outcome, awaited=True))

    def let_go(self, _: Callable[[], object]) -> trio.lowlevel.Abort:
        """Do without the caller."""
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def deliver(self, outcome: Any) -> None:
        """Pass the result on, from the thread to trio."""
        self.outcome = outcome
        if self._claim():
            self.done.release()
            return
        assert self.token is not None
        try:
            self.token.run_sync_soon(self.end)
        except trio.RunFinishedError:
            self.threads.running -= 1

    def end(self) -> None:
        """Settle, and wake the task."""
        self.threads.give_back()
        outcome: Any = self.outcome
        if self.settle is not None:
            outcome = _with_caller(outcome, awaited=self.task is not None)
            try:
                outcome = Outcome(self.settle(outcome))
            except BaseException as exc:  # noqa: BLE001  (raised in the task)
                outcome = Outcome(None, exc)
        wake: Callable[..., None] = trio.lowlevel.reschedule
        if self.task is not None:
            wake(self.task, outcome)


def _with_caller(outcome: Any, *, awaited: bool) -> Outcome:
    """Return trio's outcome as one that knows of its caller."""
    try:
        return Outcome(outcome.unwrap(), None, awaited)
    except BaseException as exc:  # noqa: BLE001  (raised in the task)
        return Outcome(None, exc, awaited)


def _kept(argument: Any) -> Any:
    return bytes(argument) if type(argument) is memoryview else argument
