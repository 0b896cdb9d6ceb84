"""The table of requests that were read and are not answered, and their INTERRUPTs.

The law: a request that is interrupted while it waits for a handler that is busy never
starts; one that runs, or has a handler to start in, is cancelled: it fails only if it
has something to wait for.  One that is not here was answered or is still to come.
A RELEASE goes on whatever comes: nobody else would let go of its handle.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import attrs
import trio

from triofuse.filesystem.replies import Buffer
from triofuse.session.in_flight.received import HeadOnly, ReceivedRequest
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND, Opcode

__all__ = [
    "MUST_RUN",
    "UNINTERRUPTED",
    "ActiveRequest",
    "InFlightTable",
    "InterruptOutcome",
    "Notification",
    "requests_inherited",
]

#: What no caller waits for or interrupts, and must be done even when the mount ends.
UNINTERRUPTED = frozenset({Opcode.RELEASE, Opcode.RELEASEDIR})

#: Started even when interrupted before: whoever is killed sends an INTERRUPT right
#: behind its FLUSH, and without the FLUSH its locks and data would be lost.
MUST_RUN = UNINTERRUPTED | {Opcode.FLUSH}

#: The handler that a task is, or descends from.
_served_by: ContextVar[ActiveRequest | None] = ContextVar("_served_by", default=None)

#: The request that the handler was serving when it started a task, or one from which
#: that descends; 0 in the handler itself.
_started_in: ContextVar[int] = ContextVar("_started_in", default=0)


class Notification(NamedTuple):
    """A notification.

    Attributes:
      method: What was asked for.
      arguments: With what.
      message: What to send.
    """

    method: str
    arguments: tuple[Any, ...]
    message: Sequence[Buffer]


class InterruptOutcome(enum.Enum):
    """What becomes of a request that was interrupted."""

    CANCELLED = enum.auto()
    GOES_ON = enum.auto()
    NEVER_STARTED = enum.auto()
    UNKNOWN = enum.auto()


@attrs.define(eq=False, repr=False)
class ActiveRequest:
    """What a handler is at; it keeps one of these over all its requests.

    Attributes:
      task: The handler.
      scope: What an INTERRUPT or a deadline cancels.
      arrival: The request: opcode, unique, message, and when it came.
      cancelled: Whether the scope is spent; to ask the scope itself costs a look at
        the clock.
      expired: Whether its time was up.
      answered: Whether the caller was answered without waiting for it any longer.
    """

    task: trio.lowlevel.Task
    scope: trio.CancelScope
    received: ReceivedRequest = (0, 0, b"", 0.0)
    cancelled: bool = False
    expired: bool = False
    answered: bool = False

    def bind_to_task(self) -> None:
        """Have the calling task, which is the handler, known as such."""
        _served_by.set(self)
        _started_in.set(0)  # it may have been started by another handler

    def for_next_request(self) -> ActiveRequest:
        """Return another for the next request of the same handler.

        A thread that a method waited for, and has left behind, keeps the former.
        """
        active = ActiveRequest(self.task, self.scope, self.received)
        active.bind_to_task()
        return active

    def cancel(self) -> None:
        """Cancel the request that is being served."""
        self.cancelled = True
        self.scope.cancel()


@attrs.define(eq=False, repr=False)
class InFlightTable:
    """Knows where each request is.

    Attributes:
      limit: The most that run at a time.
      running: The handler that serves it, by ``unique``.
      waiting: Itself while it is queued, by ``unique``.
      interrupted: Those that wait and will start in a cancelled scope.
      interruptions: How many were cancelled or never started.
      deferred: What to tell the kernel when a request is answered, by ``unique``.
      resending: Whether the kernel was asked to send requests again.
      renumbered: Those that it did send again: the number to answer to.
    """

    limit: float = math.inf
    running: dict[int, ActiveRequest] = attrs.field(factory=dict, init=False)
    waiting: MutableMapping[int, ReceivedRequest] = attrs.field(
        factory=dict, init=False
    )
    interrupted: set[int] = attrs.field(factory=set, init=False)
    interruptions: int = attrs.field(default=0, init=False)
    deferred: dict[int, list[Notification]] = attrs.field(factory=dict, init=False)
    resending: bool = attrs.field(default=False, init=False)
    renumbered: dict[int, int] = attrs.field(factory=dict, init=False)

    def active(self) -> ActiveRequest | None:
        """Return who serves the request of the calling task, until it is answered.

        A task that a handler has started serves the request in which that was.
        """
        active = _served_by.get()
        if active is None or active.answered:
            return None
        unique = _started_in.get() or active.received[1]
        return active if self.running.get(unique) is active else None

    def is_copy(self, unique: int) -> bool:
        """Whether a request that arrives is here already; note its new number."""
        known = self._known(unique)
        if known is not None and known != unique:
            self.renumbered[known] = unique
        return known is not None

    def _known(self, unique: int) -> int | None:
        """Return the number under which a request is here."""
        for number in (unique, unique & ~FUSE_UNIQUE_RESEND):
            if number in self.running or number in self.waiting:
                return number
        return None

    def find(self, unique: int) -> ReceivedRequest | None:
        """Return a request that is not answered yet."""
        if self.resending:
            unique = self._known(unique) or unique
        active = self.running.get(unique)
        return self.waiting.get(unique) if active is None else active.received

    def interrupt(self, unique: int) -> InterruptOutcome:
        """Cancel a request; one that never started is still to be answered."""
        if self.resending:
            unique = self._known(unique) or unique
        active, received = self.running.get(unique), self.waiting.get(unique)
        known = active.received if active is not None else received
        if known is None:
            return InterruptOutcome.UNKNOWN
        if known[0] in UNINTERRUPTED:  # of who is killed, on a block device's mount
            return InterruptOutcome.GOES_ON
        self.interruptions += 1
        if active is not None:
            active.cancel()
            return InterruptOutcome.CANCELLED
        assert received is not None
        # What waits for nothing does not fail on a local filesystem when a timer's
        # signal comes, and few programs can bear that: mkdir(2) knows no EINTR.
        is_next = len(self.waiting) + len(self.running) <= self.limit
        is_here = not isinstance(received[2], HeadOnly)
        if (is_next and is_here) or received[0] in MUST_RUN:
            self.interrupted.add(unique)
            return InterruptOutcome.CANCELLED
        del self.waiting[unique]
        return InterruptOutcome.NEVER_STARTED

    def start_interrupted(self, unique: int) -> None:
        """Cancel a request that starts now, if it was interrupted while it waited."""
        if unique in self.interrupted:
            self.interrupted.remove(unique)
            self.running[unique].cancel()


class _RequestInheritance(trio.abc.Instrument):
    """Notes in each task that a handler starts which request that is for.

    The handler itself need not note anything for each request: a context variable
    would take 4 % of it.
    """

    @trio.lowlevel.enable_ki_protection  # or Ctrl-C would end here, and the notes
    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """FindStanding who starts a task: this is called by whoever does."""
        active = _served_by.get()
        if active is not None and not _started_in.get():
            task.context.run(_started_in.set, active.received[1])


#: One for all sessions of a loop, for each task of the program pays for it.
_inheritance = _RequestInheritance()
_sessions: trio.lowlevel.RunVar[int] = trio.lowlevel.RunVar("_sessions", 0)


@contextmanager
def requests_inherited() -> Iterator[None]:
    """Have tasks know which request they are for, while a session serves."""
    trio.lowlevel.add_instrument(_inheritance)
    _sessions.set(_sessions.get() + 1)
    try:
        yield
    finally:
        _sessions.set(_sessions.get() - 1)
        if not _sessions.get():
            trio.lowlevel.remove_instrument(_inheritance)
