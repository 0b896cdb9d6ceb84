"""What the tree keeps of a node, apart from the author's object.

The law: one inode is what the kernel knows by one number, whatever objects stand for
it over time.  It lives as long as a name, a handle, a lookup of the kernel's or an
object of the author's does, and its number is never given to another.  It is itself the
entry that the kernel is told of a name, so that its encoded form is kept until
something changes.
"""

from __future__ import annotations

import math
import stat
import time
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Protocol

import attrs

from triofuse.filesystem.replies import KeptEntry
from triofuse.posix.space import Space
from triofuse.tree.stat import Stat, apply

if TYPE_CHECKING:
    from triofuse.tree.node import Node

__all__ = ["Inode", "Owner", "Place"]


class Owner(Protocol):
    """The tree, as far as a node needs it.

    Attributes:
      space: What contents in memory take from.
      nodes: How many nodes are in memory.
    """

    space: Space
    nodes: int

    def number(self, inode: Inode) -> int:
        """Return the inode's number; the first time, choose it."""
        ...

    def check_thread(self) -> None:
        """Raise RuntimeError in a thread that may not change the tree."""
        ...

    def attributes_changed(self, inode: Inode) -> None:
        """Have the kernel drop the attributes of an inode."""
        ...

    def data_changed(self, inode: Inode) -> None:
        """Have the kernel drop attributes and data of an inode."""
        ...

    def name_changed(self, directory: Inode, name: str, child: Inode | None) -> None:
        """Have the kernel drop a name.

        Args:
          directory: The directory.
          name: The name.
          child: What had the name before; None for a name that was not there.
        """
        ...

    def may_be_unused(self, inode: Inode) -> None:
        """Look soon whether anything is left of an inode."""
        ...

    def share(self, inode: Inode) -> None:
        """Have two nodes of one key be the same inode."""
        ...

    def wake_pollers(self, inode: Inode) -> None:
        """Wake who polls a file."""
        ...

    def admit(self, inode: Inode) -> None:
        """Take an inode in.

        Raises:
          TypeError: Its class has what this mount has left out.
        """
        ...


#: How old a time of access may get, as with the mount option ``relatime``.
_DAY_NS = 86400 * 10**9

#: A directory, and a name in it.
Place = tuple["Inode", str]


@attrs.define(eq=False, repr=False, weakref_slot=True, kw_only=True)
class Inode(KeptEntry):
    """The tree's side of a node.

    Attributes:
      attr: What stat(2) shows.  ``ino`` is 0 until a tree has numbered it; it is the
        ``nodeid`` as well.  Change it by `apply`, `changed`, `modified`, `set_nlink`
        and `set_mode` only.
      node: The author's object; the newest one of its key.
      key: What makes two objects one inode; None: the object itself.
      valid: Seconds for which attributes are fresh.
      fresh_until: When they cease to be, in trio's time.
      owner: The tree that it is in; None: none yet.
      parent: A directory that has a name of it, as far as is known.
      name: That name.
      more_places: Further ones, of hard links.
      nlookup: Lookups that the kernel has counted and not forgotten.
      nopen: Open handles.
      xattrs: Extended attributes that are kept in memory.
      hidden: Where a store keeps it until it is closed, although it has no name.
      charged: Bytes that it takes of the space beside its contents.
      is_asked: Whether a store has it, not a directory in memory.
      dropped: Whether it is gone for good.
    """

    node: Node
    key: Hashable
    valid: float
    fresh_until: float = math.inf
    owner: Owner | None = None
    parent: Inode | None = None
    name: str = ""
    more_places: list[Place] | None = None
    nlookup: int = 0
    nopen: int = 0
    xattrs: dict[str, bytes] | None = None
    hidden: Place | None = None
    charged: int = 0
    is_asked: bool = False
    dropped: bool = False

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.attr.mode)

    @property
    def is_held(self) -> bool:
        """Whether a directory in memory has a name of it."""
        return self.parent is not None and self.parent.node.HOLDS

    @property
    def is_used(self) -> bool:
        """Whether a name, a handle or a lookup is left."""
        if self.nlookup > 0 or self.nopen:
            return True
        return self.attr.nlink > 0 if self.is_asked else self.is_held

    def places(self) -> Iterator[Place]:
        """Yield each directory and name that is known to lead to it."""
        if self.parent is not None:
            yield self.parent, self.name
        yield from self.more_places or ()

    def add_place(self, parent: Inode, name: str) -> None:
        """Note one more name."""
        if self.parent is None:
            self.parent, self.name = parent, name
        else:
            self.more_places = [*(self.more_places or ()), (parent, name)]

    def remove_place(self, parent: Inode, name: str) -> None:
        """Note that a name is gone."""
        if self.more_places is None:
            if self.name == name and self.parent is parent:
                self.parent, self.name = None, ""
            return
        left = [place for place in self.places() if place != (parent, name)]
        self.parent, self.name = left[0] if left else (None, "")
        self.more_places = left[1:] or None

    def charge(self, size: int) -> None:
        """Take bytes of the space, or give some back.

        Raises:
          FuseError: ENOSPC: there are not so many left.
        """
        if self.owner is not None:
            self.owner.space.charge(size)
        self.charged += size

    def apply(self, changes: Stat) -> None:
        """Change what is given of the attributes."""
        apply(self.attr, changes)
        self.record = None

    def changed(self) -> None:
        """Note a change of the inode."""
        self.attr.ctime_ns = time.time_ns()
        self.record = None

    def modified(self) -> None:
        """Note a change of the contents."""
        self.attr.mtime_ns = self.attr.ctime_ns = time.time_ns()
        self.record = None

    def accessed(self) -> None:
        """Note an access, if it is the first after a change or after a day."""
        attr, now = self.attr, time.time_ns()
        if attr.atime_ns <= max(attr.mtime_ns, attr.ctime_ns, now - _DAY_NS):
            attr.atime_ns = now
            self.record = None

    def set_size(self, size: int, blocks: int | None) -> None:
        """Set the size, bytes, and the 512-byte units in use."""
        self.attr.size, self.attr.blocks = size, blocks
        self.record = None

    def set_nlink(self, nlink: int) -> None:
        """Set the number of names."""
        self.attr.nlink = nlink
        self.record = None

    def set_mode(self, mode: int) -> None:
        """Set type and permissions."""
        self.attr.mode = mode
        self.record = None

    def set_entry_valid(self, seconds: float) -> None:
        """Set for how long the kernel may keep a name of it."""
        if seconds != self.entry_valid:
            self.entry_valid = seconds
            self.record = None
