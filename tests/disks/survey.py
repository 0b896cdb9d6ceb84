"""Runs a program, and checks what each power cut leaves of it: the outcomes, counted."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from triofuse.faults import Disk, Model

#: Right; what was promised is gone; what is there is broken.
OK, LOST, BROKEN = "ok", "lost", "broken"

Program = Callable[[Path], object] | Sequence[str]

#: Looks at a disk: given the mountpoint and what was promised; returns an outcome.
Check = Callable[[Path, tuple[str, ...]], str]


@attrs.define
class Outcomes:
    """The outcomes of all states.

    Attributes:
      counts: How many of each.
      stories: The first of each.
    """

    counts: collections.Counter[str] = attrs.Factory(collections.Counter)
    stories: dict[str, str] = attrs.Factory(dict)

    @property
    def kinds(self) -> set[str]:
        """Which outcomes there were."""
        return set(self.counts)

    def __str__(self) -> str:
        shown = [f"{kind} {count}" for kind, count in sorted(self.counts.items())]
        bad = [text for kind, text in self.stories.items() if kind != OK]
        return "\n".join([", ".join(shown), *bad])


def survey(
    disk: Disk, program: Program, check: Check, model: Model, *, limit: int = 6
) -> Outcomes:
    """Check each state of a program, or a sample for each operation."""
    outcomes = Outcomes()
    for crash in disk.crashes(program, model, limit=limit):
        found = check(disk.path, crash.marks)
        outcomes.counts[found] += 1
        outcomes.stories.setdefault(found, str(crash))
    return outcomes
