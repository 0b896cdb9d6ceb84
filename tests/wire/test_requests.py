"""Decoding: golden messages forwards, and everything that can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest

from tests.wire import oracle
from tests.wire.golden import (
    CONTEXTS,
    GROUPS,
    NO_CONTEXT,
    ONE_CONTEXT,
    OPERATIONS as MESSAGES,
    THREE_GROUPS,
    TWO_CONTEXTS,
    UNKNOWN,
)
from tests.wire.golden_control import CONTROL as CONTROL_MESSAGES, INIT
from tests.wire.messages import (
    CALLER,
    UNIQUE,
    Golden,
    cut,
    message,
    pad,
    u32,
    u64,
)
from triofuse.filesystem import requests as r
from triofuse.wire.control import CONTROL
from triofuse.wire.decode import Decoder, Message, operation_name, peek
from triofuse.wire.errors import ProtocolError
from triofuse.wire.handshake import decode_init
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS

ALL = [*MESSAGES, *CONTROL_MESSAGES]

DECODERS: dict[int, Decoder[r.Request]] = {
    **CONTROL,
    **{opcode: row.decode for opcode, row in OPERATIONS.items()},
}

RESERVED = {Opcode.CUSE_INIT_BSWAP_RESERVED, Opcode.INIT_BSWAP_RESERVED}


def decode(
    whole: Message, decoders: Mapping[int, Decoder[r.Request]] = DECODERS
) -> r.Request:
    """Decode as a session does: look at the header, then choose the decoder."""
    opcode, _ = peek(whole)
    return decoders[opcode](whole)


def corrupted(whole: bytes) -> Iterator[bytes]:
    """Yield the message with each single byte behind the opcode changed."""
    for place in range(8, len(whole)):
        for value in {0x00, 0x2F, 0xFF, whole[place] ^ 0x80} - {whole[place]}:
            yield whole[:place] + bytes([value]) + whole[place + 1 :]


each_message = pytest.mark.parametrize("golden", ALL, ids=str)


def test_there_is_a_golden_message_for_every_opcode() -> None:
    opcodes = {golden.opcode for golden in [*ALL, INIT]}

    assert opcodes == set(Opcode) - RESERVED


@each_message
def test_a_golden_message_is_as_long_as_the_header_says(golden: Golden) -> None:
    name = golden.opcode.name
    known = oracle.OPCODES[name if "CUSE" in name else f"FUSE_{name}"]
    payload = golden.body[known["request_fixed_size"] :]

    assert len(golden.body) >= known["request_fixed_size"]
    assert bool(payload) <= bool(known["payload_spec"])
    assert bool(golden.extensions) <= known["extensions_possible"]


@each_message
def test_a_message_becomes_its_request(golden: Golden) -> None:
    assert decode(golden.message) == golden.request
    assert decode(memoryview(golden.message)) == golden.request
    assert peek(golden.message) == (golden.opcode, UNIQUE)


@each_message
def test_a_message_cut_short_is_refused(golden: Golden) -> None:
    whole = golden.message
    for size in range(len(whole)):
        for shorter in (whole[:size], cut(whole, size)):
            with pytest.raises(ProtocolError) as refusal:
                decode(shorter)

            assert refusal.value.field
            assert refusal.value.length == size
            if size >= 8:
                assert refusal.value.operation == golden.opcode.name


@each_message
def test_a_message_with_a_byte_too_many_is_refused(golden: Golden) -> None:
    for byte in (b"\0", b"x"):
        longer = golden.message + byte
        for too_long in (longer, u32(len(longer)) + longer[4:]):
            with pytest.raises(ProtocolError, match=golden.opcode.name) as refusal:
                decode(too_long)

            assert refusal.value.length == len(longer)


@each_message
def test_a_corrupted_message_is_decoded_or_refused(golden: Golden) -> None:
    for whole in corrupted(golden.message):
        with suppress(ProtocolError):
            assert type(decode(whole)) is type(golden.request)


def test_a_refusal_says_what_is_wrong_with_what() -> None:
    with pytest.raises(ProtocolError) as refusal:
        decode(message(Opcode.OPEN, b"\0" * 7))

    assert str(refusal.value) == "OPEN of 47 bytes: fuse_open_in ends at 48"


def test_a_number_without_a_name_is_called_by_its_number() -> None:
    whole = u32(99) + message(7, b"\0" * 10)[4:]

    assert operation_name(12345) == "opcode 12345"
    with pytest.raises(ProtocolError, match="opcode 7 of 50 bytes: len says 99"):
        peek(whole)


# --- Names


@pytest.mark.parametrize(
    "text",
    [
        b"",  # no name
        b"\0",  # an empty name
        b"name",  # no NUL
        b"name\0\0",
        b"name\0rest",
        b"name\0rest\0",
    ],
)
@pytest.mark.parametrize(
    ("opcode", "struct"),
    [
        (Opcode.LOOKUP, b""),
        (Opcode.UNLINK, b""),
        (Opcode.LINK, u64(2)),
        (Opcode.GETXATTR, u32(8) + pad(4)),
        (Opcode.REMOVEXATTR, b""),
        (Opcode.SETXATTR, u32(0) * 3 + pad(4)),
        (Opcode.MKDIR, u32(0o755) + u32(0)),
        (Opcode.CREATE, u32(0) * 4),
    ],
)
def test_what_is_not_one_name_is_refused(
    opcode: Opcode, struct: bytes, text: bytes
) -> None:
    with pytest.raises(ProtocolError, match=r"name is|ends at"):
        decode(message(opcode, struct + text))


@pytest.mark.parametrize(
    "text", [b"old\0", b"\0new\0", b"old\0\0", b"old\0new", b"old\0new\0\0"]
)
@pytest.mark.parametrize("struct", [u64(2), u64(2) + u32(0) + pad(4)])
def test_what_is_not_two_names_is_refused(struct: bytes, text: bytes) -> None:
    opcode = Opcode.RENAME if len(struct) == 8 else Opcode.RENAME2

    with pytest.raises(ProtocolError, match="name is not 2 of them"):
        decode(message(opcode, struct + text))


@pytest.mark.parametrize(
    "whole",
    [
        message(Opcode.LOOKUP, b"a/b\0"),
        message(Opcode.RENAME, u64(2) + b"old\0a/b\0"),
        message(Opcode.MKDIR, u32(0) + u32(0) + b"a/b\0"),
        message(Opcode.SYMLINK, b"a/b\0target\0"),
        message(Opcode.SYMLINK, b"/\0target\0"),
        message(Opcode.CREATE, u32(0) * 4 + b"/\0"),
        message(Opcode.TMPFILE, u32(0) * 4 + b"//\0"),
    ],
)
def test_a_name_with_a_slash_is_refused(whole: bytes) -> None:
    with pytest.raises(ProtocolError, match="name"):
        decode(whole)


def test_the_name_of_an_extended_attribute_may_have_slashes() -> None:
    name = b"user.a/b\0"
    struct = u32(1) + u32(0) * 2 + pad(4)

    assert decode(message(Opcode.SETXATTR, struct + name + b"x")) == r.Setxattr(
        *CALLER, 1, 0, 0, "user.a/b", memoryview(b"x")
    )
    assert decode(message(Opcode.GETXATTR, u32(64) + pad(4) + name)) == r.Getxattr(
        *CALLER, 64, "user.a/b"
    )
    assert decode(message(Opcode.REMOVEXATTR, name)) == r.Removexattr(
        *CALLER, "user.a/b"
    )


def test_the_dots_may_be_looked_up() -> None:
    """With InitFlags.EXPORT_SUPPORT the kernel does."""
    for name in (".", ".."):
        request = decode(message(Opcode.LOOKUP, name.encode() + b"\0"))

        assert request == r.Lookup(*CALLER, name)


# --- Sizes and counts that lie


@pytest.mark.parametrize("size", [0, 3, 5, 0x1000, 0xFFFFFFFF])
@pytest.mark.parametrize(
    ("opcode", "struct", "field"),
    [
        (Opcode.WRITE, "{8}{8}{size}{4}{8}{4}{4}data", "size"),
        (Opcode.SETXATTR, "{size}{4}{4}{4}data", "size|name"),
        (Opcode.IOCTL, "{8}{4}{4}{8}{size}{4}data", "in_size"),
        (Opcode.NOTIFY_REPLY, "{8}{8}{size}{4}{8}{8}data", "size"),
    ],
)
def test_a_size_that_is_not_that_of_the_payload_is_refused(
    opcode: Opcode, struct: str, field: str, size: int
) -> None:
    parts = struct.replace("{", " {").replace("}", "} ").split()
    body = b"".join(_part(part, size) for part in parts)

    with pytest.raises(ProtocolError, match=field):
        decode(message(opcode, body))


def _part(part: str, size: int) -> bytes:
    if part == "{size}":
        return u32(size)
    return part.encode() if part.isalpha() else bytes(int(part.strip("{}")))


@pytest.mark.parametrize("count", [0, 1, 3, 0xFFFFFFFF])
def test_a_count_that_is_not_that_of_the_items_is_refused(count: int) -> None:
    items = u64(1) + u64(1) + u64(2) + u64(1)

    with pytest.raises(ProtocolError, match="count says"):
        decode(message(Opcode.BATCH_FORGET, u32(count) + pad(4) + items))
    with pytest.raises(ProtocolError, match="count says"):
        decode(message(Opcode.REMOVEMAPPING, u32(count) + items))


@pytest.mark.parametrize("length", [0, 39, 41, 0xFFFFFFFF])
def test_a_length_that_is_not_that_of_the_message_is_refused(length: int) -> None:
    whole = message(Opcode.STATFS, b"")

    with pytest.raises(ProtocolError, match=f"STATFS of 40 bytes: len says {length}"):
        decode(u32(length) + whole[4:])


# --- Extensions


def mkdir(extensions: bytes, *, extlen: int | None = None) -> r.Mkdir:
    words = len(extensions) // 8 if extlen is None else extlen
    body = u32(0o755) + u32(0o022) + b"dir\0" + extensions
    request = decode(message(Opcode.MKDIR, body, extlen=words))
    assert isinstance(request, r.Mkdir)
    return request


@pytest.mark.parametrize(
    ("extensions", "contexts", "groups"),
    [
        (b"", (), ()),
        (NO_CONTEXT, (), ()),
        (ONE_CONTEXT, (("security.selinux", b"a\0b"),), ()),
        (CONTEXTS, TWO_CONTEXTS, ()),
        (GROUPS, (), (0xC0FFEE,)),
        (THREE_GROUPS, (), (10, 20, 30)),
        (CONTEXTS + GROUPS, TWO_CONTEXTS, (0xC0FFEE,)),
        (UNKNOWN, (), ()),
        (UNKNOWN + CONTEXTS + UNKNOWN + GROUPS + UNKNOWN, TWO_CONTEXTS, (0xC0FFEE,)),
    ],
)
def test_extensions_are_cut_off_and_understood(
    extensions: bytes, contexts: tuple[tuple[str, bytes], ...], groups: tuple[int, ...]
) -> None:
    request = mkdir(extensions)

    assert request.name == "dir"
    assert request.security_contexts == contexts
    assert request.groups == groups


@pytest.mark.parametrize(
    ("extensions", "extlen"),
    [
        (CONTEXTS, 0),  # the extensions become part of the name
        (CONTEXTS, len(CONTEXTS) // 8 - 1),
        (CONTEXTS, len(CONTEXTS) // 8 + 1),  # the name becomes part of them
        (CONTEXTS, 0xFFFF),
        (GROUPS, 1),
        (GROUPS, 3),
    ],
)
def test_a_length_of_extensions_that_lies_is_refused(
    extensions: bytes, extlen: int
) -> None:
    with pytest.raises(ProtocolError, match="MKDIR"):
        mkdir(extensions, extlen=extlen)


@pytest.mark.parametrize(
    "block",
    [
        u32(0) + u32(99),  # would never end
        u32(7) + u32(99),
        u32(17) + u32(99) + pad(8),
        u32(0xFFFFFFFF) + u32(99) + pad(8),
        u32(8) + u32(32),  # groups without their number
        u32(16) + u32(32) + u32(2) + u32(10),
        u32(16) + u32(32) + u32(0xFFFFFFFF) + u32(10),
        u32(8) + u32(1),  # a context that is not there
        u32(16) + u32(1) + u32(0) + pad(4),  # without a name
        u32(24) + u32(1) + u32(1) + pad(4) + b"no nul.."[:8],
        u32(24) + u32(1) + u32(5) + pad(4) + b"name\0val",  # value of 5 bytes
        u32(24) + u32(2) + u32(3) + pad(4) + b"name\0val",  # no second context
    ],
)
def test_an_extension_that_lies_is_refused(block: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"extension|security context"):
        mkdir(block)


# --- INIT


def test_init_becomes_the_offer() -> None:
    assert decode_init(INIT.message) == INIT.request


def test_a_short_init_is_padded_with_zeros() -> None:
    """A 7.5 kernel sent eight bytes, one before 7.36 sixteen."""
    for size in range(48, len(INIT.message)):
        init = decode_init(cut(INIT.message, size))

        assert (init.major, init.minor) == (7, 45)


def test_a_long_init_is_cut() -> None:
    longer = message(Opcode.INIT, INIT.body + b"\xff" * 100)

    assert decode_init(longer) == INIT.request


def test_an_init_without_a_version_is_refused() -> None:
    for size in range(48):
        with pytest.raises(ProtocolError):
            decode_init(cut(INIT.message, size))
        with pytest.raises(ProtocolError):
            decode_init(INIT.message[:size])


def test_what_comes_before_init_is_refused() -> None:
    with pytest.raises(ProtocolError, match="STATFS of 40 bytes: opcode comes before"):
        decode_init(message(Opcode.STATFS, b""))
