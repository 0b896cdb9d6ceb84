"""The task of a filesystem's own, ``Filesystem.run``, beside the requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from triofuse.filesystem.checks import awaited
from triofuse.filesystem.filesystem import Filesystem, implements

__all__ = ["start_life", "within"]

#: Seconds in which the session sees that a connection has ended, after a notification
#: has failed.
_NOTICED = 1.0


async def within(
    scope: trio.CancelScope, function: Callable[[], Awaitable[None]]
) -> None:
    """Await a function within a cancel scope."""
    with scope:
        await function()


async def start_life(
    nursery: trio.Nursery, filesystem: Filesystem, scope: trio.CancelScope
) -> None:
    """Start ``Filesystem.run`` if there is one, and return when it has begun.

    Args:
      nursery: Where it runs.
      filesystem: The filesystem, which is usable already.
      scope: The session cancels it when the connection has ended.
    """
    if not implements(filesystem, "run"):
        return
    nursery.start_soon(within, scope, partial(_live, filesystem))
    # At the first checkpoint the task begins.  At the second, if it failed at once, the
    # nursery is cancelled: what has ended already is not handed out.
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()


async def _live(filesystem: Filesystem) -> None:
    """Await ``run``; a notification that failed because of an unmount is no error."""
    try:
        await awaited(filesystem, "run")
    except* trio.EndOfChannel:
        # If the connection has ended, the session cancels this.
        await trio.sleep(_NOTICED)
        raise
