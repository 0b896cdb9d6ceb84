"""What a store is being asked for, for people who want to know."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from fsspec.callbacks import Callback

__all__ = ["Activity", "Transfer"]


@attrs.define(eq=False)
class Transfer(Callback):  # type: ignore[misc]
    """A call of the store, or a file on its way; fsspec tells it how far it is.

    Attributes:
      verb: ``info``, ``ls``, ``download``, ``upload``, ...
      path: What is transferred.
      size: Bytes in all; None if it is not known.
      value: Bytes done.
      since: When it began, in the time of ``time.monotonic``.
    """

    verb: str
    path: str
    size: int | None = None
    value: int = 0
    since: float = attrs.field(factory=time.monotonic)

    def set_size(self, size: int | None) -> None:
        """Note the size."""
        self.size = size

    def absolute_update(self, value: int) -> None:
        """Note how much is done."""
        self.value = value

    def relative_update(self, inc: int = 1) -> None:
        """Note that more is done."""
        self.value += inc

    def call(self, hook_name: str | None = None, **kwargs: Any) -> None:
        """Call no hooks."""


@attrs.define(eq=False)
class Activity:
    """What is being done at the moment.

    Attributes:
      calls: The calls that run or wait.
      failures: How many calls failed for another reason than that a file is missing.
      last_failure: The latest of them, in words; empty if there was none.
      began: Called with each transfer that begins.
    """

    calls: dict[int, Transfer] = attrs.field(factory=dict)
    failures: int = 0
    last_failure: str = ""
    began: list[Callable[[Transfer], object]] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    @contextmanager
    def noted(
        self, verb: str, path: str, size: int | None = None
    ) -> Iterator[Transfer]:
        """Note a call for as long as it lasts."""
        number, transfer = next(self._numbers), Transfer(verb, path, size)
        self.calls[number] = transfer
        if size is not None:
            for hook in self.began:
                hook(transfer)
        try:
            yield transfer
        finally:
            del self.calls[number]

    def failed(self, what: str, error: OSError) -> None:
        """Note a failure."""
        self.failures += 1
        self.last_failure = f"{what}: {error.strerror}"

    def report(self) -> dict[str, object]:
        """Return what `triofuse list` shows."""
        now = time.monotonic()
        return {
            "calls": [
                {
                    "verb": one.verb,
                    "path": one.path,
                    "size": one.size,
                    "done": one.value,
                    "seconds": round(now - one.since, 1),
                }
                for one in self.calls.values()
            ],
            "failures": self.failures,
            "last_failure": self.last_failure,
        }
