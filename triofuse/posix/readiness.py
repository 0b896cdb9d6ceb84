"""The readiness of a file, for poll(2), select(2) and epoll(7)."""

from __future__ import annotations

import select

import attrs
import trio

from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import PollFlags
from triofuse.filesystem.requests import Poll

__all__ = ["Readiness"]

#: Always reported, also when the caller did not ask for them.
_ALWAYS = select.POLLERR | select.POLLHUP

#: Events that are the same as another, for callers that ask for the other.
_SAME = {select.POLLIN: select.POLLRDNORM, select.POLLOUT: select.POLLWRNORM}


@attrs.define(eq=False)
class Readiness:
    """The events a file is ready for; callers that poll it are woken on a change.

    Keep one per file, or one per handle where each handle has its own state::

        self.ready = triofuse.Readiness(self)  # of a Filesystem

        async def poll(self, request):
            return self.ready.poll(request)

        await self.ready.set(select.POLLIN)

    Everything runs in the event loop, without a checkpoint between the answer to a
    POLL and the registration of its caller.  So no wake-up is lost.

    Attributes:
      filesystem: The filesystem that has the file; its notifier wakes callers.
      events: What the file is ready for now: ``select.POLLIN`` and so on.
    """

    filesystem: Filesystem = attrs.field(repr=False)
    events: int = attrs.field(default=0, init=False)
    #: Open files that are polled, by the kernel's poll handle (``kh``).
    _polled: set[int] = attrs.field(factory=set, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    def poll(self, request: Poll) -> int:
        """Return the answer to a POLL, and register its caller for a wake-up."""
        if request.flags & PollFlags.SCHEDULE_NOTIFY:
            self._polled.add(request.kh)
        return self.events & (request.events | _ALWAYS)

    async def set(self, events: int) -> None:
        """Add ``events`` to what the file is ready for, and wake callers that poll.

        Call it for each new event, also when the file is ready already: with EPOLLET
        each call is an edge.  The wake-up is shielded from cancellation.  After
        unmount it does nothing.
        """
        self.events |= events
        for event, other in _SAME.items():
            if events & event:
                self.events |= other
        self._changed.set()
        self._changed = trio.Event()
        with trio.CancelScope(shield=True):
            await self._wake()

    def clear(self, events: int) -> None:
        """Remove ``events`` from what the file is ready for."""
        for event, other in _SAME.items():
            if events & event:
                events |= other
        self.events &= ~events

    async def wait(self, events: int) -> None:
        """Wait until the file is ready for one of ``events``, or reports an error.

        For a READ or WRITE of a file that is not O_NONBLOCK.
        """
        await trio.lowlevel.checkpoint()
        while not self.events & (events | _ALWAYS):
            await self._changed.wait()

    async def _wake(self) -> None:
        try:
            while self._polled:
                await self.filesystem.notifier.poll(self._polled.pop())
        except trio.EndOfChannel:
            self._polled.clear()
        await trio.lowlevel.checkpoint()
