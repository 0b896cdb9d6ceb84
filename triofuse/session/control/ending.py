"""The end of a session that its own program asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress

import attrs
import trio

__all__ = ["GRACE", "Ending", "end_after"]

#: Seconds for which handlers may run on after the mount has ended.
GRACE = 0.5


@attrs.define(eq=False, repr=False)
class Ending:
    """Ends a session, from any thread.

    Attributes:
      shielded: Whether running requests are never cancelled.
      scope: The cancel scope in which the session runs.
      drain: Stops reading requests; None until INIT is answered.
    """

    shielded: bool
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    drain: Callable[[], None] | None = attrs.field(default=None, init=False)
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Note the event loop in which the session runs."""
        self._token = trio.lowlevel.current_trio_token()

    def finish(self, grace: float | None) -> None:
        """End the session, as ``Session.finish`` documents."""
        if grace is None:
            grace = math.inf if self.shielded else GRACE
        if self._token is None:  # it ends as soon as it is started
            self.scope.cancel()
            return
        # Only this is safe in a signal handler, in the middle of the event loop's work.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.finish_here, grace)

    def finish_here(self, grace: float) -> None:
        """Do as ``finish``, in the event loop and at once."""
        if grace < math.inf:
            deadline = trio.current_time() + grace
            self.scope.deadline = min(self.scope.deadline, deadline)
        elif self.drain is None:
            self.scope.cancel()
        else:
            self.shielded = True
            self.drain()

    def unmounted(self) -> None:
        """Limit the time that handlers may run on, after the connection has ended."""
        if not self.shielded:
            self.finish_here(GRACE)


async def end_after(
    over: trio.Event, stop: Callable[[], None], ends: Iterable[Callable[[], None]]
) -> None:
    """Wait until the connection has ended, then end what depends on it.

    Args:
      over: Set when the connection has ended.
      stop: Called in any case, also if the session was cancelled before.
      ends: Called in this order once the connection has ended.
    """
    try:
        await over.wait()
    finally:
        stop()
    for end in ends:
        end()
