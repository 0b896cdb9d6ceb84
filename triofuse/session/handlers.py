"""The tasks that serve requests.

A handler that has replied looks at the device once more before it sleeps: most
often the next request is there already, and two task switches and an epoll round
are saved (12 us of 17 us for a small read).  It does so a limited number of times
before it lets the other tasks of the program run.
"""

from __future__ import annotations

import math

import attrs
import trio

from triofuse.session.intake import Arrival, Intake
from triofuse.session.service import Service
from triofuse.wire.decode import Message, peek

__all__ = ["Handlers", "SessionStatistics"]

#: Requests in a row before a handler lets other tasks run: about 0.5 ms of small
#: ones, 8 ms of 1 MiB writes.
_BUDGET = 32

#: Handlers that stay when there is nothing to do.
_MAX_IDLE = 4


@attrs.frozen
class SessionStatistics:
    """What a session is doing at this moment.

    Attributes:
      in_flight: Requests that were read and are not answered.
      queued: Those of them that wait for a handler.
      handlers: Tasks that serve, or wait for something to serve.
    """

    in_flight: int = 0
    queued: int = 0
    handlers: int = 0


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
    limit: int
    _running: int = attrs.field(default=0, init=False)
    _idle: int = attrs.field(default=0, init=False)
    #: Requests that are read but not answered: the scope that serves each, None
    #: while it waits in the memory channel.
    _pending: dict[int, trio.CancelScope | None] = attrs.field(factory=dict, init=False)
    #: Requests in the memory channel, those included that were interrupted there.
    _queued: int = attrs.field(default=0, init=False)
    _send: trio.MemorySendChannel[Message] = attrs.field(init=False, repr=False)
    _receive: trio.MemoryReceiveChannel[Message] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # Unbounded: the kernel bounds what is in flight, and the reader must never
        # wait, or it could not see the INTERRUPT that frees a handler.
        self._send, self._receive = trio.open_memory_channel[Message](math.inf)

    def queue(self, arrival: Arrival) -> None:
        """Have a request served by the next handler that is free."""
        _, unique, message = arrival
        self._pending[unique] = None
        self._queued += 1
        self._send.send_nowait(message)
        if self._queued > self._idle and self._running < self.limit:
            self._running += 1
            self._nursery.start_soon(self._handle)

    def interrupt(self, unique: int) -> bool:
        """Cancel a request; return whether it still waited, and is to be answered.

        One that is not known has been answered already.
        """
        if unique not in self._pending:
            return False
        scope = self._pending[unique]
        if scope is None:
            del self._pending[unique]  # _queued_nowait() skips what is not pending
            return True
        scope.cancel()
        return False

    def statistics(self) -> SessionStatistics:
        """Count requests and tasks."""
        queued = sum(scope is None for scope in self._pending.values())
        return SessionStatistics(len(self._pending), queued, self._running)

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
            self._running -= 1

    async def _serve_many(self, scope: trio.CancelScope) -> bool:
        """Serve until interrupted (True) or not needed any more (False)."""
        budget = _BUDGET
        while not scope.cancel_called:
            if budget <= 0:
                await trio.lowlevel.checkpoint()
                budget = _BUDGET
            budget -= 1
            try:
                arrival = self._next_nowait()
            except (BlockingIOError, trio.EndOfChannel):
                arrival = await self._wait()
                if arrival is None:
                    return False
                budget = _BUDGET
            if arrival is None:  # a control request, already dealt with
                continue
            opcode, unique, message = arrival
            self._pending[unique] = scope
            try:
                await self._service.serve(opcode, unique, message, scope)
            finally:
                del self._pending[unique]
            if type(message) is not bytes:
                self._intake.recycle(message)
        return True

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
        if unique in self._pending:
            return opcode, unique, message
        self._intake.recycle(message)
        return None
