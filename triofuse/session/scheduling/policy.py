"""Who serves and who waits for the device: Leader/Followers, without trio and device.

The law: whenever the event loop runs other tasks, one handler waits for the device or a
scheduled one will look at it first thing; and what is queued and may start has a
scheduled handler.  All changes of state are in one table and happen in one function.

One handler leads, that is, it waits for the device.  It serves what it finds itself,
without a task switch.  When it blocks in the midst of a request, another is promoted:
a parked one, or a new one.  When it is done it is a follower: it serves what is queued
or at the device, and parks.

A handler does not know beforehand whether a request will block.  So only requests that
have blocked count towards the limit, and a request that never blocks costs no counting.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping

import attrs

from triofuse.session.scheduling.shares import Shares

__all__ = [
    "TRANSITIONS",
    "Event",
    "Handler",
    "IllegalTransitionError",
    "Policy",
    "State",
]

#: Seconds for which handlers serve before other tasks run; and while a request is
#: blocked: 1 ms more often than not became 3 ms for it, with a thread.
_SLICE = 0.001
_SLICE_WHILE_BLOCKED = 0.0002

#: Handlers that are kept when there is nothing to do.
_MAX_PARKED = 4


class State(enum.IntEnum):
    """Where a handler is."""

    NEW = 0  #: It has no task.
    SCHEDULED = 1  #: Started or woken, and it has not run yet.
    RUNNING = 2  #: It holds the event loop.
    BLOCKED = 3  #: It waits in the midst of a request, or goes on with it.
    PAUSING = 4  #: It lets other tasks run for one turn of the event loop.
    WATCHING = 5  #: It leads: it waits for the device.
    PARKED = 6  #: It waits to be woken.
    ENDED = 7


class Event(enum.IntEnum):
    """What happens to a handler."""

    START = enum.auto()
    WAKE = enum.auto()
    RUN = enum.auto()
    BLOCK = enum.auto()
    FINISH = enum.auto()
    PAUSE = enum.auto()
    WATCH = enum.auto()
    PARK = enum.auto()
    END = enum.auto()


#: The members by themselves: through its class each costs 0.1 us on Python 3.11.
NEW, SCHEDULED, RUNNING, BLOCKED, PAUSING, WATCHING, PARKED, ENDED = State
START, WAKE, RUN, BLOCK, FINISH, PAUSE, WATCH, PARK, END = Event

#: State -> event -> state; what is not here is a bug.
TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    NEW: {START: SCHEDULED},
    SCHEDULED: {RUN: RUNNING, END: ENDED},
    RUNNING: {
        BLOCK: BLOCKED,
        PAUSE: PAUSING,
        WATCH: WATCHING,
        PARK: PARKED,
        END: ENDED,
    },
    BLOCKED: {FINISH: RUNNING},
    PAUSING: {RUN: RUNNING, END: ENDED},
    WATCHING: {RUN: RUNNING, END: ENDED},
    PARKED: {WAKE: SCHEDULED, END: ENDED},
    ENDED: {},
}


class IllegalTransitionError(Exception):
    """A handler did what it cannot do in its state."""


@attrs.define(eq=False)
class Handler:
    """A task that serves requests, one after the other.

    Attributes:
      state: Where it is.
      user: Who is charged for it: the user whose request it was woken for, or whose
        request has blocked; None for nobody.
    """

    state: State = NEW
    user: int | None = None


@attrs.define(eq=False)
class Policy:
    """Decides; tasks, descriptors and messages are somebody else's.

    Attributes:
      shares: The handlers of blocked requests, by user.
      slice_end: When handlers let other tasks run, in the time of ``now``.
      now: The last time that is known; to ask the clock is too slow for each request.
      over: Whether the connection is at its end: nobody is started any more.
    """

    shares: Shares
    #: Users who have requests queued.  The values are not looked at.
    _queued: Mapping[int, object]
    slice_end: float = attrs.field(default=0.0, init=False)
    now: float = attrs.field(default=0.0, init=False)
    over: bool = attrs.field(default=False, init=False)
    #: How many handlers are in each state.
    _count: list[int] = attrs.field(factory=lambda: [0] * len(State), init=False)
    _parked: deque[Handler] = attrs.field(factory=deque, init=False)

    # What happens: one function for each.

    def wake(self) -> Handler | None:
        """Schedule a handler if one is needed: a parked one, else a new one."""
        count = self._count
        if self.over or count[SCHEDULED] or count[RUNNING] or count[PAUSING]:
            return None
        user = self.next_user() if self._queued else None
        if user is None and count[WATCHING]:
            return None
        if self._parked:
            handler = self._parked.popleft()
            self._change(handler, WAKE)
        else:
            handler = Handler()
            self._change(handler, START)
        self._charge(handler, user)
        return handler

    def run(self, handler: Handler, now: float) -> None:
        """A handler goes on; all handlers together have one time slice.

        It begins anew when it is over, or when nothing but this handler goes on.
        """
        self._change(handler, RUN)
        if handler.user is not None:  # it has come with its request
            self._charge(handler, None)
        self.now = now
        blocked = self._count[BLOCKED]
        if not self._count[PAUSING] and (now >= self.slice_end or not blocked):
            self.slice_end = now + (_SLICE_WHILE_BLOCKED if blocked else _SLICE)

    def block(self, handler: Handler, user: int | None) -> bool:
        """A handler waits in the midst of a request.

        Args:
          handler: Which.
          user: Who is charged; None where it waits by its nature, for a lock: else
            enough waiters would keep out the unlock that they wait for.

        Returns:
          Whether another handler may have to be woken.
        """
        self._change(handler, BLOCK)
        if user is not None:
            handler.user = user
            self.shares.take(user)
        return not self._count[WATCHING] or bool(self._queued)

    def finish(self, handler: Handler) -> None:
        """A request that has blocked is done."""
        self._change(handler, FINISH)
        if handler.user is not None:
            self.shares.give_back(handler.user)
            handler.user = None

    def rest(self, handler: Handler) -> State:
        """A handler has nothing to serve, or the slice is over; return where it goes.

        While one pauses, no other does, nor serves: it goes on for all, so that each of
        many handlers does not have a slice for itself.
        """
        if self.over:
            event = END
        elif self.now >= self.slice_end and not self._count[PAUSING]:
            event = PAUSE
        elif not self._count[WATCHING]:
            event = WATCH
        elif len(self._parked) < min(_MAX_PARKED, self.shares.limit - 1):
            event = PARK
            self._parked.append(handler)
        else:
            event = END
        self._change(handler, event)
        return handler.state

    def looks_first(self) -> bool:
        """Whether a handler that was promoted looks at the device before it watches.

        With one request blocked there may be no other client, and the device tells.
        """
        return self._count[BLOCKED] > 1

    def end(self, handler: Handler) -> None:
        """A handler's task ends, of itself or cancelled."""
        if handler.state is PARKED:
            self._parked.remove(handler)
        if handler.state is not ENDED:
            self._change(handler, END)
            self._charge(handler, None)

    # What follows from it.

    @property
    def tasks(self) -> int:
        """How many handlers have a task."""
        return sum(self._count[SCHEDULED:ENDED])

    def next_user(self) -> int | None:
        """Return the user whose queued request is next; None if none may start.

        It is the user with the fewest blocked requests, and among those the one that
        has waited longest.
        """
        if not self._queued:
            return None
        held = self.shares.held
        user = min(self._queued, key=lambda user: held.get(user, 0))
        return user if self.shares.admits(user) else None

    def _change(self, handler: Handler, event: Event) -> None:
        try:
            state = TRANSITIONS[handler.state][event]
        except KeyError:
            message = f"{event.name} of a handler that is {handler.state.name}"
            raise IllegalTransitionError(message) from None
        self._count[handler.state] -= 1
        self._count[state] += 1
        handler.state = state

    def _charge(self, handler: Handler, user: int | None) -> None:
        if handler.user is not None:
            self.shares.give_back(handler.user)
        if user is not None:
            self.shares.take(user)
        handler.user = user
