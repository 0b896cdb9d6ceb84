"""The errors of the wire layer."""

from __future__ import annotations

__all__ = ["HandshakeError", "ProtocolError"]


class ProtocolError(Exception):
    """A message of the kernel that cannot be decoded.

    Attributes:
      operation: The opcode's name, or its number if it has none.
      field: The part of the message that is wrong.
      length: The length of the message, bytes.
    """

    def __init__(self, operation: str, field: str, length: int, reason: str) -> None:
        super().__init__(f"{operation} of {length} bytes: {field} {reason}")
        self.operation = operation
        self.field = field
        self.length = length


class HandshakeError(Exception):
    """Kernel and runtime cannot agree on a protocol."""
