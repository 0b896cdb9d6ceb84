"""Sessions through anything that programs, signals and unmounts can do to them."""

from __future__ import annotations

import errno
import logging
import math

import pytest
from hypothesis import given, strategies as st

from tests.fuzz.ledger import BUG, NOW, Plan
from tests.fuzz.profile import fuzzed
from tests.fuzz.walks import ENDS, STEPS, Step, walk
from triofuse.session.session import SessionOptions

plans = st.one_of(
    st.just(NOW),
    st.builds(
        Plan,
        checkpoints=st.integers(0, 3),
        seconds=st.sampled_from([0, 0, 1, 5, 20]),
        shielded=st.booleans(),
        error=st.sampled_from([0, 0, 0, errno.EACCES, BUG]),
        eager=st.booleans(),
        tells=st.sampled_from([False, False, True]),
    ),
)

steps = st.lists(
    st.builds(
        Step, st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 8), plans
    ),
    max_size=40,
)


@st.composite
def session_options(draw: st.DrawFn) -> SessionOptions:
    return {
        "max_handlers": draw(st.sampled_from([1, 2, 3, 1000])),
        "max_payload": draw(st.sampled_from([20_000, 64 << 20])),
        "timeout": draw(st.sampled_from([math.inf, 3])),
        "measure": draw(st.booleans()),
        "busy_poll": 0,  # which goes by the real clock
    }


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # bugs, as planned, thousands of them


@fuzzed(300)
@given(steps, st.sampled_from(ENDS), session_options())
def test_the_books_are_right_whatever_happens(
    steps: list[Step], end: str, options: SessionOptions
) -> None:
    walk(steps, end, **options)
