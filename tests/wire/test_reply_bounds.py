"""What cannot be sent: values out of bounds, and those at the very edge."""

from __future__ import annotations

import array
import errno
import math
import stat
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire import oracle
from tests.wire.golden import OPERATIONS as MESSAGES
from tests.wire.messages import CALLER
from tests.wire.oracle import golden_struct
from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import (
    Entry,
    FileAttr,
    FileLock,
    IoctlReply,
    Opened,
)
from triofuse.wire import attributes as a, encode as e
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS

REQUESTS: dict[int, Any] = {golden.opcode: golden.request for golden in MESSAGES}

# --- Lifetimes


@pytest.mark.parametrize(
    ("seconds", "wire"),
    [
        (0, (0, 0)),
        (0.0, (0, 0)),
        (1, (1, 0)),
        (0.5, (0, 500_000_000)),
        (86400.25, (86400, 250_000_000)),
        (2**32 - 1, (2**32 - 1, 0)),
        (2**32, (2**32, 0)),
        (1e300, (2**32, 0)),
        (math.inf, (2**32, 0)),
    ],
)
def test_a_lifetime_may_be_endless(seconds: float, wire: tuple[int, int]) -> None:
    attr = FileAttr(ino=1, mode=stat.S_IFREG, attr_valid=seconds)

    body = bytes(a.encode_attr(attr, REQUESTS[Opcode.GETATTR]))

    assert struct.unpack_from("=QI", body) == wire


@pytest.mark.parametrize("seconds", [-1, -0.5, -math.inf, math.nan])
def test_a_lifetime_cannot_be_negative(seconds: float) -> None:
    attr = FileAttr(ino=1, mode=stat.S_IFREG, attr_valid=seconds)

    with pytest.raises((ValueError, OverflowError, struct.error)):
        a.encode_attr(attr, REQUESTS[Opcode.GETATTR])


def test_a_birth_that_is_not_known_is_not_claimed() -> None:
    attr = FileAttr(ino=1, mode=stat.S_IFREG)

    body = bytes(a.encode_statx(attr, REQUESTS[Opcode.STATX]))

    assert struct.unpack_from("=I", body, 32) == (0x7FF,)


def test_a_negative_entry_says_how_long_the_name_is_missing() -> None:
    body = a.encode_entry(Entry.negative(2.5), REQUESTS[Opcode.LOOKUP])

    assert body == golden_struct(
        "fuse_entry_out",
        entry_valid=2,
        entry_valid_nsec=500_000_000,
        attr_valid=1,
        **{"attr.nlink": 1, "attr.blksize": 4096},
    )


# --- What cannot be sent


def _read(size: int) -> r.Read:
    return r.Read(*CALLER, 0, 0, size, 0, 0, 0)


def test_the_bytes_of_a_read_pass_through_uncopied() -> None:
    data = b"x" * 100
    view = memoryview(bytearray(data))

    sent = e.encode_data(view, _read(100))

    assert e.encode_data(data, _read(100)) is data
    assert isinstance(sent, memoryview)
    assert sent.obj is view.obj


def test_a_large_piece_of_what_no_cache_holds_is_copied() -> None:
    store = bytearray(16 << 20)
    store[-3:] = b"end"
    piece = memoryview(store)[-(64 << 10) :]

    sent = e.encode_data(piece, _read(1 << 20))
    small = e.encode_data(piece[1:], _read(1 << 20))
    whole = e.encode_data(bytearray(1 << 20), _read(1 << 20))

    assert sent == piece
    assert isinstance(sent, bytes)
    assert isinstance(small, memoryview)
    assert small.obj is store
    assert isinstance(whole, memoryview)


