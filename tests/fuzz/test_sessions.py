"""Sessions that get any bytes between requests: these are answered as ever."""

from __future__ import annotations

import logging
import os

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from tests.fuzz.connection import BookKeeper, connected
from tests.fuzz.ledger import Ledger
from tests.fuzz.profile import fuzzed
from tests.fuzz.shapes import SHAPES, encode_again
from tests.fuzz.test_messages import honest, spoiled
from tests.fuzz.values import opcodes, requests
from triofuse.testing import FakeKernel


@st.composite
def asked_for(draw: st.DrawFn) -> bytes:
    """A request with nothing wrong, but that nobody has made it."""
    opcode = draw(opcodes)
    return encode_again(SHAPES[opcode], opcode, draw(requests(SHAPES[opcode])))


strange = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.binary(min_size=4, max_size=200).map(honest),
    spoiled(),
    asked_for(),
    asked_for().map(lambda message: message + bytes(100_000)),
).filter(len)


def renamed(message: bytes) -> bytes:
    """Return a message with a ``unique`` that this kernel does not get to."""
    if len(message) < 16:
        return message
    return message[:15] + bytes([message[15] | 0x40]) + message[16:]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # what makes no sense is an error, each time


@fuzzed(120)
@given(st.lists(strange.map(renamed), max_size=12), st.booleans())
def test_requests_between_any_bytes_are_answered(
    messages: list[bytes], at_once: bool
) -> None:
    trio.run(_ask_between, messages, at_once)


async def _ask_between(messages: list[bytes], at_once: bool) -> None:
    ledger = Ledger()
    with trio.fail_after(10):
        async with connected(ledger) as kernel:
            for message in messages:
                await FakeKernel.send_raw(kernel, message)
                if not at_once:
                    await _ask(kernel)
            await _ask(kernel)
            await trio.testing.wait_all_tasks_blocked()
            assert kernel.session.in_flight() == []
            assert kernel.session.statistics().in_flight == 0
            assert kernel.pending == {}
    assert (ledger.running, ledger.destroyed) == (0, 1)
    assert kernel.answers.keys() >= kernel.asked.keys()


async def _ask(kernel: BookKeeper) -> None:
    entry, opened = await kernel.create(1, "a", os.O_RDWR)
    assert await kernel.read(entry.nodeid, opened.fh, 0, 7) == b"xxxxxxx"
    assert await kernel.write(entry.nodeid, opened.fh, 0, b"x" * 20_000) == 20_000
    await kernel.release(entry.nodeid, opened.fh)
    assert (await kernel.getattr(1)).is_dir
