"""The statistics of a session."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import attrs

__all__ = ["OperationStatistics", "SessionStatistics", "Tally"]

#: The number of latencies that are kept for each operation.
_KEPT = 1000


@attrs.frozen
class OperationStatistics:
    """The counters of one operation.

    Attributes:
      handled: Requests that were answered, with success or an error.
      failed: Those of them that were answered with an error, by errno.
      latencies: Seconds from receiving to answering, of the last 1,000 requests at
        most, sorted; empty unless ``measure`` is set.
    """

    handled: int
    failed: Mapping[int, int]
    latencies: Sequence[float] = attrs.field(repr=False)

    def quantile(self, share: float) -> float:
        """Return the latency that ``share`` (0 to 1) of the requests did not exceed.

        Seconds, 0 where none was handled.
        """
        if not self.latencies:
            return 0.0
        last = len(self.latencies) - 1
        return self.latencies[min(int(share * len(self.latencies)), last)]


@attrs.frozen
class SessionStatistics:
    """The counters of a session at one moment.

    Attributes:
      in_flight: Requests that were read and are not answered.
      queued: Those of them that have not started.
      handlers: Tasks that serve, watch the device or are parked.
      handled: Requests that a handler has answered.
      failed: Those of them that were answered with an error, including ENOENT of a
        missing name.
      interrupted: Requests that were cancelled or never started because of a signal
        to their caller.
      bytes_received: In requests, headers included; 0 unless ``measure`` is set.
      bytes_sent: In bodies of replies; 0 unless ``measure`` is set.
      operations: By the kernel's name: ``"LOOKUP"``.
    """

    in_flight: int = 0
    queued: int = 0
    handlers: int = 0
    handled: int = 0
    failed: int = 0
    interrupted: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    operations: Mapping[str, OperationStatistics] = attrs.field(factory=dict)


@attrs.define(eq=False, repr=False)
class Tally:
    """Counts the requests of one operation.

    Attributes:
      handled: Requests that were answered.
      failed: Those answered with an error, by errno.
      received: Bytes in requests.
      sent: Bytes in bodies of replies.
      latencies: Seconds, the latest.
    """

    handled: int = 0
    failed: Counter[int] = attrs.field(factory=Counter)
    received: int = 0
    sent: int = 0
    latencies: deque[float] = attrs.field(factory=lambda: deque(maxlen=_KEPT))

    def measure(self, latency: float, received: int, sent: int) -> None:
        """Note the latency in seconds, and the bytes, of an answered request."""
        self.latencies.append(latency)
        self.received += received
        self.sent += sent

    def report(self) -> OperationStatistics:
        """Return the counters as they are now."""
        latencies = tuple(sorted(self.latencies))
        return OperationStatistics(self.handled, dict(self.failed), latencies)
