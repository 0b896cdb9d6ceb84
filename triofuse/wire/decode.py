"""Decoders: from the bytes of a request to its object.

The law: a decoder takes a whole message and returns one request, or raises
ProtocolError.  It accepts no message with a wrong length or with bytes left over.

A decoder is made from a class and a layout with the fields in the same order.  So
one ``unpack`` of header and struct gives the arguments of the class.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import TypeVar

from triofuse.wire.errors import ProtocolError
from triofuse.wire.layouts import (
    EXT_HEADER,
    IN_HEADER,
    NOTHING,
    SECCTX,
    SECCTX_HEADER,
    SUPP_GROUPS,
    Layout,
)
from triofuse.wire.opcodes import Opcode

__all__ = [
    "HEADER_SIZE",
    "Decoder",
    "Message",
    "arrayed",
    "creating",
    "fixed",
    "malformed",
    "named",
    "operation_name",
    "peek",
    "peek_caller",
    "peek_head",
    "peek_unique",
    "peek_user",
    "with_payload",
]

#: A whole request: bytes if it is small, else a view of a pooled buffer.
Message = bytes | memoryview

R = TypeVar("R")
Decoder = Callable[[Message], R]

#: The fields of fuse_in_header that a `Request` has: unique, nodeid, uid, gid, pid.
_CALLER = "8x2Q3I4x"
_EXTLEN_OFFSET = IN_HEADER.size - 4

#: The encoding of os.listdir and os.open, in which any bytes survive.
ENCODING = sys.getfilesystemencoding()
ENCODING_ERRORS = sys.getfilesystemencodeerrors()

#: The second word of an extension: up to 31 it is a number of contexts.
_MAX_NR_SECCTX = 31
_EXT_GROUPS = 32

_PEEK = struct.Struct("=2IQ")

#: Bytes of the shortest request.
HEADER_SIZE = IN_HEADER.size

#: Unpack len, opcode and unique of a message, without checks.
peek_head = _PEEK.unpack_from

#: Of fuse_in_header: opcode, unique, pid.
_PEEK_CALLER = struct.Struct("=4xIQ8x8xI")

#: Unpack the caller's ``uid`` of a message that `peek` accepts.
peek_user = struct.Struct("=24xI").unpack_from


def operation_name(opcode: int) -> str:
    """Return the name of an opcode, or ``opcode N`` if it has none."""
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"opcode {opcode}"


def malformed(message: Message, field: str, reason: str) -> ProtocolError:
    """Return the ProtocolError for a message."""
    opcode = int.from_bytes(message[4:8], sys.byteorder)
    return ProtocolError(operation_name(opcode), field, len(message), reason)


def peek(message: Message) -> tuple[int, int]:
    """Return opcode and unique of a message, and check its length.

    Raises:
      ProtocolError: ``len`` is not the length of the message.
    """
    try:
        length, opcode, unique = _PEEK.unpack_from(message)
    except struct.error:
        raise malformed(message, "header", f"wants {IN_HEADER.size} bytes") from None
    if length != len(message) or length < IN_HEADER.size:
        raise malformed(message, "len", f"says {length}")
    return opcode, unique


def peek_caller(message: Message) -> tuple[int, int, int]:
    """Return opcode, unique and the caller's thread (``pid``) of a message.

    Raises:
      ProtocolError: It is shorter than its header.
    """
    try:
        opcode, unique, pid = _PEEK_CALLER.unpack_from(message)
    except struct.error:
        raise malformed(message, "header", f"wants {IN_HEADER.size} bytes") from None
    return opcode, unique, pid


def peek_unique(message: Message) -> int:
    """Return the ``unique`` of a message that `peek` refuses, 0 if it has none."""
    whole = len(message) >= _PEEK.size
    return int(_PEEK.unpack_from(message)[2]) if whole else 0


def fixed(request: Callable[..., R], layout: Layout = NOTHING) -> Decoder[R]:
    """Make a decoder of header and struct, with nothing after them."""
    unpack = struct.Struct("=" + _CALLER + layout.codes).unpack
    size = IN_HEADER.size + layout.size

    def decode(message: Message) -> R:
        try:
            return request(*unpack(message))
        except struct.error:
            raise malformed(
                message, layout.cname or "body", f"ends at {size}"
            ) from None

    return decode


def named(
    request: Callable[..., R],
    layout: Layout = NOTHING,
    names: int = 1,
    *,
    paths: bool = False,
) -> Decoder[R]:
    """Make a decoder of header, struct and names that end with a NUL.

    With ``paths`` they may have slashes: names of extended attributes.
    """
    unpack_from = struct.Struct("=" + _CALLER + layout.codes).unpack_from
    offset = IN_HEADER.size + layout.size

    def decode(message: Message) -> R:
        if len(message) <= offset:
            raise malformed(message, layout.cname or "body", f"ends at {offset}")
        texts = _split(message, offset, len(message), names, paths=paths)
        return request(*unpack_from(message), *texts)

    def decode_one(message: Message) -> R:
        if len(message) <= offset:
            raise malformed(message, layout.cname or "body", f"ends at {offset}")
        name = str(message[offset:-1], ENCODING, ENCODING_ERRORS)
        if message[-1] or not name or ("/" in name and not paths) or "\0" in name:
            raise malformed(message, "name", "is no name with a NUL")
        return request(*unpack_from(message), name)

    if layout is NOTHING and names == 1 and not paths:
        return _one_name(request)
    return decode_one if names == 1 else decode


def _one_name(request: Callable[..., R]) -> Decoder[R]:
    """Make a fast decoder of header and one name: LOOKUP is the most frequent one."""
    unpack_from = struct.Struct("=" + _CALLER).unpack_from
    start, encoding, errors = HEADER_SIZE, ENCODING, ENCODING_ERRORS

    def decode(message: Message) -> R:
        try:
            unique, nodeid, uid, gid, pid = unpack_from(message)
        except struct.error:
            raise malformed(message, "body", f"ends at {start}") from None
        name = str(message[start:-1], encoding, errors)
        if message[-1] or not name or "/" in name or "\0" in name:
            raise malformed(message, "name", "is no name with a NUL")
        return request(unique, nodeid, uid, gid, pid, name)

    return decode


def creating(
    request: Callable[..., R],
    layout: Layout = NOTHING,
    *,
    target: bool = False,
    nameless: bool = False,
) -> Decoder[R]:
    """Make a decoder of header, struct, name, link target, and extensions.

    With ``nameless`` the name may be a slash: a TMPFILE has no name.
    """
    unpack_from = struct.Struct("=" + _CALLER + layout.codes).unpack_from
    offset = IN_HEADER.size + layout.size
    absent = layout.absent

    def decode(message: Message) -> R:
        end = len(message)
        extensions: tuple[tuple[tuple[str, bytes], ...], tuple[int, ...]] = ((), ())
        if message[_EXTLEN_OFFSET] or message[_EXTLEN_OFFSET + 1]:
            words = message[_EXTLEN_OFFSET : _EXTLEN_OFFSET + 2]
            end -= 8 * int.from_bytes(words, sys.byteorder)
            if end >= offset:
                extensions = _extensions(message, end)
        if end < offset:
            raise malformed(message, layout.cname or "body", f"ends at {offset}")
        texts = _split(message, offset, end, 1 + target, paths=True)
        if "/" in texts[0] and not (nameless and texts[0] == "/"):
            raise malformed(message, "name", "has a slash")
        return request(*unpack_from(message), *absent, *texts, *extensions)

    return decode


def with_payload(
    request: Callable[..., R], layout: Layout, size_field: str, *, name: bool = False
) -> Decoder[R]:
    """Make a decoder of header, struct, optional name, and payload.

    The field ``size_field`` has the size of the payload in bytes.  The payload is a
    view of the message: nothing is copied.
    """
    unpack_from = struct.Struct("=" + _CALLER + layout.codes).unpack_from
    offset = IN_HEADER.size + layout.size
    size_index = 5 + layout.fields.index(size_field)
    absent = layout.absent

    def decode(message: Message) -> R:
        try:
            fields = unpack_from(message)
        except struct.error:
            raise malformed(message, layout.cname, f"ends at {offset}") from None
        data = len(message) - fields[size_index]
        if data < offset or (data > offset and not name):
            raise malformed(message, size_field, f"says {fields[size_index]}")
        texts = _split(message, offset, data, 1, paths=True) if name else ()
        payload = memoryview(message)[data:]
        if not payload.readonly:
            payload = payload.toreadonly()
        return request(*fields, *absent, *texts, payload)

    return decode


def arrayed(request: Callable[..., R], layout: Layout, item: Layout) -> Decoder[R]:
    """Make a decoder of header, struct and as many items as its field ``count``."""
    unpack_from = struct.Struct("=" + _CALLER + layout.codes).unpack_from
    offset = IN_HEADER.size + layout.size

    def decode(message: Message) -> R:
        try:
            *caller, count = unpack_from(message)
        except struct.error:
            raise malformed(message, layout.cname, f"ends at {offset}") from None
        if len(message) - offset != count * item.size:
            raise malformed(message, "count", f"says {count}")
        return request(*caller, tuple(item.iter_unpack(message[offset:])))

    return decode


def _split(
    message: Message, start: int, end: int, count: int, *, paths: bool = False
) -> list[str]:
    """Return the ``count`` strings in a message, each of which ends with a NUL."""
    text = str(message[start:end], ENCODING, ENCODING_ERRORS)
    parts = text.split("\0")
    if len(parts) != count + 1 or parts.pop() or not all(parts):
        raise malformed(message, "name", f"is not {count} of them, each with a NUL")
    if "/" in text and not paths:
        raise malformed(message, "name", "has a slash")
    return parts


def _extensions(
    message: Message, start: int
) -> tuple[tuple[tuple[str, bytes], ...], tuple[int, ...]]:
    """Return security contexts and groups; skip blocks of unknown type.

    Blocks start unaligned and are padded to 8 bytes.

    Source: ``get_create_ext()`` in fs/fuse/dir.c.
    """
    contexts: tuple[tuple[str, bytes], ...] = ()
    groups: tuple[int, ...] = ()
    while start < len(message):
        block = bytes(message[start:])
        try:
            size, kind = EXT_HEADER.unpack_from(block)
            if not EXT_HEADER.size <= size <= len(block):
                raise malformed(message, "extension", f"says {size} bytes")
            if kind <= _MAX_NR_SECCTX:
                contexts = _security_contexts(message, block[:size])
            elif kind == _EXT_GROUPS:
                groups = _groups(block[EXT_HEADER.size : size])
        except struct.error:
            raise malformed(message, "extension", "is cut short") from None
        start += size + -size % 8
    return contexts, groups


def _security_contexts(message: Message, block: bytes) -> tuple[tuple[str, bytes], ...]:
    _, count = SECCTX_HEADER.unpack_from(block)
    contexts = []
    start = SECCTX_HEADER.size
    for _ in range(count):
        (size,) = SECCTX.unpack_from(block, start)
        name, nul, rest = block[start + SECCTX.size :].partition(b"\0")
        if not nul or len(rest) < size:
            raise malformed(message, "security context", f"says {size} bytes")
        contexts.append((str(name, ENCODING, ENCODING_ERRORS), rest[:size]))
        length = SECCTX.size + len(name) + 1 + size
        start += length + -length % 8
    return tuple(contexts)


def _groups(block: bytes) -> tuple[int, ...]:
    (count,) = SUPP_GROUPS.unpack_from(block)
    return struct.unpack_from(f"={count}I", block, SUPP_GROUPS.size)
