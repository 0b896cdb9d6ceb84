"""A client process: does one measure for a while, prints what it took.

    python -m tests.benchmarks.client MEASURE DIRECTORY --seconds S [--clients N]

With several clients it forks them first, then lets them all begin at once.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import struct
import sys
import time

from tests.benchmarks.measures import MEASURES, Step
from tests.benchmarks.process import cpu_seconds

#: What each client reports: units done, and seconds that they took.
_REPORT = struct.Struct("=Qd")


def main() -> None:
    """Do what the command line says; print seconds and server CPU per unit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("directory")
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--think", type=float, default=0, help="seconds, untimed")
    parser.add_argument("--server", type=int, default=0, help="whose CPU time counts")
    parser.add_argument("--cpus", type=int, nargs="*", default=[])
    args = parser.parse_args()
    if args.cpus:
        os.sched_setaffinity(0, args.cpus)
    gc.disable()
    run = _alone if args.clients == 1 else _together
    print(json.dumps(run(args)))


def _alone(args: argparse.Namespace) -> dict[str, float]:
    """Work in this very process."""
    with MEASURES[args.measure](args.directory) as step:
        step()  # what is only the first time is nobody's measure
        cpu = cpu_seconds(args.server)
        units, seconds = _work(step, args.seconds, args.think)
        cpu = cpu_seconds(args.server) - cpu
    return {"seconds": seconds / units, "cpu": cpu / units}


def _work(step: Step, duration: float, think: float) -> tuple[int, float]:
    """Repeat a step until the time is over, at least once."""
    if think:
        return _work_and_think(step, duration, think)
    clock = time.perf_counter
    units = 0
    start = now = clock()
    end = start + duration
    while now < end:
        units += step()
        now = clock()
    return units, now - start


def _work_and_think(step: Step, duration: float, think: float) -> tuple[int, float]:
    """Do something else for ``think`` seconds before each step; it does not count."""
    clock = time.perf_counter
    units, spent = 0, 0.0
    end = clock() + duration
    while (now := clock()) < end:
        while clock() < now + think:
            pass
        start = clock()
        units += step()
        spent += clock() - start
    return units, spent


def _together(args: argparse.Namespace) -> dict[str, float]:
    """Fork the clients, wait until all are ready, let them go."""
    ready, go, reports = os.pipe(), os.pipe(), os.pipe()
    for _ in range(args.clients):
        if os.fork() == 0:
            os.close(go[1])
            _client(args, ready[1], go[0], reports[1])
    os.close(ready[1])
    os.close(reports[1])
    _read_all(ready[0], args.clients)
    cpu = cpu_seconds(args.server)
    os.close(go[1])  # the end of file wakes them all
    read = _read_all(reports[0], args.clients * _REPORT.size)
    cpu = cpu_seconds(args.server) - cpu
    for _ in range(args.clients):
        os.wait()
    done = list(_REPORT.iter_unpack(read))
    rate = sum(units / seconds for units, seconds in done)
    return {"seconds": 1 / rate, "cpu": cpu / sum(units for units, _ in done)}


def _client(args: argparse.Namespace, ready: int, go: int, reports: int) -> None:
    """Be one client of many, to the end of the process."""
    status = 1
    try:
        with MEASURES[args.measure](args.directory) as step:
            step()
            os.write(ready, b"r")
            os.read(go, 1)
            os.write(reports, _REPORT.pack(*_work(step, args.seconds, args.think)))
        status = 0
    except OSError as exc:
        print(exc, file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _read_all(fd: int, size: int) -> bytes:
    read = b""
    while len(read) < size:
        piece = os.read(fd, size - len(read))
        if not piece:
            sys.exit("a client of several failed")
        read += piece
    return read


if __name__ == "__main__":
    main()
