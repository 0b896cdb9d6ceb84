"""Nodes: what authors make, subclass and hang in a tree."""

from __future__ import annotations

import errno
import math
import os
import stat as s
from collections.abc import Hashable, Iterable
from inspect import isfunction
from types import UnionType
from typing import ClassVar

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Buffer, IoctlReply
from triofuse.posix.space import cost_of
from triofuse.tree import xattrs
from triofuse.tree.inode import Inode
from triofuse.tree.stat import Stat, check_stat, new_attr

__all__ = ["GONE", "Node", "Special", "SymbolicLink", "inode_of", "overrides"]

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
    elif callable(node):
        message = f"{node!r:.80} is no node: use Generated(...) for what it makes"
    else:
        message = f"{name} is no node: use File, Directory or another Node"
    raise TypeError(message)


def check_type(value: object, kind: type | UnionType, words: str) -> None:
    """Raise TypeError, in words for the author, if a value is of another type."""
    if not isinstance(value, kind):
        message = f"{words}, not {value!r}"
        raise TypeError(message)


def overrides(node: Node, method: str) -> bool:
    """Whether the class of a node has a method of its own in place of its kind's."""
    return method in type(node).OWN


def _check_key(key: object) -> None:
    try:
        hash(key)
    except TypeError:
        message = f"a key is a number, a str or another constant, not {key!r:.80}"
        raise TypeError(message) from None


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

    _IS_KIND: ClassVar[bool] = True
    #: The file type, ``stat.S_IFREG`` and its kin.
    KIND: ClassVar[int] = s.S_IFREG
    #: Whether it holds its children in memory.
    HOLDS: ClassVar[bool] = False
    #: The methods that its class has in place of those of `Node`, `File`, `FolderNode`.
    OWN: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, *, kind: bool = False, **others: object) -> None:
        """Note what a class overrides; ``kind`` is a base like `File`."""
        super().__init_subclass__(**others)
        cls._IS_KIND = kind
        own: set[str] = set()
        for base in cls.__mro__:
            if vars(base).get("_IS_KIND"):
                own.update(
                    name
                    for name, method in vars(base).items()
                    if isfunction(method) and getattr(cls, name) is not method
                )
        cls.OWN = frozenset(own)

    def __init__(
        self,
        *,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        if stat is not None:
            check_type(stat, Stat, "stat= is a Stat, Stat(mode=0o644) for instance")
        if key is not None:
            _check_key(key)
        refreshed = overrides(self, "refresh")
        if valid is None:
            valid = _REFRESHED if refreshed else math.inf
        given = stat is not None and stat.mode is not None
        attr = new_attr(self.KIND, stat, 0 if given else self._permissions())
        attr.attr_valid = valid
        self._inode = Inode(attr=attr, node=self, key=key, valid=valid)
        self._inode.charged = self._cost()

    def _permissions(self) -> int:
        """Return the default permissions."""
        return 0o644 if self.writable else 0o444

    def _cost(self) -> int:
        """Return the bytes of memory that it takes beside its name and attributes."""
        return 0

    @property
    def writable(self) -> bool:
        """Whether clients may change it; else they get EROFS."""
        return overrides(self, "save")

    @property
    def name(self) -> str:
        """Its name where it is now, or the one of several that it had first."""
        return inode_of(self).name

    @property
    def parent(self) -> Node | None:
        """The directory in which it has that name; None where it has none."""
        parent = inode_of(self).parent
        return None if parent is None else parent.node

    @property
    def stat(self) -> Stat:
        """What stat(2) shows now; change it by `set_stat`."""
        return Stat.of(inode_of(self).attr)

    def set_stat(self, changes: Stat) -> None:
        """Change attributes; the kernel is told soon, see ``Tree.told``."""
        inode = inode_of(self)
        if inode.owner is not None:
            inode.owner.check_thread()
        check_stat(changes)
        inode.apply(changes)
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
        """Keep attributes that have changed.

        By chmod(2), chown(2), utimensat(2), or by what was done: a write changes size
        and times, a new name the times of its directory.  Left out, they are kept in
        memory where the node is writable.

        Args:
          changes: What has changed, ``mode`` with the file type; the rest is None.
        """

    async def drop(self) -> None:
        """Let go of what stands behind it: no name, handle or lookup is left."""

    async def getxattr(self, name: str) -> Buffer | None:
        """Return an extended attribute; None: there is none of that name.

        As they are, this and the next three keep extended attributes in memory.  A
        store that keeps them overrides all four; ``name`` begins with a namespace:
        ``user.``, ``trusted.``, ``security.``, or is one of the two access control
        lists, ``system.posix_acl_access`` and ``system.posix_acl_default``.
        """
        return (inode_of(self).xattrs or {}).get(name)

    async def listxattr(self) -> Iterable[str]:
        """Return the names of all extended attributes."""
        return list(inode_of(self).xattrs or ())

    async def setxattr(self, name: str, value: bytes) -> None:
        """Set an extended attribute."""
        if overrides(self, "save"):  # attributes are elsewhere
            raise FuseError(errno.EOPNOTSUPP)
        xattrs.keep(inode_of(self), name, value)

    async def removexattr(self, name: str) -> None:
        """Remove an extended attribute, which is there."""
        xattrs.discard(inode_of(self), name)

    async def ioctl(self, command: int, data: memoryview, out_size: int) -> IoctlReply:
        """Do a command of ioctl(2).

        Args:
          command: Its number.
          data: What the caller passes in.
          out_size: The most bytes that the caller takes.
        """
        raise FuseError(errno.ENOTTY)


#: The node of an inode whose own has gone.
GONE = Node()


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
        check_type(target, str, "the target of a SymbolicLink is a str")
        self._target = target
        self._writable = writable
        super().__init__(key=key, stat=stat, valid=valid)
        self._inode.apply(Stat(size=len(os.fsencode(target)), blocks=0))

    def _permissions(self) -> int:
        return 0o777

    @property
    def writable(self) -> bool:
        """Whether clients may change its owner and times."""
        return self._writable or super().writable

    async def readlink(self) -> str:
        """Return where it leads to."""
        return self._target

    def _cost(self) -> int:
        return cost_of(self._target)


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
        self._inode.attr.mode, self._inode.attr.rdev = mode, rdev
        if stat is not None:
            self._inode.apply(stat)

    @property
    def writable(self) -> bool:
        """Whether clients may change its attributes."""
        return self._writable or super().writable
