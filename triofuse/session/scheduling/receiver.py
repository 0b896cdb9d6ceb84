"""The receive side: one receive buffer, and the memory that requests hold.

Only WRITEs are large.  A small message is copied out of the receive buffer.  A large
one keeps the buffer, and a spare buffer replaces it.

The law: however much memory requests hold, INTERRUPTs and the requests of other users
are still read.  The kernel's queue is first in, first out, so reading goes on past
`max_payload`, and of what a user sends beyond its share only the head is kept.  The
kernel keeps each request until it is answered, and sends all again on RESEND.
"""

from __future__ import annotations

import logging
import math
import mmap
from collections.abc import Callable, Mapping

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.session.answering.file_buffers import anonymous
from triofuse.session.in_flight.received import HeadOnly, ReceivedRequest
from triofuse.session.scheduling.queue import Queue
from triofuse.session.scheduling.shares import Shares
from triofuse.wire.decode import (
    HEADER_SIZE,
    Message,
    peek,
    peek_head,
    peek_unique,
    peek_user,
)
from triofuse.wire.errors import ProtocolError
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND

__all__ = ["Receiver"]

_log = logging.getLogger("triofuse")

#: Bytes up to which a copy is cheaper than another buffer (measured: to copy 16 KiB
#: takes 0.6 us, a new 1 MiB buffer 12 us and its page faults).
_COPY_LIMIT = 16 << 10

#: Bytes that are kept of a message whose payload is left with the kernel.
_HEAD = 80

#: Buffers that are kept for the next large message.
_MAX_SPARES = 4

#: The first one is mapped: it takes no memory before something is received.
_Buffer = bytearray | mmap.mmap

#: Seconds to wait for free memory before reading goes on: first, and at most.  The wait
#: doubles only on a kernel without RESEND, where each message read may take memory.
_WAITS = (0.005, 1.0)


