"""What comes in: one receive buffer, and the requests that nobody answers.

Messages are small but for WRITEs.  Small ones are copied out of the one large
buffer; a large one takes the buffer along and another stands in for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import attrs

from triofuse.device.channel import Channel
from triofuse.wire.decode import Message, peek, peek_unique
from triofuse.wire.errors import ProtocolError

__all__ = ["Arrival", "Intake"]

_log = logging.getLogger("triofuse")

#: Up to here a copy is cheaper than to give the buffer away (measured: 16 KiB
#: copy in 0.6 us, a new 1 MiB buffer costs 12 us and its page faults).
_COPY_LIMIT = 16 << 10

#: Buffers that are kept for the next large message.
_MAX_SPARES = 4

#: Opcode, unique, message.
Arrival = tuple[int, int, Message]


@attrs.define(eq=False)
class Intake:
    """Receives messages, has control requests dealt with, hands on the others."""

    _channel: Channel
    _size: int
    _control: Mapping[int, Callable[[Message], None]]
    _reject: Callable[[int], None]
    _buffer: bytearray = attrs.field(init=False, repr=False)
    _view: memoryview = attrs.field(init=False, repr=False)
    _spares: list[bytearray] = attrs.field(factory=list, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._buffer = bytearray(self._size)
        self._view = memoryview(self._buffer)

    def receive_nowait(self) -> Arrival | None:
        """Return the next request for a handler, None if this one was not for one.

        Raises:
          BlockingIOError: There is none.
          trio.EndOfChannel: There will be none.
        """
        try:
            size = self._channel.receive(self._buffer)
        except (FileNotFoundError, InterruptedError):
            return None
        if size <= _COPY_LIMIT:
            message: Message = bytes(self._view[:size])
        else:
            message = self._give_away(size)
        try:
            opcode, unique = peek(message)
        except ProtocolError as exc:
            self._complain(message, exc)
            self._reject(peek_unique(message))
            return None
        control = self._control.get(opcode)
        if control is None:
            return opcode, unique, message
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
        message.release()
        if len(self._spares) >= _MAX_SPARES or not isinstance(buffer, bytearray):
            return
        try:
            buffer.append(buffer.pop())  # not allowed while any view exists
        except BufferError:
            return
        self._spares.append(buffer)

    def _give_away(self, size: int) -> Message:
        """Return a view of the buffer, and put another in its place."""
        message = self._view[:size]
        self._view.release()
        self._buffer = self._spares.pop() if self._spares else bytearray(self._size)
        self._view = memoryview(self._buffer)
        return message

    def _complain(self, message: Message, exc: ProtocolError) -> None:
        head = bytes(message[:64]).hex(" ", 8)
        _log.error("a malformed message: %s: %s...", exc, head)
