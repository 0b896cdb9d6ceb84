"""Nodes: what authors make, subclass and hang in a tree."""

from __future__ import annotations

import math
import os
import stat as s
from collections.abc import Hashable
from types import UnionType
from typing import ClassVar

from triofuse.filesystem.replies import FileAttr
from triofuse.tree.inode import Inode
from triofuse.tree.stat import Stat, apply, new_attr

__all__ = ["Node", "Special", "SymbolicLink", "inode_of", "overrides"]

#: Seconds for which attributes are fresh where ``refresh`` brings new ones.
_REFRESHED = 1.0


def inode_of(node: object) -> Inode:
    """Return the tree's side of a node.

    Raises:
      TypeError: It is no node, or its class does not call ``super().__init__()``.
    """
    inode = getattr(node, "_inode", None)
    if isinstance(inode, Inode):
        return inode
    name = type(node).__name__
    if isinstance(node, type):
        name = node.__name__
        message = f"{name} is a class; a tree takes instances: {name}(...)"
    elif isinstance(node, Node):
        message = f"{name}.__init__() must call super().__init__()"
    else:
        message = f"{name} is no node: use File, Directory or another Node"
    raise TypeError(message)


def check_type(value: object, kind: type | UnionType, words: str) -> None:
    """Raise TypeError, in words for the author, if a value is of another type."""
    if not isinstance(value, kind):
        message = f"{words}, not {value!r}"
        raise TypeError(message)


def overrides(node: Node, method: str, base: type[Node]) -> bool:
    """Whether the class of a node has a method of its own in place of ``base``'s."""
    return getattr(type(node), method) is not getattr(base, method)


class Node:
    """A file, directory or link in a tree: the base of all kinds.

    Methods are called for the requests of clients.  To refuse, raise an ``OSError``,
    ``FuseError(errno.EACCES)`` for instance.  Who calls is `current_request`.

    Args:
      key: What makes two objects the same inode, within a tree: a database's row
        number, for instance.  Without a key the object itself is the inode.
      stat: Its attributes, as far as they are not what one expects.
      valid: Seconds for which the kernel and the tree may use the attributes.  After
        that `refresh` is asked, if it is overridden; else the next lookup brings new
        ones.  Default: 1 if `refresh` is overridden, else for ever: then call
        `changed` when something changes.
    """

    __slots__ = ("__weakref__", "_inode")

    #: The file type, ``stat.S_IFREG`` and its kin.
    KIND: ClassVar[int] = s.S_IFREG

    def __init__(
        self,
        *,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        check_type(stat, Stat | None, "stat= is a Stat, Stat(mode=0o644) for instance")
        refreshed = overrides(self, "refresh", Node)
        if valid is None:
            valid = _REFRESHED if refreshed else math.inf
        attr = new_attr(self.KIND, stat, self._permissions())
        attr.attr_valid = valid
        self._inode = Inode(self, attr, key, valid, math.inf)

    def _permissions(self) -> int:
        """Return the default permissions."""
        return 0o644 if self.writable else 0o444

    @property
    def writable(self) -> bool:
        """Whether clients may change it; else they get EROFS."""
        return overrides(self, "save", Node)

    @property
    def name(self) -> str:
        """A name that it has in a filled directory; empty where it has none."""
        return inode_of(self).name

    @property
    def parent(self) -> Node | None:
        """The directory that holds `name`; None where there is none."""
        parent = inode_of(self).parent
        return None if parent is None else parent.node

    @property
    def stat(self) -> FileAttr:
        """What stat(2) shows; change it by `set_stat`."""
        return inode_of(self).attr

    def set_stat(self, changes: Stat) -> None:
        """Change attributes; the kernel is told soon, see ``Tree.told``."""
        inode = inode_of(self)
        if inode.owner is not None:
            inode.owner.check_thread()
        apply(inode.attr, changes)
        if changes.ctime_ns is None:
            inode.changed()
        if inode.owner is not None:
            inode.owner.attributes_changed(inode)

    def changed(self) -> None:
        """Say that attributes or contents have changed; the kernel is told soon."""
        inode = inode_of(self)
        if inode.owner is not None:
            inode.owner.check_thread()
            inode.fresh_until = -math.inf if inode.valid < math.inf else math.inf
            inode.owner.data_changed(inode)

    async def refresh(self) -> Stat | None:
        """Return the attributes as they are now, when they are older than ``valid``.

        Returns:
          What has changed; None for nothing.
        """
        return None

    async def save(self, changes: Stat) -> None:
        """Keep attributes that have changed, by chmod(2), chown(2), utimensat(2).

        Left out, they are kept in memory where the node is writable.
        """

    async def drop(self) -> None:
        """Let go of what stands behind it: no name, handle or lookup is left."""


class SymbolicLink(Node):
    """A symbolic link.

    Args:
      target: Where it leads to.
      writable: Whether clients may change its owner and times.
      key, stat, valid: As for `Node`.
    """

    __slots__ = ("_target", "_writable")

    KIND = s.S_IFLNK

    def __init__(
        self,
        target: str,
        *,
        writable: bool = False,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        self._target = target
        self._writable = writable
        super().__init__(key=key, stat=stat, valid=valid)
        self._inode.attr.size = len(os.fsencode(target))

    def _permissions(self) -> int:
        return 0o777

    @property
    def writable(self) -> bool:
        """Whether clients may change its owner and times."""
        return self._writable or super().writable

    async def readlink(self) -> str:
        """Return where it leads to."""
        return self._target


class Special(Node):
    """A device, pipe or socket: the kernel does its I/O.

    Args:
      mode: File type and permissions, ``stat.S_IFIFO | 0o600`` for instance.
      rdev: Device number, for devices.
      writable: Whether clients may change its attributes.
      key, stat, valid: As for `Node`.
    """

    __slots__ = ("_kind", "_writable")

    def __init__(
        self,
        mode: int,
        rdev: int = 0,
        *,
        writable: bool = False,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        self._writable = writable
        kind = s.S_IFMT(mode)
        if kind not in {s.S_IFBLK, s.S_IFCHR, s.S_IFIFO, s.S_IFSOCK}:
            message = f"Special is for devices, pipes and sockets, not mode {mode:#o}"
            raise ValueError(message)
        super().__init__(key=key, valid=valid)
        attr = self._inode.attr
        attr.mode, attr.rdev = mode, rdev
        if stat is not None:
            apply(attr, stat)

    @property
    def writable(self) -> bool:
        """Whether clients may change its attributes."""
        return self._writable or super().writable
