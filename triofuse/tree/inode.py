"""What the tree keeps of a node, apart from the author's object.

The law: one inode is what the kernel knows by one number, whatever objects stand for
it over time.  It lives as long as a name, a handle, a lookup of the kernel's or an
object of the author's does, and its number is never given to another.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Protocol

import attrs

from triofuse.filesystem.replies import FileAttr
from triofuse.posix.space import Space

if TYPE_CHECKING:
    from triofuse.tree.node import Node

__all__ = ["Inode", "Owner", "Place"]


class Owner(Protocol):
    """The tree, as far as a node needs it.

    Attributes:
      space: What contents in memory take from.
    """

    space: Space

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


#: A directory that is filled, and a name in it.
Place = tuple["Inode", str]


@attrs.define(eq=False, repr=False, weakref_slot=True)
class Inode:
    """The tree's side of a node.

    Attributes:
      node: The author's object; the newest one of its key.
      attr: What stat(2) shows.  ``ino`` is 0 until a tree has numbered it; it is the
        ``nodeid`` as well.
      key: What makes two objects one inode; None: the object itself.
      valid: Seconds for which attributes are fresh.
      fresh_until: When they cease to be, in trio's time.
      owner: The tree that it is in; None: none yet.
      parent: A directory that has a name of it, and the name there.
      name: That name.
      more_places: Further ones, of hard links.
      nlookup: Lookups that the kernel has counted and not forgotten.
      nopen: Open handles.
      xattrs: Extended attributes that are kept in memory.
      dropped: Whether it is gone for good.
    """

    node: Node
    attr: FileAttr
    key: Hashable
    valid: float
    fresh_until: float
    owner: Owner | None = None
    parent: Inode | None = None
    name: str = ""
    more_places: list[Place] | None = None
    nlookup: int = 0
    nopen: int = 0
    xattrs: dict[str, bytes] | None = None
    dropped: bool = False

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.attr.mode)

    @property
    def is_used(self) -> bool:
        """Whether a name, a handle or a lookup is left."""
        return bool(self.nlookup or self.nopen or self.parent)

    def places(self) -> Iterator[Place]:
        """Yield each directory and name that leads to it."""
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
        left = [place for place in self.places() if place != (parent, name)]
        self.parent, self.name = left[0] if left else (None, "")
        self.more_places = left[1:] or None

    def changed(self) -> None:
        """Note a change of the inode."""
        self.attr.ctime_ns = time.time_ns()

    def modified(self) -> None:
        """Note a change of the contents."""
        self.attr.mtime_ns = self.attr.ctime_ns = time.time_ns()
