"""Looking again before sleeping, as long as that has lately paid off.

Where client and server run on different CPUs, to sleep and to be woken costs both
more than all the rest of a request.  The next one often comes so soon that it takes
less time, and less CPU, to wait for it awake.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import attrs
import trio

from triofuse.session.intake import Arrival

__all__ = ["Polling"]

#: A hit adds one up to the most; a miss costs as much as that.
_MOST = 8
_MISS = 4

#: Moments of idleness that are slept through after a miss too many.
_SKIPPED = 16


@attrs.define(eq=False, repr=False)
class Polling:
    """Waits for the next request awake.

    Attributes:
      seconds: For how long at most; 0 is never.
    """

    seconds: float
    _receive: Callable[[], Arrival | None]
    _score: int = attrs.field(default=0, init=False)
    _skip: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        if os.cpu_count() == 1:  # whom we wait for could not run meanwhile
            self.seconds = 0.0

    def poll(self) -> Arrival | None:
        """Return the next request if it comes soon; the loop stands still meanwhile."""
        if self._skip or not self.seconds:
            self._skip = max(self._skip - 1, 0)
            return None
        until = time.perf_counter() + self.seconds
        while time.perf_counter() < until:
            try:
                arrival = self._receive()
            except BlockingIOError:
                continue
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return None
            if arrival is not None:
                self._score = min(self._score + 1, _MOST)
                return arrival
        self._score -= _MISS
        if self._score <= 0:
            self._score = 0
            self._skip = _SKIPPED
        return None
