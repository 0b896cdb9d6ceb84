"""The reader: it hands requests to handlers through the memory channel.

The law: it never waits for a handler, or it could not see the INTERRUPT that frees one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from triofuse.session.handlers import Handlers
from triofuse.session.intake import Intake
from triofuse.session.watch import Watch

__all__ = ["Reader"]

#: Requests that are taken at a time where one handler after the other waits.
_MAX_BATCH = 64


@attrs.define(eq=False, repr=False)
class Reader:
    """Reads the device while no handler watches it."""

    _intake: Intake
    _handlers: Handlers
    _watch: Watch
    _is_copy: Callable[[int], bool]

    async def read(self) -> None:
        """Hand requests to handlers until the connection is over."""
        batch = 1
        with suppress(trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                with await self._watch.wait_given():
                    while self._watch.by_reader:
                        await self._intake.wait()
                        if self._handlers.will_read:  # without a detour by the queue
                            batch = 1
                        else:
                            more = self._queue(batch)
                            batch = min(2 * batch, _MAX_BATCH) if more else 1

    def _queue(self, count: int) -> bool:
        """Queue so many messages; False if there were less."""
        for _ in range(count):
            try:
                arrival = self._intake.receive_nowait()
            except BlockingIOError:
                return False
            if arrival is not None:
                self._handlers.queue(arrival)
        return True

    def read_copies(self) -> None:
        """Read what the kernel sends again, until there is nothing more."""
        self._intake.is_copy = self._is_copy
        with suppress(BlockingIOError, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self._intake.look()  # also past max_payload: a copy is dropped at once
                arrival = self._intake.receive_nowait()
                if arrival is not None:
                    self._handlers.queue(arrival)
