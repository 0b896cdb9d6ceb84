"""Readers of the example see what changes, though their kernel caches it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, serving

pytestmark = pytest.mark.mount

#: Holds the clock open, and reads it until it has shown three times.
READER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
seen = []
while len(seen) < 3:
    text = os.pread(fd, 100, 0).decode()
    if text not in seen:
        seen.append(text)
        sys.stdout.write(text)
"""


@pytest.fixture
def mounted(mountpoint: str) -> Iterator[Path]:
    command = [str(EXAMPLES / "notify.py"), mountpoint]
    with serving(*command, mountpoint=mountpoint):
        yield Path(mountpoint)


def test_who_holds_the_clock_open_sees_it_run(mounted: Path) -> None:
    reader = [sys.executable, "-c", READER, str(mounted / "clock")]

    said = subprocess.run(reader, capture_output=True, text=True, timeout=20)

    times = [time.strptime(line, "%H:%M:%S") for line in said.stdout.splitlines()]
    seconds = [shown.tm_sec for shown in times]
    assert [(second - seconds[0]) % 60 for second in seconds] == [0, 1, 2]


def test_a_name_comes_and_goes(mounted: Path) -> None:
    seen: list[bool] = []
    deadline = time.monotonic() + 20
    while len(seen) < 4 and time.monotonic() < deadline:
        there = (mounted / "odd").exists()
        if seen[-1:] != [there]:
            seen.append(there)

    assert seen in ([True, False, True, False], [False, True, False, True])


def test_a_listing_comes_and_goes(mounted: Path) -> None:
    seen: list[list[str]] = []
    deadline = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < deadline:
        names = sorted(os.listdir(mounted))
        if seen[-1:] != [names]:
            seen.append(names)

    assert len(seen) == 3
    assert {tuple(names) for names in seen} == {("clock",), ("clock", "odd")}


def test_it_is_short() -> None:
    assert len((EXAMPLES / "notify.py").read_text().splitlines()) < 200
