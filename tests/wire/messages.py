"""Messages of the kernel as a test writes them: bytes by hand, a field a line.

The layouts that are to be tested have no part in it.  Each number is
recognisable, so that a swapped field shows.
"""

from __future__ import annotations

import struct

import attrs

from triofuse.filesystem import requests as r
from triofuse.wire.opcodes import Opcode

UNIQUE = 0xDEADBEEFBAADF00D
NODEID = 0x1122334455667788
UID, GID, PID = 0xC0010D00, 0xC001CAFE, 0xC0DEBA5E
CALLER = (UNIQUE, NODEID, UID, GID, PID)

FH = 0xFEEDFACECAFEBEEF
OWNER = 0x0DDBA11C0FFEE000
OFFSET = 0x0123456789ABCDEF
LENGTH = 0x0000FEDCBA987654


def u16(value: int) -> bytes:
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def u64(value: int) -> bytes:
    return struct.pack("=Q", value)


def s64(value: int) -> bytes:
    return struct.pack("=q", value)


def pad(size: int) -> bytes:
    """Return what a decoder must not look at."""
    return b"\xa5" * size


def message(opcode: int, body: bytes, *, extlen: int = 0) -> bytes:
    """Return a request with a header that is right."""
    return (
        u32(40 + len(body))  # len
        + u32(opcode)
        + u64(UNIQUE)
        + u64(NODEID)
        + u32(UID)
        + u32(GID)
        + u32(PID)
        + u16(extlen)  # total_extlen, in units of 8 bytes
        + pad(2)
        + body
    )


def cut(whole: bytes, size: int) -> bytes:
    """Return the first ``size`` bytes, with a header that says so."""
    return (u32(size) + whole[4:])[:size]


@attrs.frozen
class Golden:
    """A message and what it means.

    Attributes:
      opcode: Its opcode.
      body: What follows the header, in one piece.
      request: What it decodes to.
      extensions: What follows the body.
      variant: What is special, where an opcode has several messages.
    """

    opcode: Opcode
    body: bytes = attrs.field(repr=False)
    request: r.Request
    extensions: bytes = attrs.field(default=b"", repr=False)
    variant: str = attrs.field(default="", kw_only=True)

    def __str__(self) -> str:
        return f"{self.opcode.name} {self.variant}".rstrip()

    @property
    def message(self) -> bytes:
        extlen = len(self.extensions) // 8
        return message(self.opcode, self.body + self.extensions, extlen=extlen)
