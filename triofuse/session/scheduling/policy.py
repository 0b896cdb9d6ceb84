"""The scheduling policy, Leader/Followers, without trio and without the device.

The law: whenever the event loop runs other tasks, a handler watches the device or is
scheduled to read it; and if a queued request may start, a handler is scheduled.  All
transitions are in one table and happen in one function.

One handler leads: it waits for the device.  It serves what it receives itself, without
a task switch.  When its request blocks, another handler is promoted: a parked one, or a
new one.  When the request is done, the handler is a follower: it serves what is queued
or at the device, and then parks.

A handler cannot know beforehand whether a request will block.  So only requests that
have blocked count towards the limit; a request that never blocks is never counted.
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

#: Seconds for which handlers serve before other tasks run.  Shorter while a request is
#: blocked: 1 ms mostly became 3 ms for that request, if it waited for a thread.
_SLICE = 0.001
_SLICE_WHILE_BLOCKED = 0.0002

#: The most handlers that are parked; further ones end.
_MAX_PARKED = 4


class State(enum.IntEnum):
    """The state of a handler."""

    NEW = 0  #: It has no task.
    SCHEDULED = 1  #: Started or woken; it has not run yet.
    RUNNING = 2  #: It holds the event loop.
    BLOCKED = 3  #: Its request has yielded at least once and is not done.
    PAUSING = 4  #: It yields to other tasks for one turn of the event loop.
    WATCHING = 5  #: It leads: it waits for the device.
    PARKED = 6  #: It waits to be woken.
    ENDED = 7


class Event(enum.IntEnum):
    """An event of a handler."""

    START = enum.auto()
    WAKE = enum.auto()
    RUN = enum.auto()
    BLOCK = enum.auto()
    FINISH = enum.auto()
    PAUSE = enum.auto()
    WATCH = enum.auto()
    PARK = enum.auto()
    END = enum.auto()


#: As globals: access through the class costs 0.1 us each on Python 3.11.
NEW, SCHEDULED, RUNNING, BLOCKED, PAUSING, WATCHING, PARKED, ENDED = State
START, WAKE, RUN, BLOCK, FINISH, PAUSE, WATCH, PARK, END = Event

#: State -> event -> next state; any other event is a bug.
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
    """An event came that the handler's state does not allow."""


@attrs.define(eq=False)
class Handler:
    """A task that serves requests, one after the other.

    Attributes:
      state: Its state.
      user: The user whose share it counts in: it was woken for a request of that
        user, or that user's request has blocked.  None for no share.
    """

    state: State = NEW
    user: int | None = None


@attrs.define(eq=False)
class Policy:
    """Decides for all handlers; it knows no tasks, descriptors or messages.

    Attributes:
      shares: Handlers with a blocked request, by user.
      slice_end: When handlers must yield to other tasks, in the time of ``now``.
      now: The last known time; reading the clock is too slow per request.
      over: Whether the connection has ended; no handler is started any more.
    """

    shares: Shares
    #: Users who have requests queued.  The values are not used.
    _queued: Mapping[int, object]
    slice_end: float = attrs.field(default=0.0, init=False)
    now: float = attrs.field(default=0.0, init=False)
    over: bool = attrs.field(default=False, init=False)
    #: How many handlers are in each state.
    _count: list[int] = attrs.field(factory=lambda: [0] * len(State), init=False)
    _parked: deque[Handler] = attrs.field(factory=deque, init=False)

    # The events: one method each.

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
        """A handler runs; all handlers together have one time slice.

        A new slice begins when the old one is over, or when only this handler runs.
        """
        self._change(handler, RUN)
        if handler.user is not None:  # it was woken with a request
            self._charge(handler, None)
        self.now = now
        blocked = self._count[BLOCKED]
        if not self._count[PAUSING] and (now >= self.slice_end or not blocked):
            self.slice_end = now + (_SLICE_WHILE_BLOCKED if blocked else _SLICE)

    def block(self, handler: Handler, user: int | None) -> bool:
        """A handler's request blocks.

        Args:
          handler: The handler.
          user: The user whose share it counts in.  None for a lock's waiter: else
            enough waiters would keep out the unlock that they wait for.

        Returns:
          Whether `wake` must be called.
        """
        self._change(handler, BLOCK)
        if user is not None:
            handler.user = user
            self.shares.take(user)
        return not self._count[WATCHING] or bool(self._queued)

    def finish(self, handler: Handler) -> None:
        """A handler's blocked request is done."""
        self._change(handler, FINISH)
        if handler.user is not None:
            self.shares.give_back(handler.user)
            handler.user = None

    def rest(self, handler: Handler) -> State:
        """A handler has nothing to serve, or the slice is over; return its next state.

        While one pauses, no other pauses or serves: the slice is common to all, and
        many handlers would otherwise each take a slice of their own.
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
        """Whether a promoted handler reads the device before it watches it.

        If only one request is blocked there may be no other client: then reading is
        likely in vain, and epoll reports the next request.
        """
        return self._count[BLOCKED] > 1

    def end(self, handler: Handler) -> None:
        """A handler's task ends, normally or cancelled."""
        if handler.state is PARKED:
            self._parked.remove(handler)
        if handler.state is not ENDED:
            self._change(handler, END)
            self._charge(handler, None)

    # Derived from the states.

    @property
    def tasks(self) -> int:
        """How many handlers have a task."""
        return sum(self._count[SCHEDULED:ENDED])

    def next_user(self) -> int | None:
        """Return the user whose queued request is next; None if no request may start.

        It is the user with the fewest blocked requests; among equals, the one that has
        waited longest.
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
