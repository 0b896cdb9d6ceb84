"""Cleanup at the end of a mount: shielded, and in bounded time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from triofuse.filesystem.checks import awaited
from triofuse.filesystem.filesystem import Filesystem

__all__ = ["CLEANUP", "clean_up", "destroy"]

_log = logging.getLogger("triofuse")

#: Seconds for the filesystem's cleanup: ``release`` and ``destroy``.
CLEANUP = 10.0


async def clean_up(
    filesystem: Filesystem, what: str, clean: Callable[[], Awaitable[None]]
) -> None:
    """Run a cleanup function; cancel it after ``CLEANUP`` seconds.

    Args:
      filesystem: Whose cleanup it is, for the log.
      what: The name of the method, likewise.
      clean: The function.
    """
    with trio.move_on_after(CLEANUP, shield=True) as scope:
        await clean()
    if scope.cancelled_caught:
        name = type(filesystem).__name__
        _log.error("%s.%s() was cut off after %g s", name, what, CLEANUP)


async def destroy(filesystem: Filesystem, *, strict: bool) -> None:
    """Call ``destroy``; log an error of it, and with ``strict`` raise it too."""
    try:
        await clean_up(filesystem, "destroy", partial(awaited, filesystem, "destroy"))
    except Exception:
        _log.exception("%s.destroy() failed", type(filesystem).__name__)
        if strict:
            raise
