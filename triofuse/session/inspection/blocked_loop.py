"""Finds code that blocks the event loop, so that no other request is served.

A check runs in another thread and schedules a call in the loop.  An idle loop is not
called; a busy one is called four times a second.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import attrs
import trio

__all__ = ["BlockedLoopDetector"]

_log = logging.getLogger("triofuse")

#: Checks without an answer before a warning is logged: a second, at the watchdog's
#: period.
_CHECKS: Final = 4

#: Seconds for which the same place is not logged again.
_QUIET: Final = 60.0

#: A loop whose stack ends here is idle.
_IDLE: Final = ("_io_epoll.py", "get_events")

#: The outermost function of a request; and the package, which is not the filesystem.
_HANDLER: Final = (os.path.join("answering", "service.py"), "serve")
_PACKAGE: Final = str(Path(__file__).parents[2]) + os.sep

#: When a place was logged, for all sessions of a loop.
_named: trio.lowlevel.RunVar[dict[tuple[CodeType, int], float]] = trio.lowlevel.RunVar(
    "_named"
)


@attrs.define(eq=False, repr=False)
class BlockedLoopDetector:
    """Logs code that blocks the event loop for a second; create it in the loop."""

    _token: trio.lowlevel.TrioToken = attrs.field(
        factory=trio.lowlevel.current_trio_token, init=False
    )
    _known: dict[tuple[CodeType, int], float] = attrs.field(init=False)
    _answered: threading.Event = attrs.field(factory=threading.Event, init=False)
    _checks: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._answered.set()
        try:
            self._known = _named.get()
        except LookupError:
            self._known = {}
            _named.set(self._known)

    def check(self, frame: FrameType | None) -> None:
        """Check whether the loop is blocked; called four times a second from a thread.

        Args:
          frame: The innermost frame of the loop's thread.
        """
        if self._answered.is_set():
            self._checks = 0
            if frame is not None and not _is(frame, _IDLE):
                self._answered.clear()
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._answered.set)
            return
        self._checks += 1
        if self._checks == _CHECKS and frame is not None:
            self._log_culprit(frame)

    def _log_culprit(self, frame: FrameType) -> None:
        place, now = (frame.f_code, frame.f_lineno), time.monotonic()
        if now - self._known.get(place, -math.inf) < _QUIET:
            return
        self._known[place] = now
        stack = list(_stack_of_handler(frame))
        _log.warning(
            "%s has held the event loop for a second; no other request is served.  "
            "Let it await, or run it in a thread: trio.to_thread.run_sync().  "
            "It stands here:\n%s",
            _culprit(stack),
            "".join(traceback.format_stack(frame, len(stack) or None)).rstrip(),
        )


def _stack_of_handler(frame: FrameType) -> Iterator[FrameType]:
    """Yield the frames that a handler has called, innermost first."""
    called: list[FrameType] = []
    at: FrameType | None = frame
    while at is not None:
        if _is(at, _HANDLER):
            yield from called
            return
        called.append(at)
        at = at.f_back


def _culprit(stack: list[FrameType]) -> str:
    """Return the name of the filesystem's method, or of another task."""
    for frame in reversed(stack):
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return f"{frame.f_code.co_qualname}()"
    return "A task of this program"


def _is(frame: FrameType, place: tuple[str, str]) -> bool:
    file, function = place
    code = frame.f_code
    return code.co_name == function and code.co_filename.endswith(file)
