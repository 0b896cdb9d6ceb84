"""Rules: when something happens in place of an operation, or before it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from random import Random
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from triofuse.faults.names import operations_named
from triofuse.filesystem.requests import Request

__all__ = ["Action", "Call", "Proceed", "Rule", "Where"]

#: Does the operation as if there were no rule.
Proceed = Callable[[Any], Awaitable[Any]]


@attrs.frozen
class Call:
    """An operation that a rule is applied to.

    Attributes:
      operation: Its name.
      path: What it is about, relative to the root.
      request: The request.
    """

    operation: str
    path: str
    request: Request


#: What a rule does: gets the rule, the call, and what does the operation.
Action = Callable[["Rule", Call, Proceed], Awaitable[Any]]


@attrs.frozen
class Where:
    """Which calls a rule is for.

    Attributes:
      operations: Names of operations.
      path: A pattern of fnmatch(3) for the path; without a slash, for its last name.
      caller: A process, or a pattern for the name of its program (its ``comm``).
      when: Any other condition.
    """

    operations: frozenset[str] = attrs.field(converter=operations_named)
    path: str | None = None
    caller: int | str | None = None
    when: Callable[[Any], bool] | None = None

    def matches(self, call: Call) -> bool:
        """Whether the rule is for a call."""
        return (
            (self.path is None or _fits(call, self.path))
            and (self.caller is None or _is_caller(call.request.pid, self.caller))
            and (self.when is None or self.when(call.request))
        )


@attrs.define(eq=False, repr=False)
class Rule:
    """Something that a disk does; what a script returns.

    As a context manager it is in force for the length of the block.

    Attributes:
      what: What it does, for people.
      where: Which calls it is for.
      after: How many of these pass before the first that it is applied to.
      times: How many it is applied to then; None for all.
      probability: How likely it is applied, 0..1; drawn with a seed.
      seen: How many calls it was for, so far.
      done: How many it was applied to.
    """

    what: str
    where: Where
    action: Action
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    random: Random = attrs.Factory(lambda: Random(0))
    seen: int = attrs.field(default=0, init=False)
    done: int = attrs.field(default=0, init=False)
    forget: Callable[[Rule], None] = attrs.field(default=lambda _: None)
    _released: bool = attrs.field(default=False, init=False)
    _blocked: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = attrs.field(
        factory=list, init=False
    )
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def applies(self, call: Call) -> bool:
        """Whether it is applied to a call, which counts."""
        if call.operation not in self.where.operations or not self.where.matches(call):
            return False
        self.seen += 1
        if self.seen <= self.after or (
            self.times is not None and self.done >= self.times
        ):
            return False
        if self.probability < 1 and self.random.random() >= self.probability:
            return False
        self.done += 1
        return True

    def remove(self) -> None:
        """Take it back, from any thread; what it blocks goes on."""
        self.forget(self)
        self.release()

    def release(self) -> None:
        """Let go on what it blocks, now and later; from any thread."""
        with self._lock:
            self._released = True
            blocked, self._blocked = self._blocked, []
        for token, event in blocked:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(event.set)

    @property
    def blocked(self) -> int:
        """How many calls it blocks at this moment."""
        return len(self._blocked)

    async def wait_released(self) -> None:
        """Block until `release`."""
        event = trio.Event()
        waiting = (trio.lowlevel.current_trio_token(), event)
        with self._lock:
            if self._released:
                return
            self._blocked.append(waiting)
        try:
            await event.wait()
        finally:
            with self._lock:
                if waiting in self._blocked:
                    self._blocked.remove(waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        names = ", ".join(sorted(self.where.operations)[:3])
        place = f" of {self.where.path}" if self.where.path else ""
        return f"<{self.what} at {names}{place}; done {self.done} of {self.seen}>"


def _fits(call: Call, pattern: str) -> bool:
    """Whether the path of a call, or for renames and links the new one, fits."""
    paths = call.path.split(" -> ")
    if "/" not in pattern:
        paths = [path.rpartition("/")[2] for path in paths]
    return any(fnmatchcase(path, pattern.lstrip("/")) for path in paths)


def _is_caller(pid: int, wanted: int | str) -> bool:
    if isinstance(wanted, int):
        return pid == wanted or _read(pid, "status", "Tgid:") == str(wanted)
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/comm") as comm:
            return fnmatchcase(comm.read().strip(), wanted)
    return False


def _read(pid: int, file: str, field: str) -> str:
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/{file}") as lines:
            for line in lines:
                if line.startswith(field):
                    return line.split()[1]
    return ""
