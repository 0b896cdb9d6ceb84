"""The table of in-flight requests: read, and not answered.  INTERRUPT finds them here.

The law: an INTERRUPT drops a request that is queued because all handlers are busy.
One that runs, or can start at once, is cancelled: it fails only if it blocks.  One that
is not in the table was answered or was not read yet.  A RELEASE is never cancelled: its
handle would leak.
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
from triofuse.session.in_flight.abandoned import Abandoned
from triofuse.session.in_flight.received import HeadOnly, ReceivedRequest
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND, Opcode

__all__ = [
    "MUST_RUN",
    "UNINTERRUPTED",
    "ActiveRequest",
    "InFlightTable",
    "InterruptOutcome",
    "Notification",
    "active_request",
    "requests_inherited",
]

#: No caller waits for these; they must run even when the mount ends.
UNINTERRUPTED = frozenset({Opcode.RELEASE, Opcode.RELEASEDIR})

#: These start even if interrupted: a killed process's FLUSH is followed by an INTERRUPT
#: at once, and without the FLUSH its locks would stay and its data would be lost.
MUST_RUN = UNINTERRUPTED | {Opcode.FLUSH}

#: The handler that the task is, or that it descends from.
_served_by: ContextVar[ActiveRequest | None] = ContextVar("_served_by", default=None)

#: ``unique`` of the request that the handler served when it started this task or the
#: task's ancestor; 0 in the handler itself.
_started_in: ContextVar[int] = ContextVar("_started_in", default=0)


class Notification(NamedTuple):
    """A notification that is ready to be sent.

    Attributes:
      method: The method of `triofuse.Notifier` that was called.
      arguments: Its arguments.
      message: The encoded message.
    """

    method: str
    arguments: tuple[Any, ...]
    message: Sequence[Buffer]


class InterruptOutcome(enum.Enum):
    """The result of an INTERRUPT."""

    CANCELLED = enum.auto()
    GOES_ON = enum.auto()
    NEVER_STARTED = enum.auto()
    ABANDONED = enum.auto()
    UNKNOWN = enum.auto()


@attrs.define(eq=False, repr=False)
class ActiveRequest:
    """The request that a handler serves.  The handler reuses one over many requests.

    Attributes:
      task: The handler's task.
      scope: The cancel scope that an INTERRUPT or a deadline cancels.
      received: The request: opcode, unique, message, and arrival time.
      cancelled: Whether the scope was cancelled; the scope's own property reads the
        clock.
      expired: Whether its deadline has passed.
      answered: Whether the caller was already answered (ETIMEDOUT) by `Deadlines`.
    """

    #: The requests of its session that are running, by ``unique``.
    _running: dict[int, ActiveRequest]
    task: trio.lowlevel.Task
    scope: trio.CancelScope
    received: ReceivedRequest = (0, 0, b"", 0.0)
    cancelled: bool = False
    expired: bool = False
    answered: bool = False

    def bind_to_task(self) -> None:
        """Make this the active request of the calling task, the handler."""
        _served_by.set(self)
        _started_in.set(0)  # inherited, if another handler started this one

    def for_next_request(self) -> ActiveRequest:
        """Return a new one for the next request of the same handler.

        Threads and tasks of the former request keep the former.
        """
        active = ActiveRequest(self._running, self.task, self.scope, self.received)
        active.bind_to_task()
        return active

    def is_running(self) -> bool:
        """Return whether the request that the calling task belongs to is not answered."""
        unique = _started_in.get() or self.received[1]
        return not self.answered and self._running.get(unique) is self

    def is_of(self, table: InFlightTable) -> bool:
        """Return whether it is a request of that table's session."""
        return self._running is table.running

    def cancel(self) -> None:
        """Cancel the running request."""
        self.cancelled = True
        self.scope.cancel()


