"""Inputs of ``atheris_wire.py`` that once led somewhere, tried in every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.atheris_wire import corpus, one_input

KEPT = Path(__file__).with_name("corpus.txt").read_text(encoding="ascii").split()


def test_golden_messages_hold() -> None:
    inputs = list(corpus())
    for data in inputs:
        one_input(data)
        for size in range(len(data)):
            one_input(data[:size])

    assert len(inputs) > 200


@pytest.mark.parametrize("line", KEPT)
def test_what_was_found_holds(line: str) -> None:
    one_input(bytes.fromhex(line))
