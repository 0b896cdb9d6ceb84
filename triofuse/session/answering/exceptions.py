"""Unwraps exceptions that nurseries have wrapped in groups."""

from __future__ import annotations

__all__ = ["unwrapped"]


def unwrapped(exc: BaseException) -> BaseException:
    """Return the one exception in a group of one, at any depth; else ``exc``."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc
