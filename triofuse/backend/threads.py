"""Plain functions in threads: `Threads` and `blocking`.

The law: a caller that is cancelled continues at once.  Its thread runs to the end, and
keeps its place until then.

To wake the event loop costs 80 us, to wait for a thread 20.  So the caller waits for a
short moment in the loop's own thread, where that has been worth it before.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import attrs
import trio

__all__ = ["Outcome", "Settle", "Threads", "blocking"]

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
C = TypeVar("C", bound=type)

#: Seconds that the loop waits for a function that may return at once.
_MOMENT = 0.0001

#: So many functions may return within that moment before the loop goes round.
_QUICK_MOST = 32

#: After a moment in vain, so many callers at most do not try again.
_BACK_OFF_MOST = 256

#: Threads of `blocking` without an argument; trio's own default for to_thread.
_DEFAULT_LIMIT = 40


@attrs.frozen
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
class Threads:
    """Runs plain functions in threads, at most ``limit`` at a time.

    Functions that find no free place wait in order.

    Attributes:
      limit: The most functions that run at a time.
      running: The number of functions that run.
    """

    limit: int = attrs.field(default=_DEFAULT_LIMIT)
    running: int = attrs.field(default=0, init=False)
    #: Calls that are not to wait for a moment, and how many did not.
    _back_off: int = attrs.field(default=0, init=False, repr=False)
    _skipped: int = attrs.field(default=0, init=False, repr=False)
    #: Functions that have returned at once, since the loop last went round.
    _quick: int = attrs.field(default=0, init=False, repr=False)
    _waiting: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )
    _idle: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )

    @limit.validator
    def _check_limit(self, _: object, limit: int) -> None:
        if limit < 1:
            message = f"limit is the most threads at a time, 1 or more, not {limit}"
            raise ValueError(message)

    async def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        settle: Settle | None = None,
    ) -> Any:
        """Call a function in a thread and return its result.

        A cancelled caller continues at once, with `trio.Cancelled`.  The function runs
        to the end; its result is dropped.

        If the function returns within 0.1 ms, this is mostly no checkpoint.

        Args:
          function: The function.  It sees the caller's context variables.
          arguments: Its arguments.  A memoryview is copied: the memory behind it may
            be reused while the thread still runs.
          settle: Is called once, in trio's thread, when the function has ended, also
            if the caller was cancelled meanwhile or before the function began.  What
            it returns or raises is the result.
        """
        try:
            await self._take_place()
        except BaseException as exc:
            if settle is not None:
                settle(Outcome(error=exc))
            raise
        call = _Call(self, settle, trio.lowlevel.current_trio_token(), copy_context())
        if self._skipped < self._back_off:
            self._skipped += 1
            call.start(function, arguments, quick=False)
        else:
            call.start(function, arguments, quick=True)
            if call.returns_within(_MOMENT):
                self._back_off = self._skipped = 0
                await self._yield_at_times()
                return call.end_at_once()
            self._back_off = min(2 * self._back_off + 1, _BACK_OFF_MOST)
            self._skipped = 0
        return await trio.lowlevel.wait_task_rescheduled(call.let_go)

    async def _yield_at_times(self) -> None:
        """Have other tasks run if many functions have returned at once."""
        self._quick += 1
        if self._quick >= _QUICK_MOST:
            self._quick = 0
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _take_place(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.running < self.limit:
            self.running += 1
        else:
            await self._waiting.park()  # until a place is handed over

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
        if not self.running:
            self._idle.unpark_all()


@attrs.define(eq=False)
class _Call:
    """A function in a thread, and the task that waits for it."""

    threads: Threads
    settle: Settle | None
    token: trio.lowlevel.TrioToken
    context: Context
    task: trio.lowlevel.Task | None = attrs.field(
        factory=trio.lowlevel.current_task, init=False
    )
    done: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    #: One claim, which the thread or the caller takes, whoever is first.
    claims: list[None] = attrs.field(factory=list, init=False)
    outcome: Any = attrs.field(default=None, init=False)

    def start(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        *,
        quick: bool,
    ) -> None:
        """Start the thread; ``quick`` says that `returns_within` follows."""
        for argument in arguments:
            if type(argument) is memoryview:
                arguments = tuple(map(_kept, arguments))
                break
        if quick:
            self.done.acquire()
            self.claims.append(None)
        work = functools.partial(self.context.run, function, *arguments)
        trio.lowlevel.start_thread_soon(work, self.deliver, "triofuse store")

    def returns_within(self, seconds: float) -> bool:
        """Wait for a moment; return whether the function has returned."""
        if self.done.acquire(timeout=seconds):
            return True
        if self._claim():
            return False  # from now on the thread wakes the loop
        self.done.acquire()  # it returns this very moment
        return True

    def _claim(self) -> bool:
        """Decide who comes first, the thread or the end of the moment."""
        try:
            self.claims.pop()
        except IndexError:
            return False
        return True

    def end_at_once(self) -> Any:
        """Settle, and return the result or raise the exception."""
        self.threads.give_back()
        if self.settle is not None:
            return self._settled(self.outcome).unwrap()
        return self.outcome.unwrap()

    def let_go(self, _: Callable[[], object]) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def deliver(self, outcome: Any) -> None:
        """Pass the result on, from the thread to trio."""
        self.outcome = outcome
        if self._claim():
            self.done.release()
            return
        try:
            self.token.run_sync_soon(self.end, outcome)
        except trio.RunFinishedError:
            self.threads.running -= 1

    def end(self, outcome: Any) -> None:
        """Settle, and wake the task."""
        self.threads.give_back()
        if self.settle is not None:
            outcome = self._settled(outcome)
        if self.task is not None:
            trio.lowlevel.reschedule(self.task, outcome)

    def _settled(self, outcome: Any) -> Any:
        awaited = self.task is not None
        try:
            value = outcome.unwrap()
        except BaseException as exc:  # noqa: BLE001  (raised in the task)
            settled = Outcome(None, exc, awaited)
        else:
            settled = Outcome(value, None, awaited)
        assert self.settle is not None
        try:
            return Outcome(self.settle(settled))
        except BaseException as exc:  # noqa: BLE001  (raised in the task)
            return Outcome(None, exc)


def _kept(argument: Any) -> Any:
    return bytes(argument) if type(argument) is memoryview else argument


_default_threads = Threads()


@overload
def blocking(method: C, /) -> C: ...
@overload
def blocking(
    method: Callable[Concatenate[S, P], T], /
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]: ...
@overload
def blocking(*, threads: Threads) -> _Blocking: ...
def blocking(method: Any = None, /, *, threads: Threads = _default_threads) -> Any:
    """Have a plain method run in a thread, so that it may block.

    The result is an async method.  Its caller can be cancelled and continues at once;
    the thread runs to the end::

        class Row(triofuse.File):
            @triofuse.blocking
            def read(self, size: int, offset: int) -> bytes:
                return self.database.read(self.key, size, offset)

    Before a class it stands for all of its plain methods that override async ones.

    Args:
      method: The method, or the class.
      threads: How many run at a time, for all methods with the same object:
        ``one = Threads(1)`` and ``@blocking(threads=one)``.  The default is 40 for
        the whole program.
    """
    if method is None:
        return _Blocking(threads)
    return _Blocking(threads)(method)


@attrs.frozen
class _Blocking:
    """The decorator `blocking` with its threads."""

    threads: Threads

    @overload
    def __call__(self, method: C, /) -> C: ...
    @overload
    def __call__(
        self, method: Callable[Concatenate[S, P], T], /
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]: ...
    def __call__(self, method: Any, /) -> Any:
        if isinstance(method, type):
            return self._class(method)
        _check_plain(method)
        run = self.threads.run

        @functools.wraps(method)
        async def in_thread(*arguments: Any, **keywords: Any) -> Any:
            function = functools.partial(method, **keywords) if keywords else method
            return await run(function, *arguments)

        return in_thread

    def _class(self, cls: type) -> type:
        for name, function in list(vars(cls).items()):
            inherited = [getattr(base, name, None) for base in cls.__mro__[1:]]
            if (
                inspect.isfunction(function)
                and not inspect.iscoroutinefunction(function)
                and any(map(inspect.iscoroutinefunction, inherited))
            ):
                setattr(cls, name, self(function))
        return cls


def _check_plain(method: object) -> None:
    """Raise TypeError for what cannot run in a thread."""
    name = getattr(method, "__name__", repr(method))
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        message = f"{name}() is async; @blocking is for plain methods: write 'def'"
        raise TypeError(message)
    if inspect.isgeneratorfunction(method):
        message = f"{name}() has a yield: it would run in no thread; return a list"
        raise TypeError(message)
    if not callable(method):
        message = f"@blocking is put before a method or a class, not {name}"
        raise TypeError(message)
