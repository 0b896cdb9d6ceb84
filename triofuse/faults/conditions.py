"""When a rule applies, as a script says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any, TypedDict

from triofuse.faults.names import operations_named
from triofuse.faults.rule import Action, Rule, Where

__all__ = ["Conditions", "check_only", "rule_of"]


class Conditions(TypedDict, total=False):
    """When a rule applies.

    Attributes:
      path: A pattern, ``"*.db"`` or ``"sub/*"``, for paths relative to the root; one
        without a slash is for the last name.
      caller: A process by its number, or by a pattern for its name (``comm``).
      when: A function of the request, for all else:
        ``lambda request: request.offset >= 4096``.
      after: How many calls pass before.
      times: How many calls it applies to; default: all.
      once: The same as ``times=1``.
      probability: How likely it applies, 0..1.
      seed: For the probability.
    """

    path: str
    caller: int | str
    when: Callable[[Any], bool]
    after: int
    times: int
    once: bool
    probability: float
    seed: int


def rule_of(
    what: str,
    operation: str | Iterable[str],
    action: Action,
    conditions: Conditions,
) -> Rule:
    """Make a rule of what a script says.

    Raises:
      ValueError: There is no such operation, or conditions contradict each other.
      TypeError: There is no such condition.
    """
    given: dict[str, Any] = dict(conditions)
    unknown = set(given) - set(Conditions.__annotations__)
    if unknown:
        names = ", ".join(sorted(Conditions.__annotations__))
        message = f"a rule has no {min(unknown)}=; its conditions are {names}"
        raise TypeError(message)
    once, times = given.pop("once", False), given.pop("times", None)
    if once and times is not None:
        message = f"once=True and times={times} contradict each other"
        raise ValueError(message)
    random = Random(given.pop("seed", 0))
    counts = {key: given.pop(key) for key in ("after", "probability") if key in given}
    where = Where(operations_named(operation), **given)
    return Rule(
        what, where, action, times=1 if once else times, random=random, **counts
    )


def check_only(
    operation: str | Iterable[str], allowed: Iterable[str], words: str
) -> None:
    """Raise ValueError if a rule cannot be about an operation."""
    wrong = operations_named(operation) - set(allowed)
    if wrong:
        names = ", ".join(sorted(allowed))
        message = f"{words} {names}; not for {min(wrong)}"
        raise ValueError(message)
