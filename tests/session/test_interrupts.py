"""What a signal to a caller does to its request, queued or running."""

from __future__ import annotations

import pytest

from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.in_flight.table import InFlightTable, InterruptOutcome
from triofuse.wire.opcodes import Opcode


def arrival(opcode: Opcode, unique: int) -> ReceivedRequest:
    return opcode, unique, b"", 0.0


@pytest.mark.parametrize("waiting", [1, 2, 3])
def test_what_has_a_handler_to_start_in_is_started(waiting: int) -> None:
    pending = InFlightTable(limit=3)
    for unique in range(waiting):
        pending.waiting[unique] = arrival(Opcode.MKDIR, unique)

    assert pending.interrupt(0) is InterruptOutcome.CANCELLED
    assert 0 in pending.waiting
    assert pending.interrupted == {0}


def test_what_waits_for_a_busy_handler_never_starts() -> None:
    pending = InFlightTable(limit=3)
    for unique in range(4):
        pending.waiting[unique] = arrival(Opcode.MKDIR, unique)

    assert pending.interrupt(3) is InterruptOutcome.NEVER_STARTED
    assert 3 not in pending.waiting
    assert not pending.interrupted
