"""Resolves paths as the kernel does: a LOOKUP for each name, READLINK for links."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import attrs
import trio

from triofuse.filesystem.replies import Entry, FileAttr
from triofuse.testing.awaited import os_error
from triofuse.testing.calls import SystemCalls
from triofuse.testing.messages import Caller
from triofuse.wire.opcodes import FUSE_ROOT_ID

__all__ = ["Place", "Walk", "parts_of"]

#: MAXSYMLINKS in linux/namei.h.
_MAX_LINKS: Final = 40


def parts_of(path: str) -> list[str]:
    """Return the names in a path; ``.`` and empty ones are none."""
    return [part for part in path.split("/") if part not in ("", ".")]


@attrs.frozen
class Place:
    """Where a path leads.

    Attributes:
      parent: The nodeid of the directory of the last name.
      name: The last name; empty for the root.
      attr: The attributes of the inode; None if there is none of that name.
      nodeid: Its nodeid; 0 if there is none.
    """

    parent: int
    name: str
    attr: FileAttr | None
    nodeid: int

    def check(self) -> None:
        """Raise FileNotFoundError if there is no inode of that name."""
        if self.attr is None:
            raise os_error(errno.ENOENT)

    @property
    def found(self) -> FileAttr:
        """The attributes.

        Raises:
          FileNotFoundError: There is no inode of that name.
        """
        if self.attr is None:
            raise os_error(errno.ENOENT)
        return self.attr


@attrs.define(eq=False)
class Walk:
    """One system call by path, and the nodes that it has looked up.

    The kernel keeps nodes in its cache.  Here they are forgotten when the call is done.
    """

    calls: SystemCalls
    caller: Caller
    _lookups: Counter[int] = attrs.field(factory=Counter, init=False)

    async def resolve(self, path: Sequence[str], *, follow: bool = True) -> Place:
        """Find the place of a path.

        Args:
          path: Its names, from the root.
          follow: Whether to follow a symbolic link at the end.

        Raises:
          OSError: ENOENT or ENOTDIR: a directory on the way does not exist.  ELOOP: too
            many symbolic links.  Or what the filesystem says.
        """
        left, trail, links = list(path), [FUSE_ROOT_ID], 0
        place = Place(FUSE_ROOT_ID, "", None, FUSE_ROOT_ID)
        while left:
            name = left.pop(0)
            if name == "..":
                trail = trail[:-1] or [FUSE_ROOT_ID]
                place = Place(trail[-1], "", None, trail[-1])
                continue
            place = await self._look_up(trail[-1], name)
            if place.attr is not None and stat.S_ISLNK(place.attr.mode):
                if not left and not follow:
                    break
                links += 1
                if links > _MAX_LINKS:
                    raise os_error(errno.ELOOP)
                target = await self.calls.readlink(place.nodeid, **self.caller)
                left = parts_of(target) + left
                trail = [FUSE_ROOT_ID] if target.startswith("/") else trail
                place = Place(trail[-1], "", None, trail[-1])
                continue
            if left and not place.found.is_dir:
                raise os_error(errno.ENOTDIR)
            trail.append(place.nodeid)
        if place.name:
            return place
        attr = await self.calls.getattr(place.nodeid, **self.caller)
        return Place(place.parent, "", attr, place.nodeid)

    async def _look_up(self, parent: int, name: str) -> Place:
        try:
            entry = await self.calls.lookup(parent, name, **self.caller)
        except FileNotFoundError:
            return Place(parent, name, None, 0)
        if not entry.nodeid:
            return Place(parent, name, None, 0)
        self.hold(entry)
        return Place(parent, name, entry.attr, entry.nodeid)

    def hold(self, entry: Entry) -> None:
        """Note a lookup, to forget it later."""
        self._lookups[entry.nodeid] += 1

    async def forget(self) -> None:
        """Forget what was looked up."""
        with trio.CancelScope(shield=True), suppress(OSError):
            for nodeid, count in self._lookups.items():
                await self.calls.forget(nodeid, count)
