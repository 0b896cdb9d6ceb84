"""The rounds: every server does every workload once in each, one after the other.

Servers stay mounted through all rounds of a filesystem's shape; who idles costs
nothing.  Who begins changes from round to round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext

import attrs

from tests.benchmarks.plan import Workload
from tests.benchmarks.process import hog, pin
from tests.benchmarks.results import Key, Results
from tests.benchmarks.running import ROOT, BenchmarkError, Server, Workshop
from tests.benchmarks.shape import Shape

__all__ = ["Rounds", "run_client"]

#: Seconds that a client may take beyond its time: a thousand take a while to fork.
_CLIENT_TIMEOUT = 20


@attrs.frozen
class Rounds:
    """How to measure.

    Attributes:
      count: Rounds.
      seconds: How long each client works.
      say: What to do with a line on how far it is.
    """

    count: int
    seconds: float
    say: Callable[[str], None]

    def measure(
        self, plan: list[Workload], workshop: Workshop, results: Results
    ) -> None:
        """Measure all workloads, those of one shape together."""
        shapes: dict[Shape, list[Workload]] = {}
        for workload in plan:
            shapes.setdefault(workload.shape, []).append(workload)
            results.units[workload.name] = workload.unit
        for shape, workloads in shapes.items():
            with ExitStack() as stack:
                servers = _start(stack, shape, workloads, workshop, results)
                for number in range(self.count):
                    names = ", ".join(workload.name for workload in workloads)
                    self.say(f"round {number + 1} of {self.count}: {names}")
                    for workload in workloads:
                        self._round(number, workload, workshop, servers, results)

    def _round(
        self,
        number: int,
        workload: Workload,
        workshop: Workshop,
        servers: dict[str, Server],
        results: Results,
    ) -> None:
        """Have each server do a workload once, in each of its modes."""
        names = workshop.servers(workload.servers)
        able = [servers[name] for name in names if name in servers]
        turn = number % max(1, len(able))
        for mode, clients in _cells(workload):
            for server in able[turn:] + able[:turn]:
                key = Key(workload.name, mode, clients, server.name)
                if server.name not in servers:
                    continue
                if not self._sample(key, workload, server, results):
                    del servers[server.name]  # it may hang, and so would the rest

    def _sample(
        self, key: Key, workload: Workload, server: Server, results: Results
    ) -> bool:
        """Have one server do one workload; return whether it could."""
        client_cpus, server_cpus = _placement(key.mode)
        if server.pid:
            pin(server.pid, server_cpus)
        seconds = self.seconds * (3 if key.clients > 1 or workload.hog else 1)
        try:
            with hog(server_cpus) if workload.hog else nullcontext():
                took = run_client(
                    workload.measure,
                    server,
                    think=workload.think,
                    seconds=seconds,
                    clients=key.clients,
                    cpus=client_cpus,
                )
        except BenchmarkError as exc:
            results.note(f"{key.workload}, {key.mode}, {key.clients}: {exc}")
            results.add(key, None)
            return False
        results.add(key, took["seconds"], took["cpu"])
        return True


def _start(
    stack: ExitStack,
    shape: Shape,
    workloads: list[Workload],
    workshop: Workshop,
    results: Results,
) -> dict[str, Server]:
    """Start all servers that workloads of a shape need and that can be started."""
    needed = [name for workload in workloads for name in workload.servers]
    servers = {}
    for name in workshop.servers(dict.fromkeys(needed)):
        if name in workshop.missing:
            if reason := workshop.missing[name]:
                results.note(f"{name} is left out: {reason}")
            continue
        try:
            servers[name] = stack.enter_context(workshop.started(name, shape))
        except BenchmarkError as exc:
            results.note(str(exc))
    return servers


def _cells(workload: Workload) -> Iterator[tuple[str, int]]:
    """Yield the modes that this machine can do, with each number of clients."""
    for mode in workload.modes:
        if mode != "same" and len(os.sched_getaffinity(0)) == 1:
            continue
        for clients in workload.clients:
            yield mode, clients


def _placement(mode: str) -> tuple[list[int], list[int]]:
    """Return the CPUs of the client, and those of the server."""
    cpus = sorted(os.sched_getaffinity(0))
    if mode == "same":
        return cpus[-1:], cpus[-1:]
    return (cpus[:1], cpus[-1:]) if mode == "cross" else (cpus, cpus)


def run_client(
    measure: str,
    server: Server,
    *,
    seconds: float,
    think: float = 0,
    clients: int = 1,
    cpus: list[int] | None = None,
) -> dict[str, float]:
    """Run a client process; this process itself never touches a mount.

    Raises:
      BenchmarkError: It failed, or did not come to an end.
    """
    words = ["--seconds", seconds, "--think", think]
    words += ["--clients", clients, "--server", server.pid]
    module = [sys.executable, "-m", "tests.benchmarks.client"]
    command = [*module, measure, server.directory, *map(str, words)]
    if cpus:
        command += ["--cpus", *map(str, cpus)]
    limit = _CLIENT_TIMEOUT + 10 * seconds
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=True
        )
    except subprocess.TimeoutExpired:
        message = f"{server.name}: no end after {limit:.0f} s"
        raise BenchmarkError(message) from None
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.strip().splitlines()[-1:]
        message = f"{server.name}: the client failed: {''.join(last)}"
        raise BenchmarkError(message) from None
    took: dict[str, float] = json.loads(done.stdout)
    return took
