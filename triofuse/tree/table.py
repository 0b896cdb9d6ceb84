"""The inodes that the kernel knows, and what it is told of them."""

from __future__ import annotations

import errno
import itertools
import math
import secrets
import stat
import threading
from collections.abc import Hashable, Iterable
from weakref import WeakValueDictionary

import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import Entry, FileAttr
from triofuse.filesystem.requests import Forget
from triofuse.posix.space import Space
from triofuse.tree.changes import Changes
from triofuse.tree.directory import Directory, adopt
from triofuse.tree.ending import Ending
from triofuse.tree.file import File
from triofuse.tree.folder import AskedDirectory, FolderNode
from triofuse.tree.forgetting import Forgetting
from triofuse.tree.handle import Handle
from triofuse.tree.inode import Inode
from triofuse.tree.kinds import Kinds
from triofuse.tree.node import GONE, Node, check_type, inode_of
from triofuse.tree.places import check_same_kind
from triofuse.tree.stat import Stat, check_stat

__all__ = ["Table"]

ROOT = 1

#: What the kernel is told of names that are absent until the tree says otherwise.
_ABSENT = Entry.negative(math.inf)

#: Absent names that the kernel may keep at a time; it asks again for others.
_MAX_ABSENT = 10_000


class Table(Filesystem):
    """Numbers inodes, and counts what the kernel knows of each."""

    def __init__(
        self,
        root: Node,
        space: Space,
        *,
        read_only: bool,
        max_nodes: int | None,
        kinds: Iterable[type[Node]],
    ) -> None:
        inode = inode_of(root)
        if inode.owner is not None or inode.parent is not None:
            message = "the root of a tree cannot be part of another tree"
            raise ValueError(message)
        self.space = space
        self.nodes = 0
        self.root = root
        self._read_only = read_only
        self._numbers = itertools.count(ROOT)
        # File handles of an earlier tree, with the same numbers, are stale.
        self._generation = secrets.randbits(31)
        self._inodes: dict[int, Inode] = {}
        self._keys: WeakValueDictionary[Hashable, Inode] = WeakValueDictionary()
        self._absent: set[tuple[int, str]] = set()
        self._polled: dict[int, set[int]] = {}
        self._changes = Changes()
        self._ending = Ending(self)
        self._forgetting = Forgetting(self, max_nodes or math.inf)
        self._thread = 0
        self._handles: dict[int, Handle] = {}
        self._fhs = itertools.count(1)
        self._tasks: trio.Nursery | None = None
        self._running = trio.Event()
        self._kinds = Kinds(self)
        for kind in kinds:
            self._kinds.admit(kind, mounted=False)
        adopt(root, self)
        self._inodes[self.number(inode)] = inode

    # --- What nodes ask of the tree

    def number(self, inode: Inode) -> int:
        """Return the inode's number; the first time, choose it."""
        attr = inode.attr
        if not attr.ino:
            attr.ino = inode.nodeid = next(self._numbers)
            # The kernel takes a root with another generation for a new one.
            inode.generation = self._generation if attr.ino != ROOT else 0
            if inode.valid < math.inf == inode.fresh_until and self._thread:
                inode.fresh_until = trio.current_time() + inode.valid
            if inode.key is not None:
                self._keys.setdefault(inode.key, inode)
        return attr.ino

    def share(self, inode: Inode) -> None:
        """Have two nodes of one key be the same inode."""
        former = self._keys.setdefault(inode.key, inode)
        if former is not inode:
            places, nlink = list(inode.places()), former.attr.nlink
            _renewed(former, inode).set_nlink(nlink + inode.attr.nlink)
            for place in places:
                former.add_place(*place)
            self.nodes -= 1

    def check_thread(self) -> None:
        """Raise RuntimeError in a thread that may not change the tree."""
        if self._thread not in (0, threading.get_ident()):
            message = (
                "this tree is mounted, so it is changed in trio's thread only: "
                "use trio.from_thread.run_sync(...)"
            )
            raise RuntimeError(message)

    def attributes_changed(self, inode: Inode) -> None:
        """Have the kernel drop the attributes of an inode."""
        if inode.nlookup or inode.attr.ino == ROOT:
            self._changes.attributes(inode.attr.ino)

    def data_changed(self, inode: Inode) -> None:
        """Have the kernel drop attributes and data of an inode."""
        if inode.nlookup or inode.attr.ino == ROOT:
            self._changes.data(inode.attr.ino)

    def outdated(self, inode: Inode) -> None:
        """Have the attributes of what a store has asked for again."""
        if inode.valid < math.inf:
            inode.fresh_until = -math.inf
        self.attributes_changed(inode)

    def name_changed(self, directory: Inode, name: str, child: Inode | None) -> None:
        """Have the kernel drop a name, if it was told of it."""
        parent = directory.attr.ino
        if child is None:
            known = (parent, name) in self._absent
            self._absent.discard((parent, name))
        else:
            known = child.nlookup > 0
        if known:
            gone = child is not None and child.parent is None
            self._changes.name(parent, name, child.attr.ino if gone and child else 0)
        self.attributes_changed(directory)
        self._ending.soon()

    def may_be_unused(self, inode: Inode) -> None:
        """Look at the next checkpoint whether anything is left of an inode."""
        self._ending.suspect(inode)

    def wake_pollers(self, inode: Inode) -> None:
        """Wake who polls a file."""
        for kh in self._polled.pop(inode.attr.ino, ()):
            self._changes.poll(kh)

    def admit(self, inode: Inode) -> None:
        """Take an inode in; raise TypeError if the mount has left out what it has."""
        former = None if inode.key is None else self._keys.get(inode.key)
        if former is not None and former.is_held:
            check_same_kind(former, inode)
        kind = type(inode.node)
        if kind not in self._kinds.known:
            self._kinds.admit(kind, mounted=bool(self._thread))

    # --- What the kernel knows

    def _inode(self, nodeid: int) -> Inode:
        try:
            return self._inodes[nodeid]
        except KeyError:
            raise FuseError(errno.ESTALE) from None

    def _file(self, nodeid: int) -> tuple[Inode, File]:
        inode = self._inode(nodeid)
        if not isinstance(inode.node, File):
            raise FuseError(errno.EINVAL)
        return inode, inode.node

    def _folder(self, nodeid: int) -> tuple[Inode, FolderNode]:
        inode = self._inode(nodeid)
        if not isinstance(inode.node, FolderNode):
            raise FuseError(errno.ENOTDIR)
        return inode, inode.node

    async def _child(self, directory: Inode, name: str) -> Inode | None:
        """Return the inode of a name, from memory or from the store."""
        node = directory.node
        if type(node) is Directory:  # it need not be awaited
            held = node._children.get(name)  # noqa: SLF001  (its friend)
            return None if held is None else inode_of(held)
        assert isinstance(node, FolderNode)
        child = await node.lookup(name)
        return None if child is None else self._known(directory, name, child)

    def _known(self, directory: Inode, name: str, child: Node) -> Inode:
        """Return the inode of a child; a newer object of one takes its place."""
        inode = inode_of(child)
        if inode.is_held:
            return inode
        if directory.node.HOLDS and not name:  # O_TMPFILE
            adopt(child, self)
            return inode
        return self._asked(directory, name, child, inode)

    def _asked(self, directory: Inode, name: str, child: Node, inode: Inode) -> Inode:
        """Return the inode of what a store has."""
        inode.node = child
        if inode.valid < math.inf:
            inode.fresh_until = trio.current_time() + inode.valid
        if inode.key is None and isinstance(directory.node, AskedDirectory):
            inode.key = (directory.attr.ino, name)
        former = None if inode.key is None else self._keys.get(inode.key)
        if former is not inode:
            self.admit(inode)
            inode.owner = self
            if former is not None and stat.S_IFMT(former.attr.mode ^ inode.attr.mode):
                del self._keys[inode.key]  # it is something else now
                former = None
            if not inode.attr.nlink:  # the store says nothing of it
                inode.set_nlink(1 if former is None else former.attr.nlink)
            if former is not None:
                inode = _renewed(former, inode)
        if name:
            inode.parent, inode.name = directory, name
        inode.is_asked = True
        return inode

    def _is_fresh(self, inode: Inode) -> bool:
        return inode.fresh_until == math.inf or inode.fresh_until > trio.current_time()

    async def _fresh(self, inode: Inode) -> FileAttr:
        """Return attributes that are not older than they may be."""
        if not self._is_fresh(inode):
            changes = await inode.node.refresh()
            if changes is not None:
                name = type(inode.node).__name__
                check_type(changes, Stat, f"{name}.refresh() returns a Stat or None")
                check_stat(changes)
                inode.apply(changes)
            inode.fresh_until = trio.current_time() + inode.valid
        return inode.attr

    def _entry(self, inode: Inode) -> Entry:
        """Return what the kernel is told of a name: one lookup more."""
        if not inode.nlookup:
            self._inodes[self.number(inode)] = inode
            self._forgetting.known += 1
            if self._forgetting.known > self._forgetting.most:
                self._forgetting.ask_soon()
        inode.nlookup += 1
        valid = inode.valid if inode.is_asked else math.inf
        if valid != inode.entry_valid:
            inode.set_entry_valid(valid)
        return inode

    def _absence(self, directory: Inode, name: str) -> Entry:
        """Return what the kernel is told of a name that is not there."""
        if len(self._absent) >= _MAX_ABSENT:
            raise FuseError(errno.ENOENT)
        if isinstance(directory.node, AskedDirectory):
            return Entry.negative(directory.valid)
        self._absent.add((directory.attr.ino, name))
        return _ABSENT

    def forget(self, request: Forget) -> None:
        """Take lookups off an inode."""
        inode = self._inodes.get(request.nodeid)
        if inode is not None:
            inode.nlookup -= request.nlookup
            if not inode.nlookup:
                self._forgetting.known -= 1
                self._let_go(inode)

    def _let_go(self, inode: Inode) -> None:
        """Drop an inode of which nothing is left; forget what the store has."""
        if inode.nlookup or inode.nopen or inode.attr.ino == ROOT or inode.is_held:
            return
        self._inodes.pop(inode.attr.ino, None)
        self._ending.suspect(inode)
        self._ending.decide()
        if inode.is_asked and not inode.dropped:
            inode.node = GONE  # the store will make another object

    def _check_writable(self, node: Node) -> None:
        if self._read_only or not node.writable:
            raise FuseError(errno.EROFS)


def _renewed(former: Inode, newer: Inode) -> Inode:
    """Give the inode of an older object the attributes of a newer one."""
    former.attr, newer_attr = newer.attr, former.attr
    former.attr.ino = newer_attr.ino
    former.record = None
    former.fresh_until, former.valid = newer.fresh_until, newer.valid
    former.node = newer.node
    newer.node._inode = former  # noqa: SLF001  (the tree is its friend)
    return former
