"""The tasks that serve requests.

A handler that has replied looks at the device once more before it sleeps: most
often the next request is there already, and two task switches and an epoll round
are saved (12 us of 17 us for a small read).  It does so for a limited time before it
lets the other tasks of the program run.  With nothing to do, it waits for the device.
"""

from __future__ import annotations

import logging
import math

import attrs
import trio

from triofuse.session.intake import Arrival, Intake
from triofuse.session.notifier import SessionNotifier
from triofuse.session.pending import UNINTERRUPTED, Pending, Serving
from triofuse.session.polling import Polling
from triofuse.session.service import Service
from triofuse.session.watch import LettingGo, Watch
from triofuse.wire.decode import Message, operation_name, peek
from triofuse.wire.opcodes import Opcode

__all__ = ["Handlers"]

_log = logging.getLogger("triofuse")

#: Seconds for which handlers go on before they let other tasks run; and while one
#: waits for something: 1 ms more often than not became 3 ms for it, with a thread.
_SLICE = 0.001
_SLICE_WHILE_ONE_WAITS = 0.0002

#: Seconds that are set down for a control request, which has no time of its own.
_CONTROL = 10e-6

#: Before the first of what `Handlers` counts.
_NEVER = -1

#: What is not served like the rest.
_APART = UNINTERRUPTED | {Opcode.SETLKW}

#: Handlers that stay when there is nothing to do.
_MAX_IDLE = 4


