"""Whatever a method may answer, the kernel reads the same out of the reply."""

from __future__ import annotations

import math
import stat
import struct
from functools import cache
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from tests.fuzz.profile import fuzzed
from tests.fuzz.shapes import SHAPES
from tests.fuzz.values import ANSWERS, attributes, requests
from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import InitFlags
from triofuse.filesystem.replies import Entry, FileAttr, Statfs
from triofuse.testing import replies as f
from triofuse.testing.awaited import AwaitedReply
from triofuse.testing.negotiation import Negotiated, Offer
from triofuse.wire import layouts
from triofuse.wire.attributes import encode_attr
from triofuse.wire.encode import encode_error, encode_header
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import operations_for

FORMATS: dict[int, f.ReplyFormat[Any]] = {
    Opcode.LOOKUP: f.ENTRY,
    Opcode.GETATTR: f.ATTR,
    Opcode.SETATTR: f.ATTR,
    Opcode.READLINK: f.TARGET,
    Opcode.SYMLINK: f.made(0o120000),
    Opcode.MKNOD: f.made(0o010000),
    Opcode.MKDIR: f.made(0o040000),
    Opcode.LINK: f.ENTRY,
    Opcode.OPEN: f.OPENED,
    Opcode.OPENDIR: f.OPENED,
    Opcode.READ: f.BYTES,
    Opcode.STATFS: f.STATFS,
    Opcode.GETXATTR: f.BYTES,
    Opcode.LISTXATTR: f.NAMES,
    Opcode.GETLK: f.LOCK,
    Opcode.CREATE: f.CREATED,
    Opcode.TMPFILE: f.CREATED,
    Opcode.BMAP: f.BLOCK,
    Opcode.IOCTL: f.IOCTL,
    Opcode.POLL: f.REVENTS,
    Opcode.LSEEK: f.OFFSET,
    Opcode.COPY_FILE_RANGE: f.COPIED_32,
    Opcode.STATX: f.STATX,
    Opcode.COPY_FILE_RANGE_64: f.COPIED,
}

minors = st.sampled_from([45, 45, 0, 3, 4, 8, 9])


@cache
def negotiated(minor: int) -> Negotiated:
    """Return what a kernel and a server agree on that speak 7.minor."""
    answer = (7, minor) + (0,) * (len(layouts.INIT_OUT.fields) - 2)
    return Negotiated.decode(Offer(minor=minor), layouts.INIT_OUT.pack(*answer))


def told(minor: int, opcode: int, request: r.Request, answer: Any) -> Any:
    """Return what the kernel makes of an answer."""
    row = operations_for(minor, InitFlags(0))[opcode]
    body = bytes(row.encode(answer, request))
    header = encode_header(request.unique, len(body))
    assert layouts.OUT_HEADER.unpack(header) == (16 + len(body), 0, request.unique)
    expected = (
        f.written(request.size) if isinstance(request, r.Write) else FORMATS[opcode]
    )
    room = 4095 if opcode == Opcode.READLINK else _room(request)
    pending = AwaitedReply(opcode, 1, request.unique, b"", expected, room)
    pending.answer(0, body, negotiated(minor))
    return pending.value


def _room(request: r.Request) -> int:
    size: int = getattr(request, "out_size", getattr(request, "size", 0)) or 0
    return size


def as_known(minor: int, answer: Any) -> Any:
    """Return an answer without what an older protocol cannot say."""
    match answer:
        case FileAttr() if minor < 9:
            return attrs.evolve(answer, blksize=0, flags=0)
        case Entry():
            return attrs.evolve(answer, attr=as_known(minor, answer.attr))
        case (Entry() as entry, opened):
            return as_known(minor, entry), opened
        case Statfs() if minor < 4:
            return attrs.evolve(answer, frsize=0)
    return answer


def test_every_answer_is_known() -> None:
    assert {*FORMATS, Opcode.WRITE} == set(ANSWERS)


_KINDS: dict[int, int] = {Opcode.MKDIR: stat.S_IFDIR, Opcode.SYMLINK: stat.S_IFLNK}


@fuzzed(1500)
@given(minors, st.sampled_from(sorted(ANSWERS)), st.data())
def test_the_kernel_reads_what_was_answered(
    minor: int, opcode: int, data: st.DataObject
) -> None:
    request: Any = data.draw(requests(SHAPES[opcode]))
    answer = data.draw(ANSWERS[opcode](request))
    made = answer[0] if isinstance(answer, tuple) else answer
    if isinstance(made, Entry) and opcode not in {Opcode.LOOKUP, Opcode.LINK}:
        # What was made is what was to be made.
        kind = _KINDS.get(opcode) or stat.S_IFMT(made.attr.mode)
        made.attr.mode = kind | stat.S_IMODE(made.attr.mode)
        if hasattr(request, "mode"):
            request = attrs.evolve(request, mode=made.attr.mode)
    if opcode == Opcode.LISTXATTR:
        request = attrs.evolve(request, size=1 << 20)
    if opcode == Opcode.GETXATTR and request.size == 0:
        return  # which asks for the size

    assert told(minor, opcode, request, answer) == (
        answer if opcode == Opcode.STATX else as_known(minor, answer)
    )


@fuzzed(300)
@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_an_attribute_is_told_by_size_or_value_or_does_not_fit(
    value: bytes, size: int, view: bool
) -> None:
    request = r.Getxattr(2, 3, 0, 0, 0, size, "user.x")
    encode = operations_for(45, InitFlags(0))[Opcode.GETXATTR].encode
    answer = memoryview(bytearray(value)) if view else value

    if size == 0:
        assert struct.unpack("=I4x", encode(answer, request)) == (len(value),)
    elif size < len(value):
        with pytest.raises(FuseError, match="range"):
            encode(answer, request)
    else:
        assert bytes(encode(answer, request)) == value


@fuzzed(300)
@given(st.floats(0, 2.0**33, allow_nan=False), attributes())
def test_a_lifetime_is_never_prolonged_and_lacks_a_nanosecond_at_most(
    seconds: float, attr: FileAttr
) -> None:
    body = bytes(encode_attr(attrs.evolve(attr, attr_valid=seconds), None))  # type: ignore[arg-type]

    whole, nanoseconds = struct.unpack_from("=QI", body)

    assert nanoseconds < 10**9
    if seconds >= 2**32:
        assert (whole, nanoseconds) == (2**32, 0)
    else:
        assert whole == math.floor(seconds)
        assert 0 <= (seconds - whole) * 1e9 - nanoseconds < 1


@fuzzed(100)
@given(st.integers(1, 511), st.integers(2, 2**64 - 1))
def test_an_error_is_told(error: int, unique: int) -> None:
    assert layouts.OUT_HEADER.unpack(encode_error(unique, error)) == (
        16,
        -error,
        unique,
    )


@fuzzed(500)
@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_for_a_reply_are_a_value_or_are_refused(
    opcode: int, body: bytes, room: int
) -> None:
    """So that a test of a server fails with what is wrong, not with the kernel."""
    sizes = sum(struct_.size for struct_ in FORMATS[opcode].structs)
    for whole in (body, body.ljust(sizes, b"\1")[: sizes + room]):
        pending = AwaitedReply(opcode, 1, 2, b"", FORMATS[opcode], room)
        try:
            pending.answer(0, whole, negotiated(45))
        except f.ReplyRefusedError:
            assert pending.error is not None
        assert pending.answered.is_set()
