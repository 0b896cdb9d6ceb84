"""The nodes that memfs.py has, by their numbers, from their making to their end."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections import defaultdict
from collections.abc import Iterator

import trio

import triofuse
from memory.nodes import Directory, File, Node, Symlink
from memory.xattrs import Xattrs
from triofuse import FileAttr, FuseError, Statfs
from triofuse.posix.space import Space, cost_of
from triofuse.posix.sparse import SparseFile

#: The kernel gives the root its number.
ROOT = 1
#: How many nodes share a dict: one of a million would hold everybody up as it grows.
SHELF = 1 << 12


class Nodes:
    """The nodes there are, by their numbers.

    Args:
      space: What files, names and extended attributes take from.
      valid: Seconds for which the kernel may keep attributes.
    """

    def __init__(self, space: Space, valid: float) -> None:
        self._space = space
        self._valid = valid
        self._numbers = itertools.count(ROOT)
        self._shelves: defaultdict[int, dict[int, Node]] = defaultdict(dict)
        self._count = 0
        self._dropped: list[Node] = []
        space.reclaim = self._shed
        attr = self._attr(stat.S_IFDIR | 0o755, os.getuid(), os.getgid())
        root = Directory(attr, Xattrs(space), space=space)
        root.attr.nlink = 2
        self.keep(root)

    def items(self) -> Iterator[tuple[int, Node]]:
        """Yield all nodes and their numbers; none may come or go meanwhile."""
        for shelf in self._shelves.values():
            yield from shelf.items()

    def statfs(self) -> Statfs:
        """Return what df(1) shows."""
        return self._space.statfs(self._count)

    def node(self, nodeid: int) -> Node:
        """Return any node."""
        shelf = self._shelves.get(nodeid // SHELF)
        node = shelf.get(nodeid) if shelf else None
        if node is None:
            raise FuseError(errno.ESTALE)
        return node

    def file(self, nodeid: int) -> File:
        """Return a regular file."""
        node = self.node(nodeid)
        if not isinstance(node, File):
            raise FuseError(errno.EINVAL)
        return node

    def directory(self, nodeid: int) -> Directory:
        """Return a directory."""
        node = self.node(nodeid)
        if not isinstance(node, Directory):
            raise FuseError(errno.ENOTDIR)
        return node

    def find(self, nodeid: int, name: str) -> Node | None:
        """Return the node of a name in a directory, or None.

        "." of any node, and ".." of a directory, are asked for when somebody comes
        with a file handle of it, and the kernel has forgotten it.
        """
        if name == ".":
            return self.node(nodeid)
        directory = self.directory(nodeid)
        return directory.parent if name == ".." else directory.get(name)

    # --- New nodes

    def new_file(self, request: triofuse.Create | triofuse.Mknod) -> File:
        """Return a caller's new file, which is empty and has no name yet."""
        made = self._made_by(request, request.mode, request.umask)
        return File(*made, content=SparseFile(self._space))

    def new_node(self, request: triofuse.Request, mode: int, umask: int = 0) -> Node:
        """Return a caller's new device, pipe or socket."""
        return Node(*self._made_by(request, mode, umask))

    def new_directory(self, request: triofuse.Mkdir) -> Directory:
        """Return a caller's new directory."""
        made = self._made_by(request, stat.S_IFDIR | request.mode, request.umask)
        return Directory(*made, space=self._space)

    def new_symlink(self, request: triofuse.Symlink) -> Symlink:
        """Return a caller's new symbolic link."""
        made = self._made_by(request, stat.S_IFLNK | 0o777)
        return Symlink(*made, target=request.target, space=self._space)

    def _made_by(
        self, request: triofuse.Request, mode: int, umask: int = 0
    ) -> tuple[FileAttr, Xattrs]:
        """Return what a caller's new node in the directory ``nodeid`` begins with."""
        if self._count >= self._space.total:
            raise FuseError(errno.ENOSPC)
        directory = self.directory(request.nodeid)
        xattrs = Xattrs(self._space)
        try:
            mode = directory.inherit(mode, umask, xattrs)
        except FuseError:
            xattrs.shed()
            raise
        inherits = directory.attr.mode & stat.S_ISGID
        if inherits and stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
        gid = directory.attr.gid if inherits else request.gid
        return self._attr(mode, request.uid, gid), xattrs

    def _attr(self, mode: int, uid: int, gid: int) -> FileAttr:
        """Return attributes for a node that is born now and has no name yet."""
        number = next(self._numbers)
        attr = FileAttr(number, mode, nlink=0, blocks=0, uid=uid, gid=gid)
        attr.atime_ns = attr.mtime_ns = attr.ctime_ns = attr.btime_ns = time.time_ns()
        attr.attr_valid = self._valid
        return attr

    # --- Names

    def add(self, nodeid: int, name: str, node: Node) -> None:
        """Give a new node a name, and keep it."""
        try:
            self.link(nodeid, name, node)
        except FuseError:
            node.shed()
            raise
        self.keep(node)

    def link(self, nodeid: int, name: str, node: Node) -> None:
        """Give a node a name that is free."""
        directory = self.directory(nodeid)
        if directory.get(name):
            raise FuseError(errno.EEXIST)
        node.check_move(directory)
        directory.link(name, node)

    def check_rename(self, request: triofuse.Rename, *, frees: bool) -> None:
        """Check that there is space for a new name, where an old one may be freed."""
        freed = cost_of(request.name) if frees else 0
        self._space.check(cost_of(request.newname) - freed)

    # --- The end of a node

    def keep(self, node: Node) -> None:
        """Keep a node until nobody needs it."""
        self._shelves[node.attr.ino // SHELF][node.attr.ino] = node
        self._count += 1

    def drop_unused(self, node: Node) -> None:
        """Drop a node unless it has a name, is known to the kernel, or is open."""
        if node.attr.nlink or node.lookups or node.opens:
            return
        number = node.attr.ino // SHELF
        del self._shelves[number][node.attr.ino]
        if not self._shelves[number]:
            del self._shelves[number]
        self._count -= 1
        if node.shed():
            self._shed_later(node)

    def forget_all(self) -> None:
        """Keep only what has a name: there is no kernel any more."""
        for _, node in list(self.items()):
            node.lookups = node.opens = 0
            if isinstance(node, File):
                node.writers = 0
            self.drop_unused(node)
        while self._shed():
            pass

    async def settle(self) -> None:
        """Give back all that dropped nodes have."""
        while self._shed():
            await trio.lowlevel.checkpoint()

    def _shed_later(self, node: Node) -> None:
        """Give back what a large node has in steps, while other requests are served."""
        self._dropped.append(node)
        if len(self._dropped) == 1:
            # FORGET has no task of its own that could wait for it.
            trio.lowlevel.spawn_system_task(self.settle)

    def _shed(self) -> bool:
        """Do a step of it, and return whether there was one to do."""
        if not self._dropped:
            return False
        if not self._dropped[-1].shed():
            self._dropped.pop()
        return True
