"""A request as it was received."""

from __future__ import annotations

from triofuse.wire.decode import Message

__all__ = ["HeadOnly", "ReceivedRequest"]

#: Opcode, unique, message, and when it came, in trio's time.
ReceivedRequest = tuple[int, int, Message, float]


class HeadOnly(bytes):
    """The head of a message whose payload was left with the kernel."""

    __slots__ = ()
