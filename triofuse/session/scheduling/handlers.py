"""The tasks that serve requests: Leader/Followers, as `Policy` decides.

The law: this module only carries out what the policy says.  Each handler is a task in a
loop: receive a request, serve it, receive the next.  Most often the next one is there
already, which saves two task switches and a turn of epoll (12 us of 17 us for a small
read).  If there is none, the policy decides: pause, watch the device, park or end.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import attrs
import trio

from triofuse.session.answering.service import Service
from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.in_flight.table import UNINTERRUPTED, ActiveRequest, InFlightTable
from triofuse.session.notifications.notifier import SessionNotifier
from triofuse.session.scheduling.coroutine import ObservedCoroutine
from triofuse.session.scheduling.policy import (
    ENDED,
    PARKED,
    PAUSING,
    RUNNING,
    WATCHING,
    Handler,
    Policy,
)
from triofuse.session.scheduling.polling import Polling
from triofuse.session.scheduling.receiver import Receiver
from triofuse.session.scheduling.shares import Shares
from triofuse.wire.decode import Message, operation_name, peek, peek_user
from triofuse.wire.opcodes import Opcode

__all__ = ["Handlers"]

_log = logging.getLogger("triofuse")

#: Not counted in the shares of users: it waits by its nature.
_SETLKW = int(Opcode.SETLKW)

#: Wakes a handler without a request: it reads the device itself.
_NO_REQUEST: Message = b""


@attrs.define(eq=False, repr=False)
class Handlers:
    """Serves the requests of one mount in tasks of the session's nursery.

    Attributes:
      over: Set when the connection has ended.
    """

    _nursery: trio.Nursery
    _receiver: Receiver
    _service: Service
    _table: InFlightTable
    _notifier: SessionNotifier
    _limit: int
    _busy_poll: float
    over: trio.Event = attrs.field(factory=trio.Event, init=False)
    _policy: Policy = attrs.field(init=False)
    #: The `ActiveRequest` of each handler whose task has run.
    _active: dict[Handler, ActiveRequest] = attrs.field(factory=dict, init=False)
    #: Deadline of each RELEASE; infinite while the mount lives.
    _release_deadline: float = attrs.field(default=math.inf, init=False)
    _clock: Callable[[], float] = attrs.field(init=False)
    _receive: Callable[[], ReceivedRequest | None] = attrs.field(init=False)
    _lines: Mapping[int, object] = attrs.field(init=False)
    _shares: Shares = attrs.field(init=False)
    _polling: Polling = attrs.field(init=False)
    _wake_up: trio.MemorySendChannel[Message] = attrs.field(init=False)
    _woken: trio.MemoryReceiveChannel[Message] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._clock = trio.lowlevel.current_clock().current_time
        self._receive = self._receiver.receive_nowait
        self._lines = self._receiver.queue.lines
        self._shares = Shares(self._limit)
        self._policy = Policy(self._shares, self._lines)
        self._polling = Polling(self._busy_poll, self._receive_next)
        # Unbuffered: a message goes directly to a parked handler.
        self._wake_up, self._woken = trio.open_memory_channel[Message](0)

    @property
    def running(self) -> int:
        """How many tasks there are."""
        return self._policy.tasks

    def start(self) -> None:
        """Start the first handler."""
        self._wake()

    def queue(self, received: ReceivedRequest) -> None:
        """Queue a request that no handler has received, and wake a handler."""
        self._receiver.queue[received[1]] = received
        self._wake()

    def read_copies(self) -> None:
        """Read the requests that the kernel has resent, until the device is empty."""
        self._receiver.is_copy = self._table.is_copy
        with suppress(BlockingIOError, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self._receiver.admit_one()  # a copy is dropped at once
                received = self._receiver.receive_nowait()
                if received is not None:
                    self._receiver.queue[received[1]] = received
        self._wake()

    def request_resend(self) -> None:
        """Have the kernel resend payloads, now that there is memory for them."""
        over = (trio.EndOfChannel, trio.ClosedResourceError)
        with suppress(BlockingIOError, *over):  # it is retried later
            self._notifier.resend_nowait()
            self._receiver.prepare_for_resend()
            # Before any handler can reply under a number that the kernel has changed.
            self.read_copies()

    def limit_releases(self, seconds: float) -> None:
        """Set a deadline for each RELEASE that runs or is still to come."""
        self._release_deadline = trio.current_time() + seconds
        for active in self._table.running.values():
            if active.scope.shield:
                active.scope.deadline = self._release_deadline

    def drain(self) -> None:
        """Read no more requests; the session ends when the running ones are done."""
        self.close()
        self._receiver.wake()

    def close(self) -> None:
        """Start no more handlers; each ends when its request is done."""
        self._policy.over = True
        self._wake_up.close()
        self.over.set()

    @trio.lowlevel.enable_ki_protection  # or Ctrl-C could come between state and task
    def _wake(self) -> None:
        """Schedule a handler if the policy says that one is needed."""
        handler = self._policy.wake()
        if handler is None:
            return
        message = _NO_REQUEST
        if handler.user is not None:
            message = self._receiver.queue.choose(handler.user)[2]
        if handler not in self._active:  # new: it has no task yet
            self._nursery.start_soon(self._handle, handler, message)
        elif self._woken.statistics().tasks_waiting_receive:  # else they are cancelled
            self._wake_up.send_nowait(message)

    async def _handle(self, handler: Handler, message: Message) -> None:
        """Run a handler's task."""
        yielded = partial(self._yielded, handler)
        await ObservedCoroutine(self._serve_all(handler, message), yielded)

    def _yielded(self, handler: Handler) -> None:
        """Tell the policy that the request has blocked; promote another handler."""
        if handler.state is RUNNING:
            opcode, _, message, _ = self._active[handler].received
            user = None if opcode == _SETLKW else peek_user(message)[0]
            if self._policy.block(handler, user):
                self._wake()

    async def _serve_all(self, handler: Handler, message: Message) -> None:
        """Serve requests; open a new cancel scope whenever one was cancelled."""
        try:
            self._policy.run(handler, trio.current_time())
            self._service.notice_tracing()
            received = self._start_queued(message) if message else None
            while handler.state is not ENDED:
                with trio.CancelScope() as scope:
                    task = trio.lowlevel.current_task()
                    active = ActiveRequest(self._table.running, task, scope)
                    await self._serve_many(handler, active, received)
                received = None
        except BaseException:  # the nursery is cancelled
            self._policy.over = True
            raise
        finally:
            self._policy.end(handler)
            self._active.pop(handler, None)

    async def _serve_many(
        self, handler: Handler, active: ActiveRequest, received: ReceivedRequest | None
    ) -> None:
        """Serve until the handler ends, or its cancel scope was cancelled."""
        table, running = self._table, self._table.running
        find, serve, abandoned = self._find, self._service.serve, table.abandoned.claims
        self._active[handler] = active
        active.bind_to_task()
        answered = 0  # the last opcode since the handler rested, else 0
        while not active.cancelled:
            if received is None:
                received = find(answered)
            if received is None:
                answered = 0
                received = await self._rest(handler)
                if handler.state is ENDED:
                    return
                continue
            opcode, unique, message, _ = active.received = received
            received = None
            running[unique] = active
            if table.interrupted:
                table.start_interrupted(unique)
            try:
                if abandoned:
                    await table.abandoned.wait_for_turn(active.received)
                if opcode in UNINTERRUPTED:
                    await self._release(active)
                elif not active.answered:  # else its caller was killed meanwhile
                    await serve(active)
            finally:
                del running[unique]
                if abandoned:
                    table.abandoned.remove(unique)
                if handler.state is not RUNNING:
                    self._policy.finish(handler)
                    if not active.cancelled:
                        self._active[handler] = active = active.for_next_request()
                if table.deferred:
                    self._notifier.send_deferred(unique)
                if type(message) is not bytes:
                    self._receiver.recycle(message)
            answered = opcode

    def _find(self, answered: int) -> ReceivedRequest | None:
        """Return the next request; None if there is none, or the slice is over."""
        policy = self._policy
        try:
            while policy.now < policy.slice_end:
                if self._lines or self._shares.crowded:
                    received = self._next_by_shares()
                else:
                    received = self._receive()
                    if received is not None:
                        policy.now = received[3]
                        return received
                policy.now = self._clock()
                if received is not None:
                    return received
        except BlockingIOError:
            received = self._polling.poll(answered) if answered else None
            if received is not None:
                policy.now = received[3]
            return received
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self.close()
        return None

    def _receive_next(self) -> ReceivedRequest | None:
        """Return the next request, as `Receiver.receive_nowait` does."""
        if self._lines or self._shares.crowded:
            return self._next_by_shares()
        return self._receive()

    def _next_by_shares(self) -> ReceivedRequest | None:
        """Return the next request that its user's share admits; queue the others.

        If no queued request may start, a new one of the same users may not either.
        """
        queue, user = self._receiver.queue, self._policy.next_user()
        if user is not None:
            return queue.start(queue.choose(user)[1])
        received = self._receive()
        if received is None:
            return None
        opcode, unique, message, _ = received
        if opcode == _SETLKW or self._shares.admits(peek_user(message)[0]):
            return received
        queue[unique] = received
        return None

    async def _rest(self, handler: Handler) -> ReceivedRequest | None:
        """Wait as the policy says; return the request of the wake-up, if any."""
        policy, message = self._policy, _NO_REQUEST
        while True:
            state = policy.rest(handler)
            if state is WATCHING:
                await self._watch()
            elif state is PAUSING:
                await trio.lowlevel.checkpoint()
            elif state is PARKED:
                try:
                    message = await self._woken.receive()
                except trio.EndOfChannel:
                    policy.end(handler)
                    return None
            else:
                return None
            policy.run(handler, self._clock())
            if message:
                return self._start_queued(message)
            if state is not PARKED or policy.looks_first():
                self._service.notice_tracing()
                return None

    async def _watch(self) -> None:
        """Wait until the device is readable."""
        try:
            await self._receiver.wait()
            self._polling.woken()
        except trio.ClosedResourceError:
            pass  # the next receive raises it again

    def _start_queued(self, message: Message) -> ReceivedRequest | None:
        """Start the queued request of a message; None if it was dropped."""
        _, unique = peek(message)
        received = self._receiver.queue.start(unique)
        if received is None:
            self._receiver.recycle(message)
        return received

    async def _release(self, active: ActiveRequest) -> None:
        """Serve a RELEASE: only a deadline cancels it, not the end of the mount."""
        scope = active.scope
        scope.shield = True
        if self._release_deadline < math.inf:
            scope.deadline = self._release_deadline
        try:
            await self._service.serve(active)
        finally:
            scope.shield = False
            active.answered = False
            if self._release_deadline < math.inf and scope.cancel_called:
                active.cancelled = True
                name = operation_name(active.received[0])
                _log.error("%s was cut off at the end of the mount", name)
