"""Decoding what kernels of older protocols send."""

from __future__ import annotations

import pytest

from tests.wire.golden_control import OLDER, Older
from tests.wire.messages import Golden, cut
from tests.wire.test_requests import ALL, decode
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import InitFlags
from triofuse.wire.control import CONTROL
from triofuse.wire.decode import Decoder
from triofuse.wire.errors import ProtocolError
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import operations_for

each_older = pytest.mark.parametrize("older", OLDER, ids=lambda o: str(o.golden))


def decoders_of(older: Older) -> dict[int, Decoder[r.Request]]:
    rows = operations_for(older.minor, older.flags)
    return {opcode: row.decode for opcode, row in rows.items()}


@each_older
def test_a_message_of_an_older_protocol_becomes_its_request(older: Older) -> None:
    assert decode(older.golden.message, decoders_of(older)) == older.golden.request


@each_older
def test_an_older_message_cut_short_is_refused(older: Older) -> None:
    whole = older.golden.message
    for size in range(len(whole)):
        with pytest.raises(ProtocolError):
            decode(cut(whole, size), decoders_of(older))


@pytest.mark.parametrize("golden", ALL, ids=str)
@pytest.mark.parametrize("minor", [0, 3, 4, 8, 9, 11, 12, 44, 45])
def test_other_requests_look_the_same_in_all_protocols(
    minor: int, golden: Golden
) -> None:
    shorter = {older.golden.opcode for older in OLDER if minor <= older.minor < 45}
    if golden.opcode in CONTROL or golden.opcode in shorter:
        return
    rows = operations_for(minor, InitFlags.SETXATTR_EXT)

    assert rows[golden.opcode].decode(golden.message) == golden.request


def test_a_setxattr_that_was_made_before_init_has_the_old_layout() -> None:
    """The kernel chooses the layout before it waits for INIT: fuse_setxattr()."""
    short = next(o for o in OLDER if o.golden.opcode == Opcode.SETXATTR)
    rows = operations_for(45, InitFlags.SETXATTR_EXT)

    assert rows[Opcode.SETXATTR].decode(short.golden.message) == short.golden.request
