"""Bytes that no kernel would send are answered, and the session goes on."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress

import pytest
import trio

from tests.session.test_answers import Failing
from triofuse.testing import open_kernel
from triofuse.wire.control import CONTROL
from triofuse.wire.layouts import IN_HEADER
from triofuse.wire.opcodes import Opcode

#: Which nobody answers, or which end the session.
UNANSWERED = {
    Opcode.INIT,
    Opcode.FORGET,
    Opcode.BATCH_FORGET,
    Opcode.INTERRUPT,
    Opcode.NOTIFY_REPLY,
}


@pytest.mark.parametrize("seed", range(5))
async def test_every_opcode_with_any_body_is_answered(seed: int) -> None:
    chance = random.Random(seed)
    answered: Counter[int] = Counter()

    with trio.fail_after(30):
        async with open_kernel(Failing(), strict=False) as kernel:
            for opcode in {*range(60), *CONTROL, 2**31} - UNANSWERED:
                for _ in range(20):
                    body = chance.randbytes(chance.choice([0, 1, 8, 16, 40, 41, 200]))
                    with suppress(OSError):
                        await kernel.request(opcode, chance.randrange(4), body)
                    answered[opcode] += 1
            assert await kernel.read(2, 7, 0, 10) == b"fine"
            assert kernel.session.statistics().in_flight == 0

    assert set(answered.values()) == {20}


@pytest.mark.parametrize("opcode", sorted(UNANSWERED - {Opcode.INIT}))
async def test_a_control_request_that_makes_no_sense_is_dropped(opcode: int) -> None:
    with trio.fail_after(5):
        async with open_kernel(Failing(), strict=False) as kernel:
            for body in (b"", b"\xff" * 7, b"\xff" * 100):
                size = IN_HEADER.size + len(body)
                await kernel.send_raw(
                    IN_HEADER.pack(size, opcode, 1000, 1, 0, 0, 0, 0) + body
                )
            assert await kernel.read(2, 7, 0, 10) == b"fine"