@attrs.define(eq=False, repr=False)
class InFlightTable:
    """The in-flight requests by ``unique``: running and queued.

    Attributes:
      limit: The most requests that are blocked at one time.
      shielded: Whether no request is ever cancelled: its caller is answered, and it
        goes on, abandoned.
      abandoned: Those requests.
      running: The active requests.
      waiting: The queued requests.
      interrupted: Queued requests that will start in a cancelled scope.
      interruptions: How many were cancelled or never started.
      deferred: Notifications to send once the request is answered.
      resending: Whether the kernel was asked to resend requests (RESEND).
      renumbered: Requests that were resent: the new ``unique`` to answer to.
    """

    limit: float = math.inf
    shielded: bool = False
    abandoned: Abandoned = attrs.field(factory=Abandoned, init=False)
    running: dict[int, ActiveRequest] = attrs.field(factory=dict, init=False)
    waiting: MutableMapping[int, ReceivedRequest] = attrs.field(
        factory=dict, init=False
    )
    interrupted: set[int] = attrs.field(factory=set, init=False)
    interruptions: int = attrs.field(default=0, init=False)
    deferred: dict[int, list[Notification]] = attrs.field(factory=dict, init=False)
    resending: bool = attrs.field(default=False, init=False)
    renumbered: dict[int, int] = attrs.field(factory=dict, init=False)

    def is_copy(self, unique: int) -> bool:
        """Whether a received request is in flight already; note its new ``unique``."""
        known = self._known(unique)
        if known is not None and known != unique:
            self.renumbered[known] = unique
        return known is not None

    def _known(self, unique: int) -> int | None:
        """Return the ``unique`` under which a request is in flight."""
        for number in (unique, unique & ~FUSE_UNIQUE_RESEND):
            if number in self.running or number in self.waiting:
                return number
        return None

    def find(self, unique: int) -> ReceivedRequest | None:
        """Return a request in flight; None if there is none."""
        if self.resending:
            unique = self._known(unique) or unique
        active = self.running.get(unique)
        return self.waiting.get(unique) if active is None else active.received

    def interrupt(self, unique: int) -> InterruptOutcome:
        """Cancel, drop or abandon a request; answer it in the last two cases."""
        if self.resending:
            unique = self._known(unique) or unique
        active, received = self.running.get(unique), self.waiting.get(unique)
        known = active.received if active is not None else received
        if known is None:
            return InterruptOutcome.UNKNOWN
        if known[0] in UNINTERRUPTED:  # the caller is killed, on a fuseblk mount
            return InterruptOutcome.GOES_ON
        if active is not None and self.shielded:
            return self.abandon(active)
        self.interruptions += 1
        if active is not None:
            active.cancel()
            return InterruptOutcome.CANCELLED
        assert received is not None
        # On a local filesystem a call that does not block does not fail at a timer's
        # signal, and few programs expect it to: mkdir(2) has no EINTR.
        is_next = len(self.waiting) + len(self.running) <= self.limit
        is_here = not isinstance(received[2], HeadOnly)
        if self.shielded and received[0] in MUST_RUN:
            return InterruptOutcome.GOES_ON
        if self.shielded:
            del self.waiting[unique]
            return InterruptOutcome.NEVER_STARTED
        if (is_next and is_here) or received[0] in MUST_RUN:
            self.interrupted.add(unique)
            return InterruptOutcome.CANCELLED
        del self.waiting[unique]
        return InterruptOutcome.NEVER_STARTED

    def abandon(self, active: ActiveRequest) -> InterruptOutcome:
        """Have a request go on without its caller, who must be answered now."""
        if active.answered:
            return InterruptOutcome.GOES_ON
        self.interruptions += 1
        active.answered = True
        self.abandoned.add(active.received)
        return InterruptOutcome.ABANDONED

    def start_interrupted(self, unique: int) -> None:
        """Cancel a request that starts now, if it was interrupted while queued."""
        if unique in self.interrupted:
            self.interrupted.remove(unique)
            self.running[unique].cancel()


def active_request() -> ActiveRequest | None:
    """Return the active request of the calling task, whichever session serves it."""
    active = _served_by.get()
    return active if active is not None and active.is_running() else None


class _RequestInheritance(trio.abc.Instrument):
    """Marks each task that a handler starts with the request that it belongs to.

    So the handler need not set a context variable per request: that would cost 4 %.
    """

    @trio.lowlevel.enable_ki_protection  # else Ctrl-C here would remove the instrument
    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Mark a new task; trio calls this in the context of its parent."""
        active = _served_by.get()
        if active is not None and not _started_in.get():
            task.context.run(_started_in.set, active.received[1])


#: One for all sessions of an event loop: every task of the program pays for it.
_inheritance = _RequestInheritance()
_sessions: trio.lowlevel.RunVar[int] = trio.lowlevel.RunVar("_sessions", 0)


@contextmanager
def requests_inherited() -> Iterator[None]:
    """Mark tasks with their requests while a session serves."""
    trio.lowlevel.add_instrument(_inheritance)
    _sessions.set(_sessions.get() + 1)
    try:
        yield
    finally:
        _sessions.set(_sessions.get() - 1)
        if not _sessions.get():
            trio.lowlevel.remove_instrument(_inheritance)
