"""Coverage-guided fuzzing of the wire layer: not part of the test run.

It takes `atheris <https://pypi.org/project/atheris/>`_, which is no dependency::

    pip install atheris
    python -m tests.fuzz.atheris_wire [DIRECTORY] -max_total_time=600

begins with the golden messages and keeps what it finds in ``DIRECTORY``.  The law:
whatever comes in, nothing but `ProtocolError` comes out, and what is decoded says
what the bytes say.  An input that breaks it belongs into ``corpus.txt``, which
``test_corpus.py`` tries in every run.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.fuzz.shapes import DIALECTS, SHAPES, check
from tests.wire.golden import OPERATIONS as MESSAGES
from tests.wire.golden_control import CONTROL, INIT, OLDER
from triofuse.filesystem.config import KernelConfig
from triofuse.testing.messages import encode_request
from triofuse.testing.negotiation import Negotiated, Offer
from triofuse.testing.replies import ReplyRefusedError
from triofuse.wire.errors import HandshakeError, ProtocolError
from triofuse.wire.handshake import agree, decode_init, encode_init, propose
from triofuse.wire.layouts import IN_HEADER

__all__ = ["corpus", "one_input"]

_OPCODES = sorted(SHAPES)

#: What the first byte of an input says: a dialect, or what to do with the rest.
_RAW, _INIT = 0x80, 0x40


def one_input(data: bytes) -> None:
    """Try one input: a byte that says what it is, and the rest.

    A rest that is not raw gets a header that is right: it is a byte for the opcode,
    one for the length of the extensions, and the body.
    """
    if len(data) < 3:
        return
    choice, rest = data[0], data[1:]
    if choice & _INIT:
        _handshake(rest)
        return
    dialect = DIALECTS[(choice & ~_RAW) % len(DIALECTS)]
    if choice & _RAW:
        check(dialect, rest)
        return
    opcode, words, body = _OPCODES[rest[0] % len(_OPCODES)], rest[1], rest[2:]
    header = IN_HEADER.pack(IN_HEADER.size + len(body), opcode, 2, 1, 0, 0, 0, words)
    check(dialect, header + body)


def _handshake(message: bytes) -> None:
    """Take an INIT, and see that the kernel would understand the answer."""
    try:
        init = decode_init(message)
    except ProtocolError:
        return
    try:
        config = propose(init, frozenset({"readdirplus", "setlk", "getlk", "statx"}))
    except HandshakeError:
        assert init.major < 7
        return
    _answer(config)


def _answer(config: KernelConfig) -> None:
    agreement = agree(config, 256)
    assert str(agreement)
    assert agreement.flags == agreement.flags & config.offered & config.wanted
    assert agreement.max_write + IN_HEADER.size < agreement.receive_size
    offer = Offer(7, config.minor, config.max_readahead, config.offered)
    with suppress(ReplyRefusedError):
        negotiated = Negotiated.decode(offer, encode_init(config, agreement))
        assert negotiated.minor == agreement.minor
        if agreement.minor >= 23:  # before, the answer ends in flags
            assert negotiated.granted == agreement.flags


def corpus() -> Iterator[bytes]:
    """Yield the golden messages as inputs, raw and without their headers."""
    older = [older.golden for older in OLDER]
    for golden in [*MESSAGES, *CONTROL, *older]:
        words = len(golden.extensions) // 8
        opcode = _OPCODES.index(golden.opcode)
        for dialect in (0, 1):
            yield bytes([_RAW | dialect]) + golden.message
            yield bytes([dialect, opcode, words]) + golden.body + golden.extensions
    yield bytes([_INIT]) + INIT.message
    for size in (8, 16):
        yield bytes([_INIT]) + encode_request(26, 2, 0, (0, 0, 0), INIT.body[:size])


def main() -> None:
    """Search until told to stop."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    for name in [
        name for name in sys.modules if name.startswith(("triofuse", "tests."))
    ]:
        del sys.modules[name]  # to be imported again, with counters in it
    with atheris.instrument_imports(include=["triofuse.wire"]):
        counted = importlib.import_module("tests.fuzz.atheris_wire")
    with tempfile.TemporaryDirectory() as seeds:
        for number, data in enumerate(counted.corpus()):
            Path(seeds, str(number)).write_bytes(data)
        atheris.Setup([*sys.argv, seeds], counted.one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
