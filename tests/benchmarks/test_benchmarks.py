"""The benchmarks run: on triofuse alone, and with everything as small as it goes."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import STARTS, main
from tests.benchmarks.bars import BARS, judge
from tests.benchmarks.machine import Build, machine, machine_text, warnings
from tests.benchmarks.picture import draw
from tests.benchmarks.plan import PLAN
from tests.benchmarks.results import Key, Results
from tests.benchmarks.running import BEFORE, ROOT, Workshop
from tests.benchmarks.shape import DATA, Shape, file_name
from tests.benchmarks.table import figures_text, verdicts_text

#: What a client sees of a server, and what becomes of its writes.
LOOK = """
import hashlib, os, sys
os.chdir(sys.argv[1])
with open("data", "r+b") as data:
    data.seek(5000)
    data.write(b"written")
with open("new", "xb") as new:
    new.write(b"made")
print(sorted(os.listdir()), open("new").read(), os.stat("f0000001").st_size)
print(hashlib.sha256(open("data", "rb").read()).hexdigest())
os.unlink("new")
print(os.path.exists("new"), open("f0000002").read())
"""


@pytest.mark.mount
def test_the_whole_of_it_runs(tmp_path: Path) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.svg"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--rounds=1"]
    command += ["--server=triofuse", "--server=triofuse-backed", "--server=below"]
    command += [f"--json={figures}", f"--picture={picture}"]

    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )

    told = json.loads(figures.read_text())
    assert told["notes"] == []
    measured = {entry["workload"] for entry in told["figures"] if entry["spread"]}
    wanted = {work.name for work in PLAN if work.shape.files <= 10_000}
    assert wanted <= measured
    assert "git clone (run)" in done.stdout
    ElementTree.parse(picture)


@pytest.mark.mount
def test_another_checkout_is_measured_in_turn_with_this_one(tmp_path: Path) -> None:
    before, figures = tmp_path / "before", tmp_path / "figures.json"
    shutil.copytree(ROOT / "triofuse", before / "triofuse")
    with (before / "triofuse" / "__init__.py").open("a") as source:
        source.write(
            f"\nwith open({str(tmp_path / 'starts')!r}, 'a') as f: f.write('x')"
        )
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--rounds=2"]
    command += [f"--against={before}", "--only=await checkpoint", f"--json={figures}"]

    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=True)

    assert (tmp_path / "starts").read_text() == "x" * STARTS
    told = json.loads(figures.read_text())
    cells = {(entry["server"], entry["clients"]) for entry in told["figures"]}
    assert cells == {(who, n) for who in ("triofuse", "before") for n in (1, 16)}
    for entry in told["figures"]:
        assert len([cpu for cpu in entry["cpu"] if cpu > 0]) == 2 * STARTS
    assert [bar["bar"] for bar in told["bars"]] == [
        "await checkpoint, same, CPU time: vs before"
    ]


@pytest.mark.mount
def test_another_interpreter_is_measured_beside_this_one(tmp_path: Path) -> None:
    other, figures = tmp_path / "python", tmp_path / "figures.json"
    starts = tmp_path / "starts"
    other.write_text(f'#!/bin/sh\necho x >>{starts}\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--rounds=1"]
    command += [f"--python={other}", "--only=open+close", f"--json={figures}"]

    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=True)

    told = json.loads(figures.read_text())
    own, compared = told["machine"]["pythons"]
    assert own["version"] == compared["version"] == platform.python_version()
    assert {entry["server"] for entry in told["figures"]} == {
        "triofuse",
        Build.of(sys.executable).name,
    }
    assert len(starts.read_text().split()) == 1 + STARTS  # it is asked once


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--against", "/proc"], "/proc is no checkout"),
        (["--python", "/bin/true"], "/bin/true is no Python"),
        (["--python", "/proc/none"], "/proc/none is no Python"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)

    assert said in capsys.readouterr().err


def build(*, optimized: bool) -> Build:
    """Return a made-up interpreter."""
    return Build(
        interpreter="/opt/python",
        implementation="CPython",
        version="3.99.0",
        threads="t",
        optimized=optimized,
    )


def test_a_python_without_pgo_is_warned_of() -> None:
    assert "CPython-3.99.0t" in warnings([build(optimized=False)])[0]
    assert "PGO" not in "".join(warnings([build(optimized=True)]))


def test_machine_and_builds_are_told_in_words() -> None:
    text = machine_text(machine([build(optimized=False), build(optimized=True)]))

    assert f"Linux {platform.release()}" in text
    assert "CPython-3.99.0t (/opt/python, no PGO); CPython-3.99.0t (/opt/" in text
    assert "trio 0." in text


@pytest.mark.mount
@pytest.mark.parametrize("io", ["direct", "cached", "writeback"])
@pytest.mark.parametrize("server", ["triofuse", "pyfuse3", "mfusepy", "floor"])
def test_every_server_serves_the_same(server: str, io: str, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    if server in workshop.missing:
        pytest.skip(workshop.missing[server])
    content = bytearray(b"triofuse" * 1000)
    content[5000:5007] = b"written"

    with workshop.started(server, Shape(io=io, files=3, size=8000)) as running:
        command = [sys.executable, "-c", LOOK, running.directory]
        looked = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        )

    names = sorted([DATA, "new", *map(file_name, range(3))])
    assert looked.stdout.splitlines() == [
        f"{names} made 8",
        hashlib.sha256(content).hexdigest(),
        "False f0000002",
    ]


def results() -> Results:
    """Return two rounds of one workload, the second twice as slow for everybody."""
    made = Results(units={"stat": "request"})
    for slow in (1, 2):
        for server, seconds in {"triofuse": 2e-6, "pyfuse3": 8e-6}.items():
            made.add(Key("stat", "same", 1, server), slow * seconds, slow * 1e-6)
    return made


def test_a_ratio_is_taken_within_each_round() -> None:
    own = Key("stat", "same", 1, "triofuse")

    ratio = results().ratio(own, own.of("pyfuse3"))

    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == (0.25, 0.25, 0.25)


def test_a_round_that_failed_does_not_count() -> None:
    own = Key("stat", "same", 1, "triofuse")
    made = results()
    made.add(own, None)
    made.add(own.of("pyfuse3"), 1.0)

    ratio = made.ratio(own, own.of("pyfuse3"))

    assert ratio is not None
    assert ratio.high == 0.25


def test_a_bar_is_passed_failed_or_left_open() -> None:
    verdicts = {verdict.bar.text: verdict for verdict in judge(results())}

    assert verdicts["stat, same: vs pyfuse3"].word == "pass"
    assert verdicts["stat, same: vs floor"].word == "-"
    slower = results()
    own = Key("stat", "same", 1, "triofuse")
    slower.figures[own] = [1.0, 1.0]
    assert next(v for v in judge(slower) if v.bar.key == own).word == "FAIL"


def test_a_bar_of_speed_shows_how_often_the_speed_of_the_other_is_reached() -> None:
    bar = next(bar for bar in BARS if bar.least is not None)
    made = Results()
    made.add(bar.key, 1.0)
    made.add(bar.other, 10.0)

    verdict = next(verdict for verdict in judge(made) if verdict.bar is bar)

    assert verdict.ratio is not None
    assert verdict.ratio.median == 10


def test_every_bar_is_of_something_that_is_planned() -> None:
    planned = {
        Key(work.name, mode, clients, server)
        for work in PLAN
        for mode in work.modes
        for clients in work.clients
        for server in (*work.servers, BEFORE)
    }

    keys = {key for bar in BARS for key in (bar.key, bar.other) if key.mode}

    assert keys <= planned


def test_the_table_has_a_line_for_each_server() -> None:
    first, second = figures_text(results()).splitlines()[1:]

    assert first.split()[:6] == ["stat", "(request)", "same", "1", "triofuse", "3"]
    assert second.split()[0] == "pyfuse3"
    assert second.rstrip().endswith("1.00 [1.00..1.00]")  # of CPU time
    assert second.split("us ")[1].split()[1:4] == ["0.25", "[0.25..0.25]", "1.5"]
    assert "pass" in verdicts_text(judge(results()))


def test_the_picture_is_a_drawing_with_a_bar_for_each_ratio() -> None:
    drawing = ElementTree.fromstring(draw(results(), "a machine & a Python"))

    titles = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "stat(2), uncached" in titles
    assert "0.25, CPU 1.00" in titles
    bars = drawing.iter("{http://www.w3.org/2000/svg}rect")
    widths = {
        bar.get("class"): bar.get("width") for bar in bars if bar.get("x") == "230"
    }
    assert widths == {"own": "100", "own cpu": "400"}
    assert titles[-1] == "a machine & a Python"
