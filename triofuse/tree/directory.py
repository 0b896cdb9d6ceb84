"""Directories that are filled: mappings of names to nodes."""

from __future__ import annotations

import stat as s
from collections.abc import Hashable, Iterable, Iterator, Mapping, MutableMapping
from typing import TypeAlias, Union, cast

from triofuse.posix.space import cost_of
from triofuse.tree.file import File
from triofuse.tree.folder import FolderNode
from triofuse.tree.inode import Inode, Owner
from triofuse.tree.node import Node, Special, SymbolicLink, check_type, inode_of
from triofuse.tree.places import check_name, check_same_kind, parents, where
from triofuse.tree.stat import Stat

__all__ = ["Child", "Directory", "adopt", "node_of"]

#: What a filled directory takes: a node, the contents of a file, or of a directory.
Child: TypeAlias = Union[Node, str, bytes, "Mapping[str, Child]"]


class Directory(FolderNode, MutableMapping[str, Node]):
    """A directory that holds its children: a mapping of names to nodes.

    Set and delete names to change it, from any task::

        root["name"] = File("contents")  # or "contents", or {"a": "directory"}
        del root["name"]
        root.move("old", elsewhere, "new")

    Clients see that at once, or as soon as the kernel has been told of names that it
    knew: see ``Tree.told``.  A node that is taken out and not put in again before the
    next checkpoint is dropped (`drop`), and all that is below it.  One node may have
    several names: hard links.

    To permit only some of what clients do, override `make`, `link`, `unlink` and
    `rename`; each ends in ``return await super().make(...)`` or raises an error.

    Args:
      children: What is in it.  For a node may stand the contents of a file, as bytes
        or text, or those of a directory, as a mapping.
      writable: Whether clients may change it; what they make there is kept in memory.
      key, stat, valid: As for `Node`.
    """

    __slots__ = ("_children", "_writable")

    HOLDS = True

    def __init__(
        self,
        children: Mapping[str, Child] | None = None,
        *,
        writable: bool = False,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        if children is not None:
            words = "a Directory takes a mapping, {'name': File(...)} for instance"
            check_type(children, Mapping, words)
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

    def __hash__(self) -> int:
        return id(self)

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

    def makedirs(self, *names: str) -> Directory:
        """Return the directory at a path below this one; make what is missing of it.

        Raises:
          ValueError: One of the names is that of something else.
        """
        at = self
        for name in names:
            below = at.setdefault(name, Directory(writable=self.writable))
            if not isinstance(below, Directory):
                message = f"{name!r} in {names!r} is no directory, but {below!r}"
                raise ValueError(message)
            at = below
        return at

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
        if inode.owner is not None or isinstance(node, FolderNode):
            self._check_child(name, node, inode)
        if name in self._children:
            self._take(name)
        if inode.owner is not mine.owner and mine.owner is not None:
            adopt(node, mine.owner)
            inode = inode_of(node)  # another, if there is one of its key
        self._children[name] = node
        inode.add_place(mine, name)
        if mine.owner is not None:
            mine.owner.space.small += cost_of(name)
        if isinstance(node, FolderNode):
            mine.set_nlink(mine.attr.nlink and mine.attr.nlink + 1)
            if node.HOLDS:
                inode.set_nlink(2 + _directories(node))
        else:
            inode.set_nlink(inode.attr.nlink + 1 if inode.more_places else 1)
        mine.modified()
        inode.changed()

    def _take(self, name: str) -> Node:
        """Take a name away."""
        node = self._children.pop(name)
        mine, inode = inode_of(self), inode_of(node)
        inode.remove_place(mine, name)
        if isinstance(node, FolderNode):
            # One that has been removed has 0, also while somebody is still in it.
            mine.set_nlink(mine.attr.nlink and mine.attr.nlink - 1)
            inode.set_nlink(0)
        else:
            inode.set_nlink(inode.attr.nlink - 1)
        mine.modified()
        inode.changed()
        if mine.owner is not None:
            mine.owner.space.small -= cost_of(name)
            mine.owner.may_be_unused(inode)
        return node

    def empty(self) -> None:
        """Take all names away: the directory itself has gone."""
        for name in list(self._children):
            self._take(name)

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
    if not isinstance(child, Node) and isinstance(child, Mapping):
        return Directory(child)
    inode_of(child)  # which says what is wrong
    return child


def _directories(directory: Node) -> int:
    assert isinstance(directory, Directory)
    return sum(isinstance(child, FolderNode) for child in directory.values())


def adopt(node: Node, owner: Owner) -> None:
    """Have a node, and all below it, belong to a tree."""
    waiting, found = [node], []
    keys: dict[Hashable, Inode] = {}
    while waiting:
        inode = inode_of(waiting.pop())
        if inode.owner not in (None, owner):
            message = f"a node below is in another tree, at {where(inode)}"
            raise ValueError(message)
        owner.admit(inode)
        if inode.key is not None:
            check_same_kind(keys.setdefault(inode.key, inode), inode)
        found.append(inode)
        if inode.node.HOLDS:
            waiting.extend(cast(Directory, inode.node).values())
    for inode in found:
        if inode.owner is None:
            inode.owner = owner
            owner.space.small += inode.charged
            owner.nodes += 1
            if inode.key is not None:
                owner.share(inode)
            if inode.node.HOLDS:
                assert isinstance(inode.node, Directory)
                owner.space.small += sum(map(cost_of, inode.node))
