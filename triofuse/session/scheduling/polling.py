"""Polls the device before the handler sleeps, while its hit rate is good.

To sleep and to be woken takes longer than the rest of a request: a turn of the event
loop, and two wake-ups of CPUs if client and server run on different ones.  The next
request often comes sooner.  If its client runs on our CPU, it comes when we yield the
CPU (sched_yield); if the client runs on another CPU, it comes while we poll.

The hit rate depends most on the operation answered last: a client that has looked up a
name sends its next request at once; one that has released a file does something else.
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

#: Seconds; a sched_yield that takes longer went to a CPU-bound program, not to the
#: client: that program ran for a whole scheduler slice (base_slice_ns in kernel/sched).
_LONG = 250e-6

#: Seconds; a request that comes so soon after we fell asleep is from a client that had
#: waited for our CPU.
_SOON = 40e-6

#: The highest score, and what is added to it.  A yield that took too long resets it.
_MOST = 8
_HIT = 1
_MISS = -4
_TOO_LONG = -_MOST

#: Attempts that are skipped when the score is used up: at first, and at most.
_FIRST_SKIP = 16
_MOST_SKIPPED_YIELDS = 1024
_MOST_SKIPPED_POLLS = 256


@attrs.define(eq=False, repr=False)
class _Prediction:
    """Predicts whether an attempt will hit; backs off after misses."""

    _most: int
    _score: int = attrs.field(default=0, init=False)
    _skip: int = attrs.field(default=0, init=False)
    _back_off: int = attrs.field(default=_FIRST_SKIP, init=False)

    def is_due(self) -> bool:
        """Whether to make an attempt; then `note` its result."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    def note(self, gain: int) -> None:
        """Note the result of an attempt: positive for a hit."""
        self._score = min(self._score + gain, _MOST)
        if gain > 0:
            self._back_off = _FIRST_SKIP
        elif self._score <= 0:
            self._score = 0
            self._skip = self._back_off
            self._back_off = min(2 * self._back_off, self._most)

    def try_again(self) -> None:
        """End the back-off: the next attempt is due."""
        self._skip = 0
        self._back_off = _FIRST_SKIP


#: By the opcode of the request answered last.
_Predictions = defaultdict[int, _Prediction]


def _predictions(most: int) -> _Predictions:
    return defaultdict(lambda: _Prediction(most))


@attrs.define(eq=False, repr=False)
class Polling:
    """Receives the next request without sleeping; blocks the event loop meanwhile.

    Attributes:
      seconds: The longest time to poll; 0 disables polling and yielding.
    """

    seconds: float
    _receive: Callable[[], ReceivedRequest | None]
    _yields: _Predictions = attrs.field(
        factory=lambda: _predictions(_MOST_SKIPPED_YIELDS), init=False
    )
    _polls: _Predictions = attrs.field(
        factory=lambda: _predictions(_MOST_SKIPPED_POLLS), init=False
    )
    #: The opcode after which polling missed, and when.
    _missed: tuple[int, float] | None = attrs.field(default=None, init=False)
    #: With one CPU no client can run while we poll.
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
        """Note that the device woke us after the handler slept.

        Polling holds the CPU.  If polling missed and the request came right after it,
        the client had waited for that CPU, and a yield would have hit.
        """
        if self._missed is not None:
            answered, since = self._missed
            self._missed = None
            if perf_counter() - since < _SOON:
                self._yields[answered].try_again()

    def _yield(self, prediction: _Prediction) -> ReceivedRequest | None:
        """Yield the CPU, then receive once."""
        start = perf_counter()
        os.sched_yield()
        received = self._receive_or_none()
        if perf_counter() - start >= _LONG:
            prediction.note(_TOO_LONG)
        else:
            prediction.note(_MISS if received is None else _HIT)
        return received

    def _poll(self, prediction: _Prediction) -> ReceivedRequest | None:
        """Receive again and again until the time is over."""
        until = perf_counter() + self.seconds
        received: ReceivedRequest | None = None
        while received is None and perf_counter() < until:
            received = self._receive_or_none()
        prediction.note(_MISS if received is None else _HIT)
        return received

    def _receive_or_none(self) -> ReceivedRequest | None:
        """Return a request for a handler; None if there is none."""
        try:
            return self._receive()
        except (BlockingIOError, trio.EndOfChannel, trio.ClosedResourceError):
            return None
