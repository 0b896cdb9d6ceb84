"""The states that a power cut may leave: all of them, or a seeded sample."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from triofuse.faults.models import Pending

__all__ = ["all_states", "random_state", "states"]

#: How likely a record survives if it can, in a random state; one is drawn for each.
_SURVIVAL = (0.1, 0.5, 0.9, 0.98)


def all_states(pending: Pending) -> Iterator[frozenset[int]]:
    """Yield each set of records that a power cut may leave, once.

    They may be very many: 2**n of n records that need nothing.
    """
    count = len(pending.records)
    waiting: list[tuple[int, frozenset[int]]] = [(0, frozenset())]
    while waiting:
        index, chosen = waiting.pop()
        while index < count and (index in pending.kept or index in pending.lost):
            if index in pending.kept:
                chosen |= {index}
            index += 1
        if index == count:
            yield chosen
            continue
        if pending.needs[index] - pending.lost <= chosen:
            waiting.append((index + 1, chosen | {index}))
        waiting.append((index + 1, chosen))


def random_state(pending: Pending, random: Random) -> frozenset[int]:
    """Return one such set."""
    survival = random.choice(_SURVIVAL)
    chosen: set[int] = set()
    for index, needs in enumerate(pending.needs):
        if index in pending.kept or (
            index not in pending.lost
            and needs - pending.lost <= chosen
            and random.random() < survival
        ):
            chosen.add(index)
    return frozenset(chosen)


def states(pending: Pending, limit: int, random: Random) -> list[frozenset[int]]:
    """Return all such sets if they are at most ``limit``, else a sample of so many.

    A sample has what was promised and no more, and everything.
    """
    found = list(itertools.islice(all_states(pending), limit + 1))
    if len(found) <= limit:
        return found
    everything = frozenset(range(len(pending.records))) - pending.lost
    sample = dict.fromkeys([frozenset(pending.kept), everything])
    for _ in range(4 * limit):  # many are drawn twice
        if len(sample) >= limit:
            break
        sample[random_state(pending, random)] = None
    return list(sample)
