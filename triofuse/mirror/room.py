"""Room for nodes that each keep a descriptor: made by having the kernel forget others.

The kernel forgets by itself only when memory is short.  So from half of the room on it
is asked to, some nodes at a time; it keeps those that are in use.
"""

from __future__ import annotations

import contextvars
import errno
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from triofuse.filesystem.errors import CapabilityError, FuseError
from triofuse.filesystem.notifier import Notifier
from triofuse.filesystem.requests import Request
from triofuse.mirror.credentials import ids_of
from triofuse.mirror.nodes import Nodes

#: Seconds that a request waits for the kernel to forget: it takes a millisecond.
PATIENCE = 1.0


@attrs.define(eq=False)
class Room:
    """Makes room in a table of nodes.

    Args:
      nodes: The table.
      notifier: Returns what tells the kernel.
    """

    _nodes: Nodes
    _notifier: Callable[[], Notifier]

    async def make(self, request: Request) -> None:
        """See to it that a request finds room for one more node.

        Mostly the kernel is told when the request is answered.  Only the request of a
        user that has its share waits, until some node of its own is forgotten.

        Raises:
          FuseError: EMFILE: all of them are in use.
        """
        surplus = self._nodes.surplus()
        if surplus:
            await self._have_forgotten(surplus)
        user = partial(_user, request)
        if self._nodes.has_room(user):
            return
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nodeids = self._nodes.oldest()

                def start() -> None:
                    nursery.start_soon(self._have_forgotten, nodeids)

                # In the context of a request it would be told after the answer.
                contextvars.Context().run(start)
                while not self._nodes.has_room(user):
                    await self._nodes.wait_forgotten()
                nursery.cancel_scope.cancel()
        if not self._nodes.has_room(user):
            raise FuseError(errno.EMFILE)

    async def _have_forgotten(self, nodeids: Sequence[int]) -> None:
        try:
            await self._notifier().prune(nodeids)
        except CapabilityError:  # before Linux 6.18
            for parent, name in self._nodes.files(nodeids):
                await self._notifier().inval_entry(parent, name)


def _user(request: Request) -> int:
    return ids_of(request)[0]