@attrs.define(eq=False, repr=False)
class Receiver:
    """Receives messages; runs control requests at once and returns the others.

    Attributes:
      size: Bytes of the receive buffer that the kernel requires.
      max_payload: Bytes of large messages that are held at one time.
      queue: Requests that were read and have not started.
      is_copy: Whether a request is a copy of one in flight; None before any RESEND.
      request_resend: Has the kernel resend all requests; None before protocol 7.40.
        Without it only one message is read now and then past `max_payload`.
    """

    _channel: Channel
    size: int
    _control: Mapping[int, Callable[[Message], None]]
    _reject: Callable[[int], None]
    max_payload: int
    queue: Queue = attrs.field(init=False)
    is_copy: Callable[[int], bool] | None = attrs.field(default=None, init=False)
    request_resend: Callable[[], None] | None = attrs.field(default=None, init=False)
    _now: Callable[[], float] = attrs.field(init=False)
    _receive: Callable[[_Buffer], int] = attrs.field(init=False)
    _shares: Shares = attrs.field(init=False)
    _room: trio.Event = attrs.field(factory=trio.Event, init=False)
    _next_wait: float = attrs.field(default=_WAITS[0], init=False)
    #: How many messages may be received past `max_payload`.
    _may_read: float = attrs.field(default=0, init=False)
    #: The first arrival times of requests that are being resent.
    _first: dict[int, float] = attrs.field(factory=dict, init=False)
    _buffer: _Buffer = attrs.field(init=False)
    _view: memoryview = attrs.field(init=False)
    _spares: list[_Buffer] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.queue = Queue(self.recycle)
        self._now = trio.lowlevel.current_clock().current_time
        self._receive = self._channel.receive
        self._shares = Shares(self.max_payload)
        self._buffer = anonymous(self.size)
        self._view = memoryview(self._buffer)

    def receive_nowait(self) -> ReceivedRequest | None:
        """Return the next request for a handler; None if it was dealt with here.

        Raises:
          BlockingIOError: There is none, or no memory for it.
          trio.EndOfChannel: The connection has ended.
        """
        if self._shares.crowded:
            if not self._may_read:
                raise BlockingIOError
            self._may_read -= 1
        receive, now = self._receive, self._now  # locals are faster
        try:
            size = receive(self._buffer)
        except (FileNotFoundError, InterruptedError):
            return None
        if size > _COPY_LIMIT:
            return self._sort_large(size)
        message: Message = self._view[:size].tobytes()
        # Nearly all requests end here; every other message takes the slow path, sort().
        if size >= HEADER_SIZE and self.is_copy is None:
            length, opcode, unique = peek_head(message)
            if length == size and opcode not in self._control:
                return opcode, unique, message, now()
        return self.sort(message)

    def admit_one(self) -> None:
        """Let one message be received even past `max_payload`."""
        self._may_read = max(self._may_read, 1)

    def sort(self, message: Message) -> ReceivedRequest | None:
        """Return a request for a handler; deal with any other message, return None."""
        try:
            opcode, unique = peek(message)
        except ProtocolError as exc:
            self._log_malformed(message, exc)
            self._reject(peek_unique(message))
            return None
        control = self._control.get(opcode)
        if control is None:
            if self.is_copy is not None and self.is_copy(unique):
                return None
            return opcode, unique, message, self._since(unique)
        try:
            control(message)
        except ProtocolError as exc:
            self._log_malformed(message, exc)
        return None

    def recycle(self, message: Message) -> None:
        """Reuse the buffer of a request that was answered.

        If the filesystem has kept a view, the buffer is not reused: data that it holds
        never changes.
        """
        if not isinstance(message, memoryview):
            return
        buffer = message.obj
        self._give_back(peek_user(message)[0], len(message))
        message.release()
        if len(self._spares) >= _MAX_SPARES or not isinstance(buffer, bytearray):
            return
        try:
            buffer.append(buffer.pop())  # raises while any view exists
        except BufferError:
            return
        self._spares.append(self._receive_into(buffer))  # still in the CPU's caches

    async def wait(self) -> None:
        """Wait until there may be a message to receive.

        Raises:
          trio.ClosedResourceError: The channel is closed.
        """
        if not self._shares.crowded or self._may_read:
            return await self._channel.wait_readable()
        self._room = trio.Event()
        with trio.move_on_after(self._next_wait):
            await self._room.wait()
            self._next_wait = _WAITS[0]
            return None
        if self.request_resend is None:
            self._next_wait = min(2 * self._next_wait, _WAITS[1])
            self.admit_one()
        else:
            self._may_read = math.inf
        return await self._channel.wait_readable()

    def wake(self) -> None:
        """Wake the task in `wait`; the channel stays open."""
        self._room.set()
        if self._channel.fileno() != -1:
            trio.lowlevel.notify_closing(self._channel.fileno())

    def prepare_for_resend(self) -> None:
        """Drop heads whose requests the kernel resends; keep their arrival times."""
        removed = self.queue.remove_awaiting_resend().items()
        self._first = {number & ~FUSE_UNIQUE_RESEND: since for number, since in removed}

    def _sort_large(self, size: int) -> ReceivedRequest | None:
        """Sort the large message in the buffer; keep only its head past the share."""
        length, opcode, unique = peek_head(self._view)
        if length != size or opcode in self._control:
            return self.sort(self._view[:size].tobytes())
        if self.is_copy is not None and self.is_copy(unique):
            return None
        (user,) = peek_user(self._view)
        if self.request_resend is None or self._shares.admits(user):
            return opcode, unique, self._give_away(size, user), self._since(unique)
        head = HeadOnly(self._view[:_HEAD])
        self.queue[unique] = opcode, unique, head, self._since(unique)
        return None

    def _since(self, unique: int) -> float:
        """Return when a request first arrived: now, unless it was resent."""
        now = self._now()
        return (
            self._first.pop(unique & ~FUSE_UNIQUE_RESEND, now) if self._first else now
        )

    def _give_away(self, size: int, user: int) -> Message:
        """Return a view of the buffer, and replace it by a spare one."""
        self._shares.take(user, size)
        message = self._view[:size]
        self._receive_into(self._spares.pop() if self._spares else bytearray(self.size))
        return message

    def _give_back(self, user: int, size: int) -> None:
        self._shares.give_back(user, size)
        if not self._shares.crowded:
            self._may_read = 0
            self._room.set()
        if self.request_resend and any(
            map(self._shares.has_room, self.queue.awaiting_resend)
        ):
            self.request_resend()

    def _receive_into(self, buffer: _Buffer) -> _Buffer:
        """Replace the receive buffer; return the former one."""
        former, self._buffer = self._buffer, buffer
        self._view.release()
        self._view = memoryview(buffer)
        return former

    def _log_malformed(self, message: Message, exc: ProtocolError) -> None:
        head = bytes(message[:64]).hex(" ", 8)
        _log.error("a malformed message: %s: %s...", exc, head)
