"""Looking again before sleeping, as long as that has lately paid off.

To sleep and to be woken takes longer than all the rest of a request: a turn of the trio
loop, and where client and server run on different CPUs, two wake-ups of these.  The
next request often comes before that.  Where its sender runs on our CPU, it is sent as
soon as we make way for a moment; where it runs on another, while we wait awake.

Whether it comes so soon depends most on what was answered: who has looked up a name
asks for more at once, who has released a file does something else.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter

import attrs
import trio

from triofuse.session.intake import Arrival

__all__ = ["Polling"]

#: Seconds after which it was not the sender for whom we made way, but somebody who
#: computes on and on: their slice is longer (base_slice_ns in kernel/sched).
_LONG = 250e-6

#: What is noted adds up, to the most; what took too long wipes out all that.
_MOST = 8
_HIT = 1
_MISS = -4
_TOO_LONG = -_MOST

#: How often we sleep at once after a miss too many: at first, and at the most, for
#: where nobody ever comes so soon, each look is a loss.
_SKIPPED = (16, 1024)


@attrs.define(eq=False, repr=False)
class _Luck:
    """Whether something has lately paid off."""

    _score: int = attrs.field(default=0, init=False)
    _skip: int = attrs.field(default=0, init=False)
    _skipped: int = attrs.field(default=_SKIPPED[0], init=False)

    def is_to_be_tried(self) -> bool:
        """Whether to try it, which is then to be noted."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    def note(self, gain: int) -> None:
        """Note whether it has paid off."""
        self._score = min(self._score + gain, _MOST)
        if gain > 0:
            self._skipped = _SKIPPED[0]
        elif self._score <= 0:
            self._score = 0
            self._skip = self._skipped
            self._skipped = min(2 * self._skipped, _SKIPPED[1])


#: By the opcode of the request that was answered last.
_Lucks = defaultdict[int, _Luck]


@attrs.define(eq=False, repr=False)
class Polling:
    """Waits for the next request without sleeping; the loop stands still meanwhile.

    Attributes:
      seconds: For how long at most awake; 0 is not at all, nor making way.
    """

    seconds: float
    _receive: Callable[[], Arrival | None]
    _making_way: _Lucks = attrs.field(factory=lambda: defaultdict(_Luck), init=False)
    _staying_awake: _Lucks = attrs.field(factory=lambda: defaultdict(_Luck), init=False)
    #: With one CPU nobody could send anything while we stay awake.
    _alone: bool = attrs.field(factory=lambda: os.cpu_count() == 1, init=False)

    def poll(self, answered: int) -> Arrival | None:
        """Return the next request if it comes soon.

        Args:
          answered: The opcode of the last one, 0 if there was none.
        """
        if not self.seconds:
            return None
        arrival: Arrival | None = None
        luck = self._making_way[answered]
        if luck.is_to_be_tried():
            arrival = self._make_way(luck)
        luck = self._staying_awake[answered]
        if arrival is None and not self._alone and luck.is_to_be_tried():
            arrival = self._stay_awake(luck)
        return arrival

    def _make_way(self, luck: _Luck) -> Arrival | None:
        """Let others have this CPU for a moment."""
        start = perf_counter()
        os.sched_yield()
        arrival = self._look()
        if perf_counter() - start >= _LONG:
            luck.note(_TOO_LONG)
        else:
            luck.note(_MISS if arrival is None else _HIT)
        return arrival

    def _stay_awake(self, luck: _Luck) -> Arrival | None:
        """Look again and again."""
        until = perf_counter() + self.seconds
        arrival: Arrival | None = None
        while arrival is None and perf_counter() < until:
            arrival = self._look()
        luck.note(_MISS if arrival is None else _HIT)
        return arrival

    def _look(self) -> Arrival | None:
        """Return a request if there is one; one for the session itself is none."""
        try:
            return self._receive()
        except (BlockingIOError, trio.EndOfChannel, trio.ClosedResourceError):
            return None
