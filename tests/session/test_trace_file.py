"""The trace file: what is in it, and that it can always be opened."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

import triofuse as t
from tests.examples.conftest import wait_mounted
from tests.running.programs import mount_line, write_program
from tests.session.probe import Probe
from triofuse.testing import open_kernel


class Telling(Probe):
    """Sends a notification in a request."""

    async def readlink(self, request: t.Readlink) -> str:
        await self.notifier.inval_entry(1, "plain")
        return "target"


def events_of(path: Path) -> list[dict[str, Any]]:
    """Read a trace file as Perfetto does: the last bracket may be missing."""
    text = path.read_text()
    if not text.endswith("]\n"):
        text += "]"
    events: list[dict[str, Any]] = json.loads(text)
    return events


def by(events: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """Return the events that have these fields."""
    return [e for e in events if all(e.get(k) == v for k, v in fields.items())]


def check_spans(events: list[dict[str, Any]]) -> None:
    """Check that on each track what begins ends, and in order."""
    depth: Counter[int] = Counter()
    last: dict[int, float] = {}
    for event in events:
        if event["ph"] not in "BE":
            continue
        track = event["tid"]
        assert event["ts"] >= last.get(track, 0)
        last[track] = event["ts"]
        depth[track] += 1 if event["ph"] == "B" else -1
        assert depth[track] >= 0
    assert not +depth


async def test_a_request_is_on_the_track_of_its_handler(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"

    async with open_kernel(Probe(), trace=path) as kernel:
        await kernel.lookup(1, "plain")
        with pytest.raises(FileNotFoundError):
            await kernel.lookup(1, "missing")

    events = events_of(path)
    check_spans(events)
    found, missing = by(events, ph="B", name="LOOKUP")
    assert found["args"]["name"] == "'plain'"
    (track,) = by(events, ph="M", name="thread_name", tid=found["tid"])
    assert track["args"]["name"].startswith("handler ")
    answers = [e["args"]["answer"] for e in by(events, ph="E")]
    assert any(answer.startswith("ENOENT") for answer in answers)
    assert any(answer.startswith("Entry(") for answer in answers)
    whole = by(events, cat="request", name="LOOKUP")
    assert [e["ph"] for e in whole] == ["b", "e", "b", "e"]
    assert whole[0]["ts"] <= found["ts"] <= whole[1]["ts"] <= missing["ts"]


async def test_requests_that_run_at_one_time_are_on_tracks_of_their_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trace.json"
    probe = Probe()

    async with open_kernel(probe, trace=path) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.open, 6, os.O_RDONLY)
            await probe.arrived.wait()
            await kernel.getattr(1)
            probe.let_go.set()

    events = events_of(path)
    check_spans(events)
    (opened,) = by(events, ph="B", name="OPEN")
    (asked,) = by(events, ph="B", name="GETATTR")
    assert opened["tid"] != asked["tid"]


async def test_interrupts_and_notifications_are_in_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"

    async with open_kernel(Telling(), trace=path) as kernel:
        await kernel.readlink(2)
        opened = await kernel.open(3, os.O_RDONLY)
        with trio.move_on_after(0.05):
            await kernel.read(3, opened.fh, 0, 100)

    events = events_of(path)
    check_spans(events)
    (readlink,) = by(events, ph="B", name="READLINK")
    (told,) = by(events, ph="B", name="notify inval_entry")
    assert told["tid"] == readlink["tid"]
    assert told["args"]["arguments"] == "1, 'plain'"
    (interrupt,) = by(events, ph="i", name="INTERRUPT")
    (read,) = by(events, ph="B", name="READ")
    assert interrupt["args"]["target"] == str(read["args"]["unique"])
    assert "cancelled" in [e["args"]["answer"] for e in by(events, ph="E")]


async def test_without_a_trace_file_methods_are_called_directly() -> None:
    probe = Probe()

    async with open_kernel(probe) as kernel:
        service = kernel.session._service
        assert service is not None
        methods = [bound[1] for bound in service._bound.values()]

    assert probe.getattr in methods


async def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with open_kernel(Probe(), trace=tmp_path / "none" / "trace.json"):
            pass


async def test_a_trace_that_is_no_path_is_named() -> None:
    with pytest.raises(TypeError, match="trace is the path of a file, not 5"):
        async with open_kernel(Probe(), trace=5):  # type: ignore[arg-type]
            pass


@pytest.mark.mount
def test_the_file_can_be_opened_after_a_kill(mountpoint: str, tmp_path: Path) -> None:
    program = write_program(tmp_path / "saying.py")
    path = tmp_path / "trace.json"
    with subprocess.Popen(
        [program, "a", mountpoint, "-f", "--trace", path, "-o", "clear_stale"],
        text=True,
    ) as server:
        wait_mounted(mountpoint, server)
        assert Path(mountpoint, "said").read_text()
        server.send_signal(signal.SIGKILL)
    subprocess.run(["umount", "-l", mountpoint], check=True)

    events = events_of(path)
    assert by(events, ph="B", name="READ")
    assert not path.read_text().endswith("]\n")
    assert mount_line(mountpoint) == []


@pytest.mark.mount
def test_debug_says_names_in_place_of_numbers(mountpoint: str, tmp_path: Path) -> None:
    program = write_program(tmp_path / "saying.py")
    with subprocess.Popen(
        [program, "a", mountpoint, "--debug"], stderr=subprocess.PIPE, text=True
    ) as server:
        wait_mounted(mountpoint, server)
        assert Path(mountpoint, "said").read_text()
        assert not Path(mountpoint, "absent").exists()
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=20)

    lines = [line for line in said.splitlines() if "triofuse.trace" in line]
    opened = r"\d+ -> OPEN nodeid=2 flags=O_RDONLY(\|\w+)* \(uid \d+, pid \d+ \S+\)$"
    assert any(re.search(opened, line) for line in lines)
    assert any("LOOKUP nodeid=1 name='absent'" in line for line in lines)
    assert any(line.endswith("<- ENOENT") for line in lines)
