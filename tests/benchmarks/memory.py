"""What a server takes of the memory: at rest, and with a thousand clients."""

from __future__ import annotations

from tests.benchmarks.process import memory, peak_rss
from tests.benchmarks.results import Key, Results
from tests.benchmarks.rounds import Rounds, run_client
from tests.benchmarks.running import BenchmarkError, Server, Workshop
from tests.benchmarks.shape import Shape

__all__ = ["CROWD", "PSS", "REST", "measure_memory"]

REST = "memory at rest (RSS)"
PSS = "memory at rest (PSS)"
CROWD = "memory under many clients (peak RSS)"

#: Each READ waits, where the library can, so that many are in flight.
SHAPE = Shape(size=1 << 16, pause="millisecond")

SERVERS = ("triofuse", "pyfuse3", "mfusepy", "floor")


def measure_memory(
    rounds: Rounds, workshop: Workshop, results: Results, clients: int
) -> None:
    """Start each server afresh in each round, one at a time."""
    for workload in (REST, PSS, CROWD):
        results.units[workload] = "bytes"
    for number in range(rounds.count):
        rounds.say(f"round {number + 1} of {rounds.count}: memory")
        for name in workshop.servers(SERVERS):
            if name in workshop.missing:
                continue
            figures: tuple[int | None, ...] = (None, None, None)
            try:
                with workshop.started(name, SHAPE) as server:
                    figures = _measure(server, rounds.seconds, clients)
            except BenchmarkError as exc:
                results.note(f"memory: {exc}")
            for workload, figure in zip((REST, PSS, CROWD), figures, strict=True):
                crowd = clients if workload is CROWD else 0
                results.add(Key(workload, "", crowd, name), figure)


def _measure(server: Server, seconds: float, clients: int) -> tuple[int, int, int]:
    run_client("stat", server, seconds=seconds)
    rss, pss = memory(server.pid)
    peak_rss(server.pid, reset=True)
    run_client("read_block", server, seconds=5 * seconds, clients=clients)
    return rss, pss, peak_rss(server.pid)