def test_a_read_may_answer_with_any_buffer() -> None:
    numbers = array.array("I", [1, 2, 3])

    assert bytes(e.encode_data(numbers, _read(12))) == numbers.tobytes()  # type: ignore[arg-type]
    assert bytes(e.encode_data(bytearray(), _read(12))) == b""


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"12345", ValueError),
        (bytearray(b"12345"), ValueError),
        (memoryview(array.array("I", [1, 2])), ValueError),  # 2 items, 8 bytes
        ("text", TypeError),
        (None, TypeError),
    ],
)
def test_a_read_cannot_answer_with_more_or_with_something_else(
    data: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        e.encode_data(data, _read(4))


@pytest.mark.parametrize("size", [-1, 10])
def test_a_write_cannot_write_more_than_there_was(size: int) -> None:
    request = r.Write(*CALLER, 0, 0, 9, 0, 0, 0, memoryview(b"some data"))

    assert e.encode_written(9, request) == golden_struct("fuse_write_out", size=9)
    with pytest.raises(ValueError, match=f"{size} bytes written where there were 9"):
        e.encode_written(size, request)


@pytest.mark.parametrize("encode", [e.encode_copied, e.encode_copied_32])
@pytest.mark.parametrize("size", [-1, 11])
def test_a_copy_cannot_copy_more_than_was_asked(
    encode: Callable[..., Any], size: int
) -> None:
    request = r.CopyFileRange(*CALLER, 1, 0, 2, 3, 0, 10, 0)

    with pytest.raises(ValueError, match=f"{size} bytes copied where 10"):
        encode(size, request)


@pytest.mark.parametrize("target", ["x" * 4096, "ä" * 2048, "a\0b"])
def test_a_target_that_is_too_long_or_has_a_nul_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="cannot be the target"):
        e.encode_target(target, REQUESTS[Opcode.READLINK])


def test_a_target_may_be_as_long_as_the_kernel_takes() -> None:
    request = REQUESTS[Opcode.READLINK]
    longest = oracle.LIMITS["readlink_max"]["value"]

    assert e.encode_target("x" * longest, request) == b"x" * longest


def test_ioctl_data_must_fit() -> None:
    request = REQUESTS[Opcode.IOCTL]

    with pytest.raises(ValueError, match="9 bytes of ioctl data, room for 8"):
        e.encode_ioctl(IoctlReply(0, b"123456789"), request)


@pytest.mark.parametrize(
    ("value", "size"), [(b"", 0), (b"value", 5), (bytearray(b"value"), 5)]
)
def test_an_attribute_is_answered_by_size_or_value(value: bytes, size: int) -> None:
    fitting = r.Getxattr(*CALLER, 64, "user.x")
    asking = r.Getxattr(*CALLER, 0, "user.x")

    assert bytes(e.encode_xattr(value, fitting)) == value
    assert e.encode_xattr(value, asking) == golden_struct(
        "fuse_getxattr_out", size=size
    )


def test_an_attribute_that_does_not_fit_is_erange() -> None:
    with pytest.raises(FuseError) as refusal:
        e.encode_xattr(b"value", r.Getxattr(*CALLER, 4, "user.x"))

    assert refusal.value.errno == errno.ERANGE


def test_names_of_attributes_are_answered_by_size_or_list() -> None:
    names = ["user.a", "user.b"]

    with pytest.raises(FuseError) as refusal:
        e.encode_xattr_names(names, r.Listxattr(*CALLER, 13))

    assert refusal.value.errno == errno.ERANGE
    assert e.encode_xattr_names(names, r.Listxattr(*CALLER, 14)) == b"user.a\0user.b\0"
    assert e.encode_xattr_names(iter(()), r.Listxattr(*CALLER, 14)) == b""
    asked = e.encode_xattr_names(names, r.Listxattr(*CALLER, 0))
    assert asked == golden_struct("fuse_getxattr_out", size=14)


@pytest.mark.parametrize("name", ["", "user.a\0user.b"])
def test_an_attribute_cannot_have_such_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="each is a str without a NUL"):
        e.encode_xattr_names(["user.x", name], r.Listxattr(*CALLER, 64))


@pytest.mark.parametrize("name", ["", "a/b", "/", "a\0b"])
def test_an_entry_cannot_have_such_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        e.encode_name(name)


@pytest.mark.parametrize(
    ("opcode", "value"),
    [
        (Opcode.LOOKUP, Entry(FileAttr(ino=-1, mode=stat.S_IFREG), nodeid=2)),
        (Opcode.GETATTR, FileAttr(ino=1, mode=stat.S_IFREG, size=2**64)),
        (Opcode.OPEN, Opened(fh=-1)),
        (Opcode.LSEEK, 2**63),
        (Opcode.POLL, -1),
        (Opcode.GETLK, FileLock(end=2**64)),
    ],
)
def test_a_number_that_no_field_holds_is_refused(opcode: Opcode, value: Any) -> None:
    with pytest.raises(struct.error):
        OPERATIONS[opcode].encode(value, REQUESTS[opcode])
