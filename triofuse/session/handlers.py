"""The tasks that serve requests.

A handler that has replied looks at the device once more before it sleeps: most
often the next request is there already, and two task switches and an epoll round
are saved (12 us of 17 us for a small read).  It does so a limited number of times
before it lets the other tasks of the program run.
"""

from __future__ import annotations

import logging
import math

import attrs
import trio

from triofuse.session.intake import Arrival, Intake
from triofuse.session.pending import Pending
from triofuse.session.service import Service
from triofuse.wire.decode import Message, operation_name, peek
from triofuse.wire.opcodes import Opcode

__all__ = ["Handlers"]

_log = logging.getLogger("triofuse")

#: Requests in a row before a handler lets other tasks run: about 0.5 ms of small
#: ones, 8 ms of 1 MiB writes.
_BUDGET = 32

#: Handlers that stay when there is nothing to do.
_MAX_IDLE = 4

#: What no caller waits for or interrupts, and must be done even when the mount ends.
_RELEASING = frozenset({Opcode.RELEASE, Opcode.RELEASEDIR})


@attrs.define(eq=False)
class Handlers:
    """Serves the requests of one mount in tasks of the session's nursery.

    Attributes:
      limit: The most handlers at a time; more requests than that wait, but for
        INTERRUPT, FORGET and their kin, which wait for nobody.
    """

    _nursery: trio.Nursery
    _intake: Intake
    _service: Service
    _pending: Pending
    limit: int
    running: int = attrs.field(default=0, init=False)
    _idle: int = attrs.field(default=0, init=False)
    #: Messages in the memory channel, those included that were interrupted there.
    _queued: int = attrs.field(default=0, init=False)
    #: Until when a RELEASE may take; for ever while the mount lives.
    _release_deadline: float = attrs.field(default=math.inf, init=False)
    _send: trio.MemorySendChannel[Message] = attrs.field(init=False, repr=False)
    _receive: trio.MemoryReceiveChannel[Message] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # Unbounded: the kernel bounds what is in flight, and the reader must never
        # wait, or it could not see the INTERRUPT that frees a handler.
        self._send, self._receive = trio.open_memory_channel[Message](math.inf)

    def queue(self, arrival: Arrival) -> None:
        """Have a request served by the next handler that is free."""
        opcode, unique, message = arrival
        self._pending.waiting[unique] = opcode
        self._queued += 1
        self._send.send_nowait(message)
        if self._queued > self._idle and self.running < self.limit:
            self.running += 1
            self._nursery.start_soon(self._handle)

    def hurry(self, seconds: float) -> None:
        """Give each RELEASE that runs or still comes so long, and no longer."""
        self._release_deadline = trio.current_time() + seconds
        for scope in self._pending.running.values():
            if scope.shield:
                scope.deadline = self._release_deadline

    def close(self) -> None:
        """Let handlers end once there is nothing more to do."""
        self._send.close()

    async def _handle(self) -> None:
        """Serve requests, in one cancel scope until an INTERRUPT has spent it."""
        needed = True
        try:
            while needed:
                with trio.CancelScope() as scope:
                    needed = await self._serve_many(scope)
        finally:
            self.running -= 1

    async def _serve_many(self, scope: trio.CancelScope) -> bool:
        """Serve until interrupted (True) or not needed any more (False)."""
        pending = self._pending
        budget = _BUDGET
        while not scope.cancel_called:
            if budget <= 0:
                await trio.lowlevel.checkpoint()
                budget = _BUDGET
            budget -= 1
            try:
                arrival = self._next_nowait()
            except (BlockingIOError, trio.EndOfChannel, trio.ClosedResourceError):
                arrival = await self._wait()
                if arrival is None:
                    return False
                budget = _BUDGET
            if arrival is None:  # a control request, already dealt with
                continue
            opcode, unique, message = arrival
            pending.running[unique] = scope
            if pending.interrupted:
                pending.start_interrupted(unique)
            try:
                if opcode in _RELEASING:
                    await self._release(arrival, scope)
                else:
                    await self._service.serve(opcode, unique, message, scope)
            finally:
                del pending.running[unique]
            if type(message) is not bytes:
                self._intake.recycle(message)
        return True

    async def _release(self, arrival: Arrival, scope: trio.CancelScope) -> None:
        """Serve a RELEASE: the end of the mount does not cancel it, only a deadline."""
        opcode, unique, message = arrival
        scope.shield = True
        scope.deadline = self._release_deadline
        try:
            await self._service.serve(opcode, unique, message, scope)
        finally:
            scope.shield = False
            scope.deadline = math.inf
            if scope.cancel_called:
                name = operation_name(opcode)
                _log.error("%s was cut off at the end of the mount", name)

    def _next_nowait(self) -> Arrival | None:
        """Return the oldest request: from the memory channel, else the device."""
        if self._queued and (arrival := self._queued_nowait()):
            return arrival
        return self._intake.receive_nowait()

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

    async def _wait(self) -> Arrival | None:
        """Sleep until there is a request; None means that this handler may end."""
        while self._idle < _MAX_IDLE:
            self._idle += 1
            try:
                message = await self._receive.receive()
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
        opcode, unique = peek(message)
        if self._pending.waiting.pop(unique, None) is not None:
            return opcode, unique, message
        self._intake.recycle(message)
        return None
