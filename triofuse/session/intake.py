"""What comes in: one receive buffer, and the requests that nobody answers.

Messages are small but for WRITEs.  Small ones are copied out of the one large
buffer; a large one takes the buffer along and another stands in for it.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable, Mapping

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.session.file_buffers import anonymous
from triofuse.wire.decode import HEADER_SIZE, Message, peek, peek_head, peek_unique
from triofuse.wire.errors import ProtocolError

__all__ = ["Arrival", "Intake"]

_log = logging.getLogger("triofuse")

#: Up to here a copy is cheaper than to give the buffer away (measured: 16 KiB
#: copy in 0.6 us, a new 1 MiB buffer costs 12 us and its page faults).
_COPY_LIMIT = 16 << 10

#: Buffers that are kept for the next large message.
_MAX_SPARES = 4

#: The first one is mapped, and takes no memory where nothing comes in.
_Buffer = bytearray | mmap.mmap

#: Opcode, unique, message, and when it came, in trio's time.
Arrival = tuple[int, int, Message, float]

#: Seconds between two looks for an INTERRUPT when there is no room: from, to.
_PATIENCE = (0.005, 1.0)


@attrs.define(eq=False, repr=False)
class Intake:
    """Receives messages, has control requests dealt with, hands on the others.

    Attributes:
      size: Bytes that each read must offer.
      max_payload: Bytes of large messages that are held at a time.  Past it nothing
        is read but one message now and then: INTERRUPTs are the first in the
        kernel's queue, so the one who looks finds them.
      is_copy: Tells of requests that are served already, once any are sent again.
    """

    _channel: Channel
    size: int
    _control: Mapping[int, Callable[[Message], None]]
    _reject: Callable[[int], None]
    max_payload: int
    is_copy: Callable[[int], bool] | None = attrs.field(default=None, init=False)
    _now: Callable[[], float] = attrs.field(init=False)
    _receive: Callable[[_Buffer], int] = attrs.field(init=False)
    _held: int = attrs.field(default=0, init=False)
    _room: trio.Event = attrs.field(factory=trio.Event, init=False)
    _patience: float = attrs.field(default=_PATIENCE[0], init=False)
    _may_look: bool = attrs.field(default=False, init=False)
    _buffer: _Buffer = attrs.field(init=False)
    _view: memoryview = attrs.field(init=False)
    _spares: list[_Buffer] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._now = trio.lowlevel.current_clock().current_time
        self._receive = self._channel.receive
        self._buffer = anonymous(self.size)
        self._view = memoryview(self._buffer)

    def receive_nowait(self) -> Arrival | None:
        """Return the next request for a handler, None if this one was not for one.

        Raises:
          BlockingIOError: There is none, or no room for it.
          trio.EndOfChannel: There will be none.
        """
        if self._held >= self.max_payload:
            if not self._may_look:
                raise BlockingIOError
            self._may_look = False
        receive, now = self._receive, self._now  # quicker to call than attributes
        try:
            size = receive(self._buffer)
        except (FileNotFoundError, InterruptedError):
            return None
        if size <= _COPY_LIMIT:
            message: Message = self._view[:size].tobytes()
            # The way of nearly all requests: what is odd about others, sort() sees.
            if size >= HEADER_SIZE and self.is_copy is None:
                length, opcode, unique = peek_head(message)
                if length == size and opcode not in self._control:
                    return opcode, unique, message, now()
        else:
            message = self._give_away(size)
        return self.sort(message)

    def look(self) -> None:
        """Let the next message be received although there may be no room for it."""
        self._may_look = True

    def sort(self, message: Message) -> Arrival | None:
        """Return a request for a handler, deal with any other message."""
        try:
            opcode, unique = peek(message)
        except ProtocolError as exc:
            self._complain(message, exc)
            self._reject(peek_unique(message))
            return None
        control = self._control.get(opcode)
        if control is None:
            if self.is_copy is not None and self.is_copy(unique):
                self.recycle(message)
                return None
            return opcode, unique, message, self._now()
        try:
            control(message)
        except ProtocolError as exc:
            self._complain(message, exc)
        self.recycle(message)
        return None

    def recycle(self, message: Message) -> None:
        """Take back the buffer of a message that has been served.

        A filesystem that kept a view of it keeps the buffer: nothing it holds
        ever changes under its hands.
        """
        if not isinstance(message, memoryview):
            return
        buffer = message.obj
        self._held -= len(message)
        self._room.set()
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
        if self._held < self.max_payload:
            return await self._channel.wait_readable()
        self._room = trio.Event()
        with trio.move_on_after(self._patience):
            await self._room.wait()
            self._patience = _PATIENCE[0]
            return None
        self._patience = min(2 * self._patience, _PATIENCE[1])
        self.look()
        return await self._channel.wait_readable()

    def _give_away(self, size: int) -> Message:
        """Return a view of the buffer, and put another in its place."""
        self._held += size
        message = self._view[:size]
        self._receive_into(self._spares.pop() if self._spares else bytearray(self.size))
        return message

    def _receive_into(self, buffer: _Buffer) -> _Buffer:
        """Have another receive buffer; return the one that was it."""
        former, self._buffer = self._buffer, buffer
        self._view.release()
        self._view = memoryview(buffer)
        return former

    def _complain(self, message: Message, exc: ProtocolError) -> None:
        head = bytes(message[:64]).hex(" ", 8)
        _log.error("a malformed message: %s: %s...", exc, head)
