"""Run the benchmarks: ``python -m tests.benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks.bars import judge
from tests.benchmarks.memory import measure_memory
from tests.benchmarks.picture import draw
from tests.benchmarks.plan import PLAN, Workload, quick
from tests.benchmarks.results import Results
from tests.benchmarks.rounds import Rounds
from tests.benchmarks.running import NAMES, Workshop
from tests.benchmarks.table import as_json, figures_text, notes_text, verdicts_text

MEMORY = "memory"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says, and show it."""
    args = _read(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unmounts, too
    rounds = Rounds(args.rounds, 0.03 if args.quick else 0.25, _say)
    results = Results()
    machine = _machine()
    _say(f"load average {machine['load']:.2f}; the machine should be idle")
    with tempfile.TemporaryDirectory(prefix="triofuse-benchmarks-") as path:
        workshop = Workshop(Path(path), args.before)
        if args.servers:
            workshop.missing |= dict.fromkeys(set(NAMES) - set(args.servers), "")
        try:
            rounds.measure(_plan(args), workshop, results)
            if _wanted(MEMORY, args.only):
                crowd = 16 if args.quick else 1000
                measure_memory(rounds, workshop, results, crowd)
        except KeyboardInterrupt:
            results.note("interrupted: the rest is missing")
    verdicts = judge(results)
    print(figures_text(results), verdicts_text(verdicts), sep="\n\n")
    print(notes_text(results))
    if args.json:
        text = json.dumps(as_json(results, verdicts, machine), indent=1)
        args.json.write_text(text + "\n")
    if args.picture:
        args.picture.write_text(draw(results))


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure triofuse beside its peers, over the same filesystem.",
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--quick", action="store_true", help="everything small")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="only workloads whose name has this in it; may be repeated",
    )
    parser.add_argument(
        "--server",
        action="append",
        dest="servers",
        choices=NAMES,
        help="only this server; may be repeated",
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="DIR",
        help="another checkout of triofuse to compare with",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg")
    return parser.parse_args(arguments)


def _plan(args: argparse.Namespace) -> list[Workload]:
    plan = quick(PLAN) if args.quick else PLAN
    return [workload for workload in plan if _wanted(workload.name, args.only)]


def _wanted(name: str, only: list[str] | None) -> bool:
    return not only or any(part in name for part in only)


def _machine() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "versions": dict(_versions()),
    }


def _versions() -> list[tuple[str, str]]:
    names = ("triofuse", "trio", "attrs", "pyfuse3", "mfusepy")
    installed = {dist.name: dist.version for dist in metadata.distributions()}
    return [(name, installed[name]) for name in names if name in installed]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
