"""What the program has changed, on its way to the kernel.

The law: a change of the tree is done at once, and never waits for the kernel; the
kernel is told soon, once for all changes of the same thing, and only of what it was
told otherwise.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import attrs
import trio

from triofuse.filesystem.notifier import Notifier

__all__ = ["Changes"]

_log = logging.getLogger("triofuse")

#: Nodeid, and the name in it; "" for attributes, None for attributes and data.  What
#: polls is 0 and the kernel's poll handle.
_Change = tuple[int, str | int | None]


@attrs.define(eq=False, repr=False)
class Changes:
    """A queue of notifications, which a task of the mount's sends."""

    _waiting: dict[_Change, int] = attrs.field(factory=dict, init=False)
    _open: bool = attrs.field(default=False, init=False)
    _sending: bool = attrs.field(default=False, init=False)
    _some: trio.Event = attrs.field(factory=trio.Event, init=False)
    _none: trio.Event = attrs.field(factory=trio.Event, init=False)

    def attributes(self, nodeid: int) -> None:
        """Have the attributes of a node dropped."""
        self._add((nodeid, ""))

    def data(self, nodeid: int) -> None:
        """Have the attributes and the data of a node dropped."""
        self._waiting.pop((nodeid, ""), None)
        self._add((nodeid, None))

    def name(self, parent: int, name: str, gone: int) -> None:
        """Have a name dropped.

        Args:
          parent: The directory.
          name: The name.
          gone: The node that has lost the name and has no other, so that who watches
            it hears of its end (inotify(7)); 0: none.
        """
        self._add((parent, name), gone)

    def poll(self, kh: int) -> None:
        """Have somebody who polls ask again."""
        self._add((0, kh))

    def _add(self, change: _Change, gone: int = 0) -> None:
        if self._open and change not in self._waiting:
            self._waiting[change] = gone
            self._some.set()

    async def told(self) -> None:
        """Wait until the kernel has been told of all that has changed until now."""
        await trio.lowlevel.checkpoint()
        if self._open and (self._waiting or self._sending):
            await self._none.wait()

    async def send(self, notifier: Notifier) -> None:
        """Send what there is, for as long as the mount lives."""
        self._open = True
        try:
            while True:
                await self._some.wait()
                await self._send_all(notifier)
        except trio.EndOfChannel:
            pass  # unmounted: the kernel holds nothing any more
        finally:
            self._open = False
            self._waiting.clear()
            self._none.set()

    async def _send_all(self, notifier: Notifier) -> None:
        while self._waiting:
            change = next(iter(self._waiting))
            gone = self._waiting[change]
            nodeid, name = change
            # Whatever changes from here on is another change: forget this one first.
            del self._waiting[change]
            self._sending = True
            try:
                await _notify(notifier, nodeid, name, gone)
            except OSError as exc:
                _log.warning("the kernel was not told of a change: %s", exc)
            finally:
                self._sending = False
        self._some = trio.Event()
        self._none.set()
        self._none = trio.Event()


async def _notify(
    notifier: Notifier, nodeid: int, name: str | int | None, gone: int
) -> None:
    if isinstance(name, int):
        await notifier.poll(name)
    elif name is None:
        await notifier.inval_inode(nodeid)
    elif not name:
        await notifier.inval_inode(nodeid, -1)
    else:
        if gone:
            # Of a directory below which it knows something the kernel refuses it.
            with suppress(OSError):
                await notifier.delete(nodeid, gone, name)
                return
        await notifier.inval_entry(nodeid, name)
