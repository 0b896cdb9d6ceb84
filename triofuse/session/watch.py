"""Who waits for the device: a handler that has nothing to do, or else the reader.

The law: whenever the loop is let go of, somebody waits for the device, or is about to
look at it; or an INTERRUPT might not be seen, and the handler that it frees wait for
ever.  A handler comes first: it serves what it finds, while the reader must wake
another task for that.  But one that waits for something else in the midst of a request
cannot watch, and nobody knows beforehand which request that will be; so the reader is
woken when it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import attrs
import trio

__all__ = ["LettingGo", "Watch"]


@attrs.define(eq=False, repr=False)
class Watch:
    """The turn to wait for the device, which the reader and handlers share.

    Attributes:
      by_handler: Whether a handler has it.
      by_reader: Whether the reader has it, or is on its way to it.
    """

    by_handler: bool = attrs.field(default=False, init=False)
    by_reader: bool = attrs.field(default=True, init=False)
    _given: trio.Event = attrs.field(factory=trio.Event, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def wait_given(self) -> trio.CancelScope:
        """Wait, as the reader, for the turn; return the scope to take it in."""
        while not self.by_reader:
            await self._given.wait()
        self._scope = trio.CancelScope()
        return self._scope

    def give_to_reader(self) -> None:
        """Have the reader watch."""
        self.by_reader = True
        self._given.set()

    def take(self) -> None:
        """Take the turn, as a handler; from the reader, where it has it."""
        self.by_handler = True
        if self.by_reader:
            self.by_reader = False
            self._given = trio.Event()
            self._scope.cancel()


@attrs.define(eq=False, repr=False)
class LettingGo:
    """Awaits a coroutine, and calls a function each time it lets go of the loop, or ends.

    Who awaits it directly does not see that.  Where it stands is shown as if nothing
    were in between: ``cr_frame`` and ``cr_await`` are what
    ``trio.lowlevel.Task.iter_await_frames`` asks for.
    """

    _coroutine: Coroutine[Any, Any, None]
    _let_go: Callable[[], None]

    def __await__(self) -> LettingGo:
        return self

    def __iter__(self) -> LettingGo:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Go on with the coroutine until it lets go, or ends."""
        try:
            return self._coroutine.send(value)
        finally:
            self._let_go()

    def throw(self, *error: Any) -> Any:
        """Go on likewise, with an exception."""
        try:
            return self._coroutine.throw(*error)
        finally:
            self._let_go()

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()

    @property
    def cr_frame(self) -> FrameType | None:
        """Where the coroutine stands."""
        frame: FrameType | None = self._coroutine.cr_frame  # type: ignore[attr-defined]
        return frame

    @property
    def cr_await(self) -> object:
        """What it awaits."""
        awaited: object = self._coroutine.cr_await  # type: ignore[attr-defined]
        return awaited
