"""What the wire layer raises."""

from __future__ import annotations

__all__ = ["HandshakeError", "ProtocolError"]


class ProtocolError(Exception):
    """A message of the kernel that makes no sense.

    Attributes:
      operation: The opcode's name, or its number where it has none.
      field: Which part is wrong.
      length: Bytes that the message has.
    """

    def __init__(self, operation: str, field: str, length: int, reason: str) -> None:
        super().__init__(f"{operation} of {length} bytes: {field} {reason}")
        self.operation = operation
        self.field = field
        self.length = length


class HandshakeError(Exception):
    """Kernel and runtime cannot agree on a protocol."""
