"""How fast triofuse must be: each bar is a ratio of two figures, and its limit."""

from __future__ import annotations

import attrs

from tests.benchmarks.memory import REST
from tests.benchmarks.results import Key, Results, Spread
from tests.benchmarks.running import BEFORE

__all__ = ["BARS", "Bar", "Verdict", "judge"]


@attrs.frozen
class Bar:
    """A limit.

    Attributes:
      key: What is judged.
      other: What it is compared with.
      most: How much of the other's time (or memory) it may take.
      least: Or how often its speed it must reach; then ``most`` is 1 / ``least``.
      cpu: Whether it is the server's CPU time that counts.
    """

    key: Key
    other: Key
    most: float
    least: float | None = None
    cpu: bool = False

    @property
    def text(self) -> str:
        """What is judged, in words."""
        place = f"{self.key.workload}"
        if self.key.mode:
            place += f", {self.key.mode}"
        if self.cpu:
            place += ", CPU time"
        if self.other.of(self.key.server) == self.key:
            if self.key.clients > 1:
                place += f", {self.key.clients} clients"
            return f"{place}: vs {self.other.server}"
        difference = (
            f"{self.other.clients} client"
            if self.other.clients != self.key.clients
            else self.other.workload
        )
        return f"{place}, {self.key.clients} clients: vs {difference}"


@attrs.frozen
class Verdict:
    """A bar with what was measured.

    Attributes:
      ratio: Of time; of speed where the bar is one of speed; None if unmeasured.
      passed: None if unmeasured.
    """

    bar: Bar
    ratio: Spread | None
    passed: bool | None

    @property
    def word(self) -> str:
        """The verdict in one word."""
        return {True: "pass", False: "FAIL", None: "-"}[self.passed]

    @property
    def limit(self) -> str:
        """The limit with its direction."""
        if self.bar.least is None:
            return f"<= {self.bar.most:g}"
        return f">= {self.bar.least:g}"


def _time(
    workload: str,
    server: str,
    most: float,
    *,
    mode: str = "same",
    own: str = "triofuse",
) -> Bar:
    key = Key(workload, mode, 1, own)
    return Bar(key, key.of(server), most)


def _speed(workload: str, server: str, least: float, own: str = "triofuse") -> Bar:
    key = Key(workload, "same", 1, own)
    return Bar(key, key.of(server), 1 / least, least)


BARS = [
    _time("stat", "pyfuse3", 0.38),
    _time("stat", "mfusepy", 1.1),
    _time("stat", "floor", 1.75),
    _time("read 4 KiB", "pyfuse3", 0.38),
    _time("read 4 KiB", "floor", 1.75),
    _time("create+unlink", "pyfuse3", 0.5),
    _time("list 10,000 with attributes", "pyfuse3", 0.5),
    _speed("write 1 MiB", "floor", 0.9),
    _speed("read 1 MiB, passthrough", "below", 0.92, "passthrough"),
    _speed("write 1 MiB, passthrough", "below", 0.92, "passthrough"),
    _speed("read 4 KiB, passthrough", "below", 0.8, "passthrough"),
    _speed("write 4 KiB, passthrough", "below", 0.8, "passthrough"),
    _speed("read 1 MiB, file-backed", "pyfuse3-backed", 1.5, "triofuse-backed"),
    _time("stat", "pyfuse3", 0.45, mode="cross"),
    _time("stat", "floor", 0.6, mode="cross"),
    _time("await checkpoint", "pyfuse3", 0.8),
    Bar(
        Key("stat, many clients", "same", 1000, "triofuse"),
        Key("stat, many clients", "same", 1000, "floor"),
        2.0,
        cpu=True,
    ),
    Bar(
        Key("entry of 1,000,000", "same", 1, "triofuse"),
        Key("entry of 1,000", "same", 1, "triofuse"),
        1.3,
    ),
    Bar(Key(REST, "", 0, "triofuse"), Key(REST, "", 0, "pyfuse3"), 1.0),
    *(
        Bar(
            Key(workload, "same", 1, "triofuse"),
            Key(workload, "same", 1, BEFORE),
            most,
            cpu=True,
        )
        for workload, most in [
            ("stat", 1.02),
            ("read 4 KiB", 1.02),
            ("write 4 KiB", 1.02),
            ("create+unlink", 1.02),
            ("await checkpoint", 1.03),
        ]
    ),
]


def judge(results: Results) -> list[Verdict]:
    """Hold what was measured against each bar: its median counts."""
    return [_judge(bar, results) for bar in BARS]


def _judge(bar: Bar, results: Results) -> Verdict:
    ratio = results.ratio(bar.key, bar.other, cpu=bar.cpu)
    if ratio is None:
        return Verdict(bar, None, None)
    passed = ratio.median <= bar.most
    if bar.least is not None:
        ratio = Spread(1 / ratio.high, 1 / ratio.median, 1 / ratio.low)
    return Verdict(bar, ratio, passed)
