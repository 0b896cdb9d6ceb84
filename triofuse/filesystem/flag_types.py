"""What all flags of the protocol have in common."""

from __future__ import annotations

from enum import IntFlag
from typing import TypeVar

__all__ = ["and_gives_int"]

_F = TypeVar("_F", bound=type[IntFlag])


def and_gives_int(flags: _F) -> _F:
    """Make ``request.flags & flags.BIT`` a plain integer.

    A flag object would take half a microsecond for each test of a bit.
    """
    flags.__rand__ = int.__rand__  # type: ignore[assignment, misc]
    return flags
