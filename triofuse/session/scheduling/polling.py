"""Looking again before sleeping, as long as that has lately paid off.

To sleep and to be woken takes longer than all the rest of a request: a turn of the
event loop, and where client and server run on different CPUs, two wake-ups of these.
The next request often comes before that.  Where its client runs on our CPU, it comes as
soon as we yield the CPU; where it runs on another, while we poll.

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

from triofuse.session.in_flight.received import ReceivedRequest

__all__ = ["Polling"]

#: Seconds after which it was not the client to whom we have yielded, but a program that
#: computes on and on: its slice is longer (base_slice_ns in kernel/sched).
_LONG = 250e-6

#: Seconds: a request that comes so soon after we fell asleep was sent by a client that
#: had waited for our CPU.
_SOON = 40e-6

#: What hits and misses add up to, at most; what took too long wipes out all of it.
_MOST = 8
_HIT = 1
_MISS = -4
_TOO_LONG = -_MOST

#: How often we sleep at once after a miss too many: at first, and at the most.
_FIRST_SKIP = 16
_MOST_SKIPPED_YIELDS = 1024
_MOST_SKIPPED_POLLS = 256


@attrs.define(eq=False, repr=False)
class _Prediction:
    """Whether something is worth a try: it backs off after misses."""

    _most: int
    _score: int = attrs.field(default=0, init=False)
    _skip: int = attrs.field(default=0, init=False)
    _back_off: int = attrs.field(default=_FIRST_SKIP, init=False)

    def is_due(self) -> bool:
        """Whether to try it, which is then to be noted."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    def note(self, gain: int) -> None:
        """Note whether it has paid off."""
        self._score = min(self._score + gain, _MOST)
        if gain > 0:
            self._back_off = _FIRST_SKIP
        elif self._score <= 0:
            self._score = 0
            self._skip = self._back_off
            self._back_off = min(2 * self._back_off, self._most)

    def try_again(self) -> None:
        """Have it tried next time."""
        self._skip = 0
        self._back_off = _FIRST_SKIP


#: By the opcode of the request that was answered last.
_Predictions = defaultdict[int, _Prediction]


def _predictions(most: int) -> _Predictions:
    return defaultdict(lambda: _Prediction(most))


@attrs.define(eq=False, repr=False)
class Polling:
    """Finds the next request without sleeping; the loop stands still meanwhile.

    Attributes:
      seconds: How long to poll at most; 0 is for neither polling nor yielding.
    """

    seconds: float
    _receive: Callable[[], ReceivedRequest | None]
    _yields: _Predictions = attrs.field(
        factory=lambda: _predictions(_MOST_SKIPPED_YIELDS), init=False
    )
    _polls: _Predictions = attrs.field(
        factory=lambda: _predictions(_MOST_SKIPPED_POLLS), init=False
    )
    #: After what we have polled in vain, and when that was.
    _missed: tuple[int, float] | None = attrs.field(default=None, init=False)
    #: With one CPU nobody could send anything while we poll.
    _alone: bool = attrs.field(factory=lambda: os.cpu_count() == 1, init=False)

    def poll(self, answered: int) -> ReceivedRequest | None:
        """Return the next request if it comes soon.

        Args:
          answered: The opcode of the last one.
        """
        if not self.seconds:
            return None
        self._missed = None
        received: ReceivedRequest | None = None
        prediction = self._yields[answered]
        if prediction.is_due():
            received = self._yield(prediction)
        prediction = self._polls[answered]
        if received is None and not self._alone and prediction.is_due():
            received = self._poll(prediction)
            if received is None:
                self._missed = answered, perf_counter()
        return received

    def woken(self) -> None:
        """Note that something has come after all, and we were asleep.

        Polling holds the CPU.  So if polling was in vain and then it came at once, the
        client had waited for that CPU: to yield it would have been right.
        """
        if self._missed is not None:
            answered, since = self._missed
            self._missed = None
            if perf_counter() - since < _SOON:
                self._yields[answered].try_again()

    def _yield(self, prediction: _Prediction) -> ReceivedRequest | None:
        """Yield the CPU, then look."""
        start = perf_counter()
        os.sched_yield()
        received = self._receive_or_none()
        if perf_counter() - start >= _LONG:
            prediction.note(_TOO_LONG)
        else:
            prediction.note(_MISS if received is None else _HIT)
        return received

    def _poll(self, prediction: _Prediction) -> ReceivedRequest | None:
        """FindStanding again and again."""
        until = perf_counter() + self.seconds
        received: ReceivedRequest | None = None
        while received is None and perf_counter() < until:
            received = self._receive_or_none()
        prediction.note(_MISS if received is None else _HIT)
        return received

    def _receive_or_none(self) -> ReceivedRequest | None:
        """Return a request if there is one; one for the session itself is none."""
        try:
            return self._receive()
        except (BlockingIOError, trio.EndOfChannel, trio.ClosedResourceError):
            return None