@attrs.define(eq=False, repr=False)
class Handlers:
    """Serves the requests of one mount in tasks of the session's nursery.

    Attributes:
      limit: The most handlers at a time, apart from those that wait for a lock; more
        requests than that wait, but for INTERRUPT, FORGET and their kin, which wait
        for nobody.
      running: How many there are, those that idle included.
    """

    _nursery: trio.Nursery
    _intake: Intake
    _service: Service
    _pending: Pending
    _notifier: SessionNotifier
    _polling: Polling
    _watch: Watch
    limit: int
    running: int = attrs.field(default=0, init=False)
    _idle: int = attrs.field(default=0, init=False)
    #: Messages in the memory channel, those included that were interrupted there.
    _queued: int = attrs.field(default=0, init=False)
    #: When they all let other tasks run, and whether one is doing that now.
    _pause_at: float = attrs.field(default=0.0, init=False)
    _pausing: bool = attrs.field(default=False, init=False)
    #: Whether one was woken or started, and has not begun.
    _coming: bool = attrs.field(default=False, init=False)
    #: How often one has let go of the loop, and how often other than to pause.
    _turns: int = attrs.field(default=0, init=False)
    _waits: int = attrs.field(default=0, init=False)
    #: Until when a RELEASE may take; for ever while the mount lives.
    _release_deadline: float = attrs.field(default=math.inf, init=False)
    _send: trio.MemorySendChannel[Message] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Message] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Unbounded: the kernel bounds what is in flight, and the reader must never
        # wait, or it could not see the INTERRUPT that frees a handler.
        self._send, self._receive = trio.open_memory_channel[Message](math.inf)

    def queue(self, arrival: Arrival) -> None:
        """Have a request served by the next handler that is free."""
        _, unique, message, _ = arrival
        self._pending.waiting[unique] = arrival
        self._queued += 1
        self._send.send_nowait(message)
        if self._queued <= self._idle:
            self._coming = True
        else:
            self._start()

    @property
    def will_read(self) -> bool:
        """Whether a handler reads what the device has, as soon as it runs."""
        return self._coming or self._pausing

    @trio.lowlevel.enable_ki_protection
    def _start(self) -> None:
        """Start a handler if one is needed."""
        if self._queued > self._idle and self._serving < self.limit:
            self.running += 1
            self._coming = True
            self._nursery.start_soon(self._handle)

    def hurry(self, seconds: float) -> None:
        """Give each RELEASE that runs or still comes so long, and no longer."""
        self._release_deadline = trio.current_time() + seconds
        for serving in self._pending.running.values():
            if serving.scope.shield:
                serving.scope.deadline = self._release_deadline

    def close(self) -> None:
        """Let handlers end once there is nothing more to do."""
        self._send.close()

    async def _handle(self) -> None:
        """Be a handler."""
        await LettingGo(self._serve_all(), self._let_go)

    def _let_go(self) -> None:
        """See that somebody watches the device while a handler lets go of the loop."""
        self._turns += 1
        if self._pausing:
            return
        self._waits += 1
        watch = self._watch
        if not (watch.by_reader or watch.by_handler or self._coming):
            watch.give_to_reader()

    async def _serve_all(self) -> None:
        """Serve requests, in one cancel scope until an INTERRUPT has spent it."""
        needed = True
        self._coming = False
        try:
            while needed:
                with trio.CancelScope() as scope:
                    task = trio.lowlevel.current_task()
                    needed = await self._serve_many(Serving(task, scope))
        finally:
            self.running -= 1

    async def _serve_many(self, serving: Serving) -> bool:
        """Serve until interrupted (True) or not needed any more (False)."""
        pending, running = self._pending, self._pending.running
        receive, serve = self._intake.receive_nowait, self._service.serve
        serving.begin()
        now, waits = self._begin_slice(), self._waits
        while not serving.cancelled:
            idle = now >= self._pause_at and not await self._pause()
            arrival: Arrival | None = None
            queued: Arrival | None = None
            try:
                if not idle:
                    queued = self._queued_nowait() if self._queued else None
                    arrival = queued or receive()
            except BlockingIOError:
                arrival = self._polling.poll(serving.arrival[0])
                idle = arrival is None
            except (trio.EndOfChannel, trio.ClosedResourceError):
                idle, waits = True, _NEVER
            if idle:
                if self._may_watch(waits):
                    if not await self._watch_device():
                        return False
                else:
                    arrival = await self._wait()
                    if arrival is None:
                        return False
                now, waits = self._begin_slice(), self._waits
            if arrival is None:  # a control request, already dealt with
                now += _CONTROL
                continue
            opcode, unique, message, now = serving.arrival = arrival
            if queued is not None:  # it came long ago
                now = trio.current_time()
            running[unique] = serving
            if pending.interrupted:
                pending.start_interrupted(unique)
            apart, turns = opcode in _APART, self._turns
            try:
                await (self._serve_apart(serving) if apart else serve(serving))
            finally:
                del running[unique]
                if pending.deferred:
                    self._notifier.send_deferred(unique)
                if type(message) is not bytes:
                    self._intake.recycle(message)
            if apart and self._serving > self.limit:
                return False
            if turns != self._turns and not serving.cancelled:
                serving = serving.renewed()
        return True

    @property
    def _serving(self) -> int:
        """How many handlers may be serving: one that watches does not."""
        return self.running - self._watch.by_handler

    def _begin_slice(self) -> float:
        """Set when the other tasks are to run again, unless somebody is to go on then.

        Returns:
          The time now.
        """
        now = trio.current_time()
        self._service.notice_tracing()
        if not self._pausing:
            waits = self._pending.running
            self._pause_at = now + (_SLICE_WHILE_ONE_WAITS if waits else _SLICE)
        return now

    async def _pause(self) -> bool:
        """Let the other tasks run; False if another handler will go on after that.

        Else each of many handlers would have a slice for itself, one after the other.
        """
        if self._pausing:
            return False
        self._pausing = True
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._pausing = False
        self._begin_slice()
        return True

    async def _serve_apart(self, serving: Serving) -> None:
        """Serve a RELEASE; or what waits for a lock, and takes no handler meanwhile.

        Else enough waiters would keep out the unlock that they wait for.
        """
        if serving.arrival[0] in UNINTERRUPTED:
            return await self._release(serving)
        self.limit += 1
        self._start()
        try:
            return await self._service.serve(serving)
        finally:
            self.limit -= 1

    async def _release(self, serving: Serving) -> None:
        """Serve a RELEASE: the end of the mount does not cancel it, only a deadline."""
        scope = serving.scope
        scope.shield = True
        if self._release_deadline < math.inf:
            scope.deadline = self._release_deadline
        try:
            await self._service.serve(serving)
        finally:
            scope.shield = False
            serving.answered = False
            if self._release_deadline < math.inf and scope.cancel_called:
                serving.cancelled = True
                name = operation_name(serving.arrival[0])
                _log.error("%s was cut off at the end of the mount", name)

    def _queued_nowait(self) -> Arrival | None:
        """Return a request that waits in the memory channel, the oldest first."""
        while self._queued:
            try:
                message = self._receive.receive_nowait()
            except trio.WouldBlock:  # on its way to a handler that sleeps
                return None
            arrival = self._taken(message)
            if arrival is not None:
                return arrival
        return None

    def _may_watch(self, waits: int) -> bool:
        """Whether a handler that idles is to watch the device.

        Not with something in the queue, nor if it has waited for anything since
        ``_waits`` was ``waits``: its next request might make it wait again, and then
        it is no gain that it watches.
        """
        idle = self._queued <= self._idle and waits == self._waits
        return idle and not self._watch.by_handler

    async def _watch_device(self) -> bool:
        """Wait until the device has something; False if this handler may end."""
        self._watch.take()
        try:
            await self._intake.wait()
        except trio.ClosedResourceError:
            pass  # as the next look will tell
        finally:
            self._watch.by_handler = False
        return self.running <= self.limit

    async def _wait(self) -> Arrival | None:
        """Sleep until there is a request; None means that this handler may end."""
        while self._idle < _MAX_IDLE or self._queued > self._idle:
            self._idle += 1
            try:
                message = await self._receive.receive()
                self._coming = False
            except trio.EndOfChannel:
                return None
            finally:
                self._idle -= 1
            arrival = self._taken(message)
            if arrival is not None:
                return arrival
        return None

    def _taken(self, message: Message) -> Arrival | None:
        """Take a message off the queue; None if it was interrupted there."""
        self._queued -= 1
        _, unique = peek(message)
        arrival = self._pending.waiting.pop(unique, None)
        if arrival is None:
            self._intake.recycle(message)
        return arrival
