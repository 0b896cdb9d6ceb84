"""What poll(2), select(2) and epoll(7) wait for."""

from __future__ import annotations

import select

import attrs
import trio

from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import PollFlags
from triofuse.filesystem.requests import Poll

__all__ = ["Readiness"]

#: Reported to everybody, asked for or not.
_ALWAYS = select.POLLERR | select.POLLHUP

#: Two names for one thing, for who asks for the other.
_SAME = {select.POLLIN: select.POLLRDNORM, select.POLLOUT: select.POLLWRNORM}


@attrs.define(eq=False)
class Readiness:
    """What a file is ready for; whoever polls it is woken when that changes.

    Keep one for each file, or one for each handle where each has its own::

        self.ready = triofuse.Readiness(self)  # of a Filesystem

        async def poll(self, request):
            return self.ready.poll(request)

        await self.ready.set(select.POLLIN)

    All runs in the loop: between the answer to a POLL and the note of who is to be
    woken nothing comes, so no wake-up is lost.

    Attributes:
      filesystem: Whose file it is; its notifier wakes.
      events: ``select.POLLIN`` and so on: what the file is ready for now.
    """

    filesystem: Filesystem = attrs.field(repr=False)
    events: int = attrs.field(default=0, init=False)
    #: Open files that somebody polls, by the kernel's numbers for them.
    _polled: set[int] = attrs.field(factory=set, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    def poll(self, request: Poll) -> int:
        """Return the answer to a POLL, and note who wants to be woken."""
        if request.flags & PollFlags.SCHEDULE_NOTIFY:
            self._polled.add(request.kh)
        return self.events & (request.events | _ALWAYS)

    async def set(self, events: int) -> None:
        """Be ready for ``events`` as well, and wake who polls.

        Call it for everything that comes, also when the file is ready already: with
        EPOLLET each call is an edge.  It is not cancelled half-way; after the end
        of the mount nobody is there to be woken.
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
        """Be ready for ``events`` no longer."""
        for event, other in _SAME.items():
            if events & event:
                events |= other
        self.events &= ~events

    async def wait(self, events: int) -> None:
        """Wait until the file is ready for one of ``events``, or has failed (POLLERR).

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
