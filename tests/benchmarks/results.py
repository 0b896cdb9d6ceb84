"""What was measured, and what follows from it: medians, quartiles, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

import attrs

__all__ = ["Key", "Results", "Spread"]


@attrs.frozen
class Key:
    """One place in the table.

    Attributes:
      workload: The name of a `Workload`, or of what memory.py measures.
      mode: Where client and server ran; empty for memory.
      clients: How many at a time.
      server: Who served.
    """

    workload: str
    mode: str
    clients: int
    server: str

    def of(self, server: str) -> Key:
        """Return the same place of another server."""
        return attrs.evolve(self, server=server)


@attrs.frozen
class Spread:
    """A median between its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Take the quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)


@attrs.define
class Results:
    """Figures by place, one for each round; None for a round that failed.

    Attributes:
      figures: Seconds per unit; bytes for memory.
      cpu: Seconds of the server's CPU per unit.
      units: What a unit is, by workload.
      notes: What could not be measured, and why.
    """

    figures: dict[Key, list[float | None]] = attrs.Factory(dict)
    cpu: dict[Key, list[float | None]] = attrs.Factory(dict)
    units: dict[str, str] = attrs.Factory(dict)
    notes: list[str] = attrs.Factory(list)

    def add(self, key: Key, figure: float | None, cpu: float | None = None) -> None:
        """Add what a round gave."""
        self.figures.setdefault(key, []).append(figure)
        self.cpu.setdefault(key, []).append(cpu)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def figure(self, key: Key) -> Spread | None:
        """Return the spread of a place over the rounds."""
        return _spread(self.figures.get(key, ()))

    def cpu_figure(self, key: Key) -> Spread | None:
        """Return the spread of the server's CPU time."""
        return _spread(self.cpu.get(key, ()))

    def ratio(self, key: Key, other: Key, *, cpu: bool = False) -> Spread | None:
        """Return one place over another: the spread of the ratios within rounds.

        What slows the machine for a round slows both, and mostly cancels out.

        Args:
          key: What to divide.
          other: By what.
          cpu: Whether to take the server's CPU time, which depends least on what
            else runs.
        """
        figures = self.cpu if cpu else self.figures
        pairs = zip(figures.get(key, ()), figures.get(other, ()), strict=False)
        return _spread(a / b if a and b else None for a, b in pairs)


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if known else None
