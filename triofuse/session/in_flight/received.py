"""A request as received."""

from __future__ import annotations

from triofuse.wire.decode import Message

__all__ = ["HeadOnly", "ReceivedRequest"]

#: Opcode, unique, message, and arrival time on trio's clock.
ReceivedRequest = tuple[int, int, Message, float]


class HeadOnly(bytes):
    """The head of a message whose payload was left with the kernel, to be resent."""

    __slots__ = ()
