"""Cleanup at the end of a mount: shielded, and in bounded time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from triofuse.device.channel import Channel
from triofuse.filesystem.checks import awaited
from triofuse.filesystem.filesystem import Filesystem
from triofuse.session.in_flight.table import InFlightTable
from triofuse.session.notifications.notifier import SessionNotifier

__all__ = ["CLEANUP", "clean_up", "close_when_cancelled", "destroy"]

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


async def close_when_cancelled(
    filesystem: Filesystem,
    channel: Channel,
    notifier: SessionNotifier,
    table: InFlightTable,
    limit_releases: Callable[[float], None],
    receive_size: int,
) -> None:
    """Close the device when this is cancelled, which is after the grace.

    A handler that ignores its cancellation keeps its task, but its caller is gone.
    """
    try:
        await trio.sleep_forever()
    finally:
        channel.close()
        notifier.end()
        unanswered = [*table.running, *table.waiting]
        limit_releases(CLEANUP)
        release = partial(notifier.unblock_threads, unanswered, receive_size)
        await clean_up(filesystem, "notifier", release)


async def destroy(filesystem: Filesystem, *, strict: bool) -> None:
    """Call ``destroy``; log an error of it, and with ``strict`` raise it too."""
    try:
        await clean_up(filesystem, "destroy", partial(awaited, filesystem, "destroy"))
    except Exception:
        _log.exception("%s.destroy() failed", type(filesystem).__name__)
        if strict:
            raise
