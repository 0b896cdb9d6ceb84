"""Run the benchmarks: ``python -m tests.benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.bars import judge
from tests.benchmarks.machine import Build, machine, machine_text, warnings
from tests.benchmarks.memory import measure_memory
from tests.benchmarks.picture import draw
from tests.benchmarks.plan import PLAN, Workload, compared, quick
from tests.benchmarks.results import Results
from tests.benchmarks.rounds import Rounds
from tests.benchmarks.running import BEFORE, NAMES, ROOT, Variant, Workshop
from tests.benchmarks.table import as_json, figures_text, notes_text, verdicts_text

MEMORY = "memory"

#: Rounds of everything.
ROUNDS = 7

#: Rounds of a comparison, and how often it starts its servers afresh: two processes
#: of the same program differ by a few percent for as long as they live.
ROUNDS_COMPARED = 8
STARTS = 4
ROUNDS_HELP = f"{ROUNDS}; of a comparison {ROUNDS_COMPARED}, {STARTS} times"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says, and show it."""
    args = _read(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unmounts, too
    builds = [Build.of(sys.executable), *args.pythons]
    told = machine(builds)
    _say(machine_text(told))
    for warning in warnings(builds):
        _say(f"warning: {warning}")
    results = Results()
    with tempfile.TemporaryDirectory(prefix="triofuse-benchmarks-") as path:
        workshop = Workshop(Path(path), _variants(args))
        if args.servers:
            workshop.missing |= dict.fromkeys(set(NAMES) - set(args.servers), "")
        try:
            _measure(args, workshop, results)
        except KeyboardInterrupt:
            results.note("interrupted: the rest is missing")
    verdicts = [v for v in judge(results) if v.ratio or not workshop.variants]
    print(figures_text(results), verdicts_text(verdicts), sep="\n\n")
    print(notes_text(results))
    if args.json:
        text = json.dumps(as_json(results, verdicts, told), indent=1)
        args.json.write_text(text + "\n")
    if args.picture:
        args.picture.write_text(draw(results, machine_text(told)))


def _measure(args: argparse.Namespace, workshop: Workshop, results: Results) -> None:
    comparing = bool(workshop.variants)
    count = args.rounds or (ROUNDS_COMPARED if comparing else ROUNDS)
    rounds = Rounds(count, 0.03 if args.quick else 0.25, _say)
    for _ in range(STARTS if comparing else 1):
        rounds.measure(_plan(args, comparing=comparing), workshop, results)
    if _wanted(MEMORY, args.only) and (args.only or not comparing):
        crowd = 16 if args.quick else 1000
        measure_memory(rounds, workshop, results, crowd)


def _plan(args: argparse.Namespace, *, comparing: bool) -> list[Workload]:
    plan = quick(PLAN) if args.quick else PLAN
    if comparing and not args.only:
        return compared(plan)
    return [workload for workload in plan if _wanted(workload.name, args.only)]


def _wanted(name: str, only: list[str] | None) -> bool:
    return not only or any(part in name for part in only)


def _variants(args: argparse.Namespace) -> dict[str, Variant]:
    """Return what the server of triofuse is compared with, by name."""
    variants = {}
    for number, build in enumerate(args.pythons):
        same = build.name in {other.name for other in args.pythons[:number]}
        name = f"{build.name}-{number + 1}" if same else build.name
        variants[name] = Variant(ROOT, build.interpreter)
    if args.against:
        variants[BEFORE] = Variant(args.against)
    return variants


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure triofuse beside its peers, over the same filesystem.",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=ROUNDS_HELP)
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
        "--against",
        type=_checkout,
        metavar="DIR",
        help="compare this checkout with another one, the server 'before'",
    )
    parser.add_argument(
        "--python",
        action="append",
        dest="pythons",
        default=[],
        type=_build,
        metavar="PROGRAM",
        help="compare this interpreter with another one; may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg")
    args = parser.parse_args(arguments)
    if args.servers is None and (args.against or args.pythons):
        args.servers = ["triofuse"]  # peers are not what is asked about
    return args


def _checkout(word: str) -> Path:
    path = Path(word).resolve()
    if not (path / "triofuse" / "__init__.py").exists():
        message = f"{word} is no checkout: there is no {word}/triofuse/__init__.py"
        raise argparse.ArgumentTypeError(message)
    return path


def _build(word: str) -> Build:
    try:
        build = Build.of(word)
    except (OSError, ValueError, subprocess.CalledProcessError) as exc:
        message = f"{word} is no Python that runs: {exc}"
        raise argparse.ArgumentTypeError(message) from None
    if build.lacks:
        install = f"{word} -m pip install {' '.join(build.lacks)}"
        message = f"{word} lacks what triofuse depends on: {install}"
        raise argparse.ArgumentTypeError(message)
    return build


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
