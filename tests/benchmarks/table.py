"""The results as text, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from tests.benchmarks.bars import Verdict
from tests.benchmarks.results import Key, Results, Spread

__all__ = ["as_json", "figures_text", "notes_text", "verdicts_text"]

_HEADINGS = (
    *("workload", "CPUs", "clients", "server"),
    *("per unit", "ours/its", "server CPU", "ours/its"),
)


def figures_text(results: Results) -> str:
    """Return all figures, a line for each server.

    Beside its time and its CPU time stands the ratio of the first server of the
    workload, which is triofuse, to it.
    """
    rows = [_HEADINGS, *_rows(results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    )


def _rows(results: Results) -> Iterator[tuple[str, ...]]:
    places: dict[Key, list[Key]] = {}
    for key in results.figures:
        places.setdefault(key.of(""), []).append(key)
    for place, keys in places.items():
        keys.sort(key=_rank)
        unit = results.units[place.workload]
        head = (f"{place.workload} ({unit})", place.mode, str(place.clients or ""))
        for key in keys:
            first = key == keys[0]
            yield (
                *(head if first else ("", "", "")),
                key.server,
                _figure(results.figure(key), unit),
                "" if first else _spread(results.ratio(keys[0], key)),
                "" if unit == "bytes" else _figure(results.cpu_figure(key), unit),
                "" if first else _spread(results.ratio(keys[0], key, cpu=True)),
            )


def _rank(key: Key) -> bool:
    """Put triofuse first; sorting leaves the others in the order of the plan."""
    return not key.server.startswith(("triofuse", "passthrough"))


def _figure(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "-"
    scale, name = (2**20, "MiB") if unit == "bytes" else (1e-6, "us")
    low, median, high = (f"{value / scale:.4g}" for value in attrs.astuple(spread))
    return f"{median} {name} [{low}..{high}]"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.median:.2f} [{spread.low:.2f}..{spread.high:.2f}]"


def verdicts_text(verdicts: list[Verdict]) -> str:
    """Return a line for each bar."""
    if not verdicts:
        return ""
    rows = [
        (verdict.word, verdict.bar.text, _spread(verdict.ratio), verdict.limit)
        for verdict in verdicts
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    )


def notes_text(results: Results) -> str:
    """Return what could not be measured."""
    return "\n".join(f"note: {note}" for note in results.notes)


def as_json(
    results: Results, verdicts: list[Verdict], machine: dict[str, Any]
) -> dict[str, Any]:
    """Return everything, the samples of each round included."""
    return {
        "machine": machine,
        "figures": [_as_json(key, results) for key in results.figures],
        "bars": [
            {
                "bar": verdict.bar.text,
                "limit": verdict.limit,
                "ratio": verdict.ratio and attrs.asdict(verdict.ratio),
                "passed": verdict.passed,
            }
            for verdict in verdicts
        ],
        "notes": results.notes,
    }


def _as_json(key: Key, results: Results) -> dict[str, Any]:
    spread = results.figure(key)
    return {
        **attrs.asdict(key),
        "unit": results.units[key.workload],
        "spread": spread and attrs.asdict(spread),
        "rounds": results.figures[key],
        "cpu": results.cpu[key],
    }
