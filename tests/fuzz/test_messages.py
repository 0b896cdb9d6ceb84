"""Any bytes become a request that says what they say, or a ProtocolError."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, strategies as st

from tests.fuzz.atheris_wire import one_input
from tests.fuzz.profile import fuzzed
from tests.fuzz.shapes import DIALECTS, Dialect, check, encode_again
from tests.fuzz.values import opcodes, requests
from tests.wire.golden import OPERATIONS as MESSAGES
from tests.wire.golden_control import CONTROL, INIT, OLDER
from triofuse.wire.layouts import IN_HEADER
from triofuse.wire.opcodes import Opcode

dialects = st.sampled_from(DIALECTS)
goldens = st.sampled_from([*MESSAGES, *CONTROL, *(older.golden for older in OLDER)])

#: Parts of messages that mean something.
words = st.one_of(
    st.binary(max_size=24),
    st.sampled_from([b"\0", b"/", b"name\0", b"\xff" * 8, b"\xff" * 4]),
    st.integers(0, 300).map(lambda number: struct.pack("=I", number)),
    st.integers(0, 300).map(lambda number: struct.pack("=Q", number)),
)


def honest(message: bytes) -> bytes:
    """Return a message with a length that is right."""
    return struct.pack("=I", len(message)) + message[4:]


@fuzzed(300)
@given(dialects, st.binary(max_size=300), st.booleans())
def test_any_bytes_are_decoded_or_refused(
    dialect: Dialect, message: bytes, right: bool
) -> None:
    check(dialect, honest(message) if right and len(message) >= 4 else message)


@fuzzed(1000)
@given(
    dialects,
    opcodes,
    st.lists(words, max_size=12).map(b"".join),
    st.one_of(st.just(0), st.integers(0, 12)),
)
def test_any_body_is_decoded_or_refused(
    dialect: Dialect, opcode: int, body: bytes, extlen: int
) -> None:
    length = IN_HEADER.size + len(body)
    check(dialect, IN_HEADER.pack(length, opcode, 2, 1, 0, 0, 0, extlen) + body)


@st.composite
def spoiled(draw: Any) -> bytes:
    """A message with a few of its parts changed, removed or put in."""
    message = bytearray(draw(goldens).message)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(message)))
        end = start + draw(st.sampled_from([0, 0, 1, 4, 8, 16]))
        message[start:end] = draw(words)
    whole = bytes(message)
    return honest(whole) if len(whole) >= 4 and draw(st.booleans()) else whole


@fuzzed(1000)
@given(dialects, spoiled())
def test_a_spoiled_message_is_decoded_or_refused(
    dialect: Dialect, message: bytes
) -> None:
    check(dialect, message)


@fuzzed(1000)
@given(dialects, opcodes, st.data())
def test_what_is_encoded_is_decoded(
    dialect: Dialect, opcode: int, data: st.DataObject
) -> None:
    if opcode not in dialect.decoders:
        return
    shape = dialect.shapes[opcode]
    request = data.draw(requests(shape))

    message = encode_again(shape, opcode, request)

    assert dialect.decoders[opcode](message) == request
    assert dialect.decoders[opcode](memoryview(message)) == request


@fuzzed(200)
@given(st.lists(words, max_size=10), st.integers(0, 60), st.booleans())
def test_any_init_is_agreed_on_or_refused(
    parts: list[bytes], kept: int, golden: bool
) -> None:
    body = (INIT.body[:kept] if golden else b"") + b"".join(parts)
    length = IN_HEADER.size + len(body)
    message = IN_HEADER.pack(length, Opcode.INIT, 2, 0, 0, 0, 0, 0) + body

    one_input(b"\x40" + message)
