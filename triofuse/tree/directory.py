"""Directories: filled ones, which hold their children, and asked ones, which find them."""

from __future__ import annotations

import errno
import os
import stat as s
from collections.abc import (
    AsyncIterable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import TypeAlias, Union

from triofuse.filesystem.errors import FuseError
from triofuse.tree.file import File
from triofuse.tree.inode import Inode
from triofuse.tree.node import Node, Special, SymbolicLink, inode_of, overrides
from triofuse.tree.stat import Stat

__all__ = ["AskedDirectory", "Child", "Directory", "FolderNode", "adopt", "parents"]

#: The longest name, bytes.
_NAME_MAX = 255

#: What a filled directory takes: a node, the contents of a file, or of a directory.
Child: TypeAlias = Union[Node, str, bytes, "Mapping[str, Child]"]


class FolderNode(Node):
    """What `Directory` and `AskedDirectory` have in common: what clients ask of them."""

    __slots__ = ()

    KIND = s.S_IFDIR

    def _permissions(self) -> int:
        return 0o755

    def __bool__(self) -> bool:
        return True  # also an empty one

    async def lookup(self, name: str) -> Node | None:
        """Return the node of a name; None: there is none, which is cached as such."""
        raise NotImplementedError

    def entries(
        self,
    ) -> AsyncIterable[tuple[str, Node]] | Iterable[tuple[str, Node]]:
        """Return or yield all names and their nodes, in any order."""
        raise NotImplementedError

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        """Make a file, directory, link, device, pipe or socket for a client.

        Args:
          name: Its name; there is no such name yet.
          new: Its attributes: ``mode`` with the file type, owner, times, ``rdev``.
          target: Where a symbolic link leads to, else None.
        """
        raise FuseError(errno.EROFS)

    async def link(self, name: str, node: Node) -> None:
        """Give a node one more name: a hard link."""
        raise FuseError(errno.EROFS)

    async def unlink(self, name: str, node: Node) -> None:
        """Take a name away: of a file, or of an empty directory."""
        raise FuseError(errno.EROFS)

    async def rename(
        self,
        name: str,
        node: Node,
        to: FolderNode,
        new_name: str,
        replaced: Node | None,
    ) -> None:
        """Give a node another name, here or in another directory.

        Args:
          name: Its name here.
          node: The node.
          to: The directory of the new name; may be this one.
          new_name: The new name.
          replaced: What has that name now, and loses it: a file, or an empty
            directory.  None: nothing.
        """
        raise FuseError(errno.EROFS)

    def same_store(self, other: FolderNode) -> bool:
        """Whether nodes may be moved and linked between two directories, else EXDEV."""
        raise NotImplementedError

    async def fsync(self, *, datasync: bool) -> None:
        """Write its names to stable storage."""


class AskedDirectory(FolderNode):
    """A directory that is asked for its children each time; subclass it.

    For stores: a database, an archive, a server.  `lookup` and `entries` are what it
    cannot do without.  Give the nodes keys, so that two objects of the same thing are
    the same inode; without a key the directory and the name are it.

    Args:
      key, stat, valid: As for `Node`.
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        for method in ("lookup", "entries"):
            if not overrides(self, method, FolderNode):
                message = f"{type(self).__name__} needs a method {method}()"
                raise TypeError(message)
        super().__init__(key=key, stat=stat, valid=valid)
        if stat is None or stat.nlink is None:
            self._inode.attr.nlink = 1  # nobody has counted its subdirectories

    @property
    def writable(self) -> bool:
        """Whether clients may change it."""
        return overrides(self, "make", FolderNode) or overrides(self, "save", Node)

    def same_store(self, other: FolderNode) -> bool:
        """Whether nodes may be moved and linked between two directories, else EXDEV."""
        return type(self) is type(other)


class Directory(FolderNode, MutableMapping[str, Node]):
    """A directory that holds its children: a mapping of names to nodes.

    Set and delete names to change it, from any task.  Clients see that at once, or as
    soon as the kernel has been told of names that it knew: see ``Tree.told``.

    Args:
      children: What is in it.  For a node may stand the contents of a file, as bytes
        or text, or those of a directory, as a mapping.
      writable: Whether clients may change it; what they make there is kept in memory.
      key, stat, valid: As for `Node`.
    """

    __slots__ = ("_children", "_writable")

    def __init__(
        self,
        children: Mapping[str, Child] | None = None,
        *,
        writable: bool = False,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        self._children: dict[str, Node] = {}
        self._writable = writable
        super().__init__(key=key, stat=stat, valid=valid)
        for name, child in (children or {}).items():
            self._put(name, node_of(child))

    @property
    def writable(self) -> bool:
        """Whether clients may change it."""
        return self._writable

    # --- A mapping

    def __getitem__(self, name: str) -> Node:
        return self._children[name]

    def __setitem__(self, name: str, child: Child) -> None:
        node = node_of(child)
        self._check_thread()
        old = self._children.get(name)
        if old is node:
            return
        self._put(name, node)
        self._tell(name, old)

    def __delitem__(self, name: str) -> None:
        self._check_thread()
        self._tell(name, self._take(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def __contains__(self, name: object) -> bool:
        return name in self._children

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = Node.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} names>"

    def move(self, name: str, to: Directory, new_name: str) -> None:
        """Give a node another name, here or in another directory, in one step.

        What has the new name loses it.

        Raises:
          KeyError: There is no such name.
          ValueError: It would be in itself.
        """
        self._check_thread()
        node = self._children[name]
        replaced = to._children.get(new_name)
        self._move(name, node, to, new_name)
        self._tell(name, node)
        to._tell(new_name, replaced)

    # --- What clients ask

    async def lookup(self, name: str) -> Node | None:
        """Return the node of a name; None: there is none."""
        return self._children.get(name)

    def entries(self) -> Iterable[tuple[str, Node]]:
        """Return all names and their nodes."""
        return list(self._children.items())

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        """Make a node in memory; override it to refuse, or to make another kind."""
        assert new.mode is not None
        kind = s.S_IFMT(new.mode)
        node: Node
        if kind == s.S_IFDIR:
            node = Directory(writable=True, stat=new)
        elif kind == s.S_IFREG:
            node = File(writable=True, stat=new)
        elif kind == s.S_IFLNK:
            node = SymbolicLink(target or "", writable=True, stat=new)
        else:
            node = Special(new.mode, new.rdev or 0, writable=True, stat=new)
        if name:  # O_TMPFILE makes what has none
            self._put(name, node)
        return node

    async def link(self, name: str, node: Node) -> None:
        """Give a node one more name; override it to refuse."""
        self._put(name, node)

    async def unlink(self, name: str, node: Node) -> None:
        """Take a name away; override it to refuse."""
        self._take(name)

    async def rename(
        self,
        name: str,
        node: Node,
        to: FolderNode,
        new_name: str,
        replaced: Node | None,
    ) -> None:
        """Give a node another name; override it to refuse."""
        assert isinstance(to, Directory)
        self._move(name, node, to, new_name)

    def same_store(self, other: FolderNode) -> bool:
        """Whether nodes may be moved between two directories: in memory, yes."""
        return isinstance(other, Directory)

    # --- The structure

    def _put(self, name: str, node: Node) -> None:
        """Give a name to a node, in place of the node that has it."""
        mine, inode = inode_of(self), inode_of(node)
        check_name(name)
        self._check_child(name, node, inode)
        if name in self._children:
            self._take(name)
        if inode.owner is not mine.owner and mine.owner is not None:
            adopt(node, mine)
        self._children[name] = node
        inode.add_place(mine, name)
        if isinstance(node, FolderNode):
            mine.attr.nlink += 1
            if isinstance(node, Directory):
                inode.attr.nlink = 2 + _directories(node)
        else:
            inode.attr.nlink = sum(1 for _ in inode.places())
        mine.modified()
        inode.changed()

    def _take(self, name: str) -> Node:
        """Take a name away."""
        node = self._children.pop(name)
        mine, inode = inode_of(self), inode_of(node)
        inode.remove_place(mine, name)
        if isinstance(node, FolderNode):
            mine.attr.nlink -= 1
            inode.attr.nlink = 0
        else:
            inode.attr.nlink -= 1
        mine.modified()
        inode.changed()
        if inode.owner is not None:
            inode.owner.may_be_unused(inode)
        return node

    def _move(self, name: str, node: Node, to: Directory, new_name: str) -> None:
        check_name(new_name)
        if isinstance(node, Directory) and inode_of(node) in parents(inode_of(to)):
            message = f"{name!r} cannot be moved into itself"
            raise ValueError(message)
        self._take(name)
        to._put(new_name, node)

    def _exchange(self, name: str, to: Directory, other_name: str) -> None:
        """Have two names change their nodes."""
        node, other = self._take(name), to._take(other_name)
        self._put(name, other)
        to._put(other_name, node)

    def _check_child(self, name: str, node: Node, inode: Inode) -> None:
        if inode.dropped:
            message = f"the node for {name!r} was dropped; make a new one"
            raise ValueError(message)
        if inode.owner not in (None, inode_of(self).owner):
            message = f"the node for {name!r} is in another tree, at {where(inode)}"
            raise ValueError(message)
        if not isinstance(node, FolderNode):
            return
        if inode.parent is not None:
            message = (
                f"the directory for {name!r} is at {where(inode)} already; "
                "a directory has one place: use move()"
            )
            raise ValueError(message)
        if inode in parents(inode_of(self)):
            message = f"{name!r} would contain itself"
            raise ValueError(message)

    def _check_thread(self) -> None:
        owner = inode_of(self).owner
        if owner is not None:
            owner.check_thread()

    def _tell(self, name: str, former: Node | None) -> None:
        mine = inode_of(self)
        if mine.owner is not None:
            child = None if former is None else inode_of(former)
            mine.owner.name_changed(mine, name, child)


def node_of(child: Child) -> Node:
    """Return the node for what a directory takes.

    Raises:
      TypeError: A directory does not take such a thing.
    """
    if isinstance(child, (str, bytes)):
        return File(child)
    if isinstance(child, Mapping) and not isinstance(child, Node):
        return Directory(child)
    inode_of(child)
    return child


def _directories(directory: Directory) -> int:
    return sum(isinstance(child, FolderNode) for child in directory.values())


def check_name(name: object) -> None:
    """Raise what is wrong with a name that the program gives.

    Raises:
      TypeError: It is no str.
      ValueError: It cannot be the name of anything.
    """
    if not isinstance(name, str):
        hint = f": os.fsdecode({name!r})" if isinstance(name, bytes) else ""
        message = f"a name is a str, not {name!r}{hint}"
        raise TypeError(message)
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        message = f"{name!r} cannot be a name: a name has no slash and no NUL"
        raise ValueError(message)
    if len(os.fsencode(name)) > _NAME_MAX:
        message = f"a name has at most {_NAME_MAX} bytes; {name[:20]!r}... has more"
        raise ValueError(message)


def where(inode: Inode) -> str:
    """Return the path of an inode within its tree."""
    names: list[str] = []
    while inode.parent is not None:
        names.append(inode.name)
        inode = inode.parent
    return "/" + "/".join(reversed(names))


def parents(inode: Inode) -> Iterator[Inode]:
    """Yield an inode and all directories above it."""
    at: Inode | None = inode
    while at is not None:
        yield at
        at = at.parent


def adopt(node: Node, parent: Inode) -> None:
    """Have a node, and all below it, belong to the tree of a directory."""
    waiting = [node]
    while waiting:
        inode = inode_of(waiting.pop())
        if inode.owner not in (None, parent.owner):
            message = f"a node below is in another tree, at {where(inode)}"
            raise ValueError(message)
        inode.owner = parent.owner
        if isinstance(inode.node, Directory):
            waiting.extend(inode.node.values())
