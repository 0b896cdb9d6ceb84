"""The receive side: one receive buffer, and the memory that requests hold.

Messages are small but for WRITEs.  Small ones are copied out of the one large
buffer; a large one takes the buffer along and another stands in for it.

The law: whatever requests hold, INTERRUPTs and the requests of others are still read.
The kernel's queue is first in, first out, so past `max_payload` reading goes on, and
what a user sends beyond its share is left with the kernel: it keeps every request until
that is answered, and sends all of them again when it is asked to (RESEND).
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

#: Up to here a copy is cheaper than to give the buffer away (measured: 16 KiB
#: copy in 0.6 us, a new 1 MiB buffer costs 12 us and its page faults).
_COPY_LIMIT = 16 << 10

#: Bytes that are kept of a message whose payload is left with the kernel.
_HEAD = 80

#: Buffers that are kept for the next large message.
_MAX_SPARES = 4

#: The first one is mapped, and takes no memory where nothing comes in.
_Buffer = bytearray | mmap.mmap

#: Seconds to wait for memory to be given back before reading goes on: from, to.  The
#: second is for a kernel that sends nothing again: there each look may cost memory.
_WAITS = (0.005, 1.0)


@attrs.define(eq=False, repr=False)
class Receiver:
    """Receives messages, has control requests dealt with, hands on the others.

    Attributes:
      size: Bytes that each read must offer.
      max_payload: Bytes of large messages that are held at a time.
      queue: What was read and has not started.
      is_copy: Tells of requests that are served already, once any are sent again.
      request_resend: Has the kernel send all again; None where it cannot, before 7.40.  There
        nothing is read past `max_payload` but one message now and then.
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
    #: How many messages may be received although memory is short.
    _may_read: float = attrs.field(default=0, init=False)
    #: When a request that comes again came first.
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
        """Return the next request for a handler, None if this one was not for one.

        Raises:
          BlockingIOError: There is none, or no room for it.
          trio.EndOfChannel: There will be none.
        """
        if self._shares.crowded:
            if not self._may_read:
                raise BlockingIOError
            self._may_read -= 1
        receive, now = self._receive, self._now  # quicker to call than attributes
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
        """Let the next message be received although memory may be short."""
        self._may_read = max(self._may_read, 1)

    def sort(self, message: Message) -> ReceivedRequest | None:
        """Return a request for a handler, deal with any other message."""
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
        """Take back the buffer of a message that has been served.

        A filesystem that kept a view of it keeps the buffer: nothing it holds
        ever changes under its hands.
        """
        if not isinstance(message, memoryview):
            return
        buffer = message.obj
        self._give_back(peek_user(message)[0], len(message))
        message.release()
        if len(self._spares) >= _MAX_SPARES or not isinstance(buffer, bytearray):
            return
        try:
            buffer.append(buffer.pop())  # not allowed while any view exists
        except BufferError:
            return
        self._spares.append(self._receive_into(buffer))  # still in the CPU's caches

    async def wait(self) -> None:
        """Wait until there may be something to receive.

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

    def prepare_for_resend(self) -> None:
        """Know that the kernel sends all again."""
        withheld = self.queue.remove_awaiting_resend().items()
        self._first = {
            number & ~FUSE_UNIQUE_RESEND: since for number, since in withheld
        }

    def _sort_large(self, size: int) -> ReceivedRequest | None:
        """Treat the message in the buffer, which has a payload."""
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
        """Return when a request came first, most often now."""
        now = self._now()
        return (
            self._first.pop(unique & ~FUSE_UNIQUE_RESEND, now) if self._first else now
        )

    def _give_away(self, size: int, user: int) -> Message:
        """Return a view of the buffer, and put another in its place."""
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
        """Have another receive buffer; return the one that was it."""
        former, self._buffer = self._buffer, buffer
        self._view.release()
        self._view = memoryview(buffer)
        return former

    def _log_malformed(self, message: Message, exc: ProtocolError) -> None:
        head = bytes(message[:64]).hex(" ", 8)
        _log.error("a malformed message: %s: %s...", exc, head)
