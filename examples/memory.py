"""What memfs.py keeps in memory: the nodes, and their names in directories."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

import attrs

import acl
import triofuse
from acl import Acl
from sparse import NAME_MAX, PAGE, Space, SparseFile
from triofuse import FileAttr, FuseError, Statfs

#: The kernel gives the root its number.
ROOT = 1
#: The bits of a mode that say who may.
PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
#: The most names of one node, as in ext4.
LINK_MAX = 65000
#: How old a time of access may get, as with the mount option ``relatime``.
DAY_NS = 86400 * 10**9
#: The extended attribute of capabilities(7).
CAPABILITIES = "security.capability"


@attrs.define(eq=False)
class Node:
    """An inode: a device, pipe or socket, or one of the kinds below.

    Attributes:
      attr: What stat(2) shows; ``attr.ino`` is the ``nodeid`` and never used twice.
      xattrs: Extended attributes.
      lookups: How often the kernel was told of it and has not forgotten it.
      opens: How many handles are open.
    """

    attr: FileAttr
    xattrs: dict[str, bytes] = attrs.Factory(dict)
    lookups: int = 0
    opens: int = 0

    def changed(self) -> None:
        """Note a change of the inode."""
        self.attr.ctime_ns = time.time_ns()

    def modified(self) -> None:
        """Note a change of the contents."""
        self.attr.mtime_ns = self.attr.ctime_ns = time.time_ns()

    def accessed(self) -> None:
        """Note an access, if it is the first after a change or after a day."""
        attr, now = self.attr, time.time_ns()
        if attr.atime_ns <= max(attr.mtime_ns, attr.ctime_ns, now - DAY_NS):
            attr.atime_ns = now

    def set_times(self, request: triofuse.Setattr) -> None:
        """Note what utimensat(2) asks, and that the inode was changed."""
        # The kernel's "now" is that of its last tick: earlier than times noted here.
        flags, now = triofuse.SetattrValid, time.time_ns()
        if request.atime_ns is not None:
            is_now = request.valid & flags.ATIME_NOW
            self.attr.atime_ns = now if is_now else request.atime_ns
        if request.mtime_ns is not None:
            is_now = request.valid & flags.MTIME_NOW
            self.attr.mtime_ns = now if is_now else request.mtime_ns
        if request.valid:
            self.attr.ctime_ns = now

    def chmod(self, mode: int) -> None:
        """Set the mode, but for the type, and what the access list says of it."""
        self.attr.mode = stat.S_IFMT(self.attr.mode) | stat.S_IMODE(mode)
        if acl.ACCESS in self.xattrs:
            access = Acl.decode(self.xattrs[acl.ACCESS])
            self.xattrs[acl.ACCESS] = access.chmod(mode).encode()

    def set_xattr(self, name: str, value: bytes) -> None:
        """Set an extended attribute, and the mode if it is the access list.

        An access list that says no more than a mode becomes one.
        """
        self.changed()
        if name == acl.ACCESS:
            access = Acl.decode(value)
            self.attr.mode = self.attr.mode & ~PERMISSIONS | access.permissions
            if not access.names_somebody:
                self.xattrs.pop(name, None)
                return
        self.xattrs[name] = value

    def drop_privileges(self) -> None:
        """Take away what running the file gives: set-id bits, capabilities.

        Setgid without execute permission gives nothing, and stays.
        """
        mode = self.attr.mode & ~stat.S_ISUID
        if mode & stat.S_IXGRP:
            mode &= ~stat.S_ISGID
        if mode != self.attr.mode:
            self.attr.mode = mode
            self.changed()
        self.xattrs.pop(CAPABILITIES, None)

    def check_link(self) -> None:
        """Check that this may get one more name, as link(2) says."""
        if self.attr.nlink >= LINK_MAX:
            raise FuseError(errno.EMLINK)

    def check_replace(self, old: Node) -> None:
        """Check that this may take a name from ``old``, as rename(2) says."""
        if isinstance(old, Directory):
            raise FuseError(errno.EISDIR)

    def check_move(self, target: Directory) -> None:
        """Check that this may get a name in ``target``: not if that was removed."""
        if not target.attr.nlink:
            raise FuseError(errno.ENOENT)


class Link(NamedTuple):
    """A name in a directory; ``cookie`` is its place in the listing."""

    cookie: int
    name: str
    node: Node


@attrs.define(eq=False)
class Directory(Node):
    """A directory.

    Attributes:
      parent: The directory that it is in; the root is in itself.
      links: The names in it, in the order of their cookies.
    """

    parent: Directory = attrs.Factory(lambda self: self, takes_self=True)
    links: dict[str, Link] = attrs.Factory(dict)
    _cookies: Iterator[int] = attrs.Factory(lambda: itertools.count(3))

    def get(self, name: str) -> Node | None:
        """Return the node of a name, or None.

        Raises:
          FuseError: ENAMETOOLONG: there can be no such name.
        """
        if len(os.fsencode(name)) > NAME_MAX:
            raise FuseError(errno.ENAMETOOLONG)
        link = self.links.get(name)
        return link.node if link else None

    def find(self, name: str) -> Node:
        """Return the node of a name that must be there."""
        node = self.get(name)
        if node is None:
            raise FuseError(errno.ENOENT)
        return node

    def inherited(self, mode: int, umask: int) -> tuple[int, dict[str, bytes]]:
        """Return the mode and extended attributes of what is made here.

        A default list stands in for the umask, and goes on to directories.
        """
        default = self.xattrs.get(acl.DEFAULT)
        if default is None or stat.S_ISLNK(mode):
            return mode & ~umask, {}
        access = Acl.decode(default).inherit(mode)
        xattrs = {acl.ACCESS: access.encode()} if access.names_somebody else {}
        if stat.S_ISDIR(mode):
            xattrs[acl.DEFAULT] = default
        return mode & ~PERMISSIONS | access.permissions, xattrs

    def link(self, name: str, node: Node) -> None:
        """Give a name to a node, in place of the node that has it."""
        old = self.links.get(name)
        if old:
            self._count(old.node, -1)
            old.node.changed()
        # What replaces keeps the place, or a listing could show the name twice.
        cookie = old.cookie if old else next(self._cookies)
        self.links[name] = Link(cookie, name, node)
        self._count(node, +1)
        if isinstance(node, Directory):
            node.parent = self
        self.modified()
        node.changed()

    def unlink(self, name: str) -> None:
        """Take a name away."""
        node = self.links.pop(name).node
        self._count(node, -1)
        self.modified()
        node.changed()

    def listing(self, offset: int) -> list[Link]:
        """Return the links behind a cookie; the first are "." and ".."."""
        links = [Link(1, ".", self), Link(2, "..", self.parent), *self.links.values()]
        return links[bisect_right(links, offset, key=attrgetter("cookie")) :]

    def drop_privileges(self) -> None:
        """Keep the bits: here setgid makes new names inherit the group."""

    def check_link(self) -> None:
        """Refuse: a directory has one name."""
        raise FuseError(errno.EPERM)

    def check_replace(self, old: Node) -> None:
        """Check that this may take the name of ``old``: an empty directory."""
        if not isinstance(old, Directory):
            raise FuseError(errno.ENOTDIR)
        if old.links:
            raise FuseError(errno.ENOTEMPTY)

    def check_move(self, target: Directory) -> None:
        """Check that ``target`` is not within this, and has room for its ".."."""
        Node.check_move(self, target)
        if target is not self.parent and target.attr.nlink >= LINK_MAX:
            raise FuseError(errno.EMLINK)
        above = target
        while above is not self and above.parent is not above:
            above = above.parent
        if above is self:
            raise FuseError(errno.EINVAL)

    def _count(self, node: Node, by: int) -> None:
        node.attr.nlink += by
        if isinstance(node, Directory):
            node.attr.nlink += by  # its "."
            self.attr.nlink += by  # its ".."


@attrs.define(eq=False)
class File(Node):
    """A regular file."""

    content: SparseFile = attrs.field(kw_only=True)

    def modified(self) -> None:
        """Note a change of the contents."""
        Node.modified(self)
        self.attr.size = self.content.size
        self.attr.blocks = self.content.pages * (PAGE // 512)
        self.xattrs.pop(CAPABILITIES, None)  # set-id bits only if we are told


@attrs.define(eq=False)
class Symlink(Node):
    """A symbolic link."""

    target: str = attrs.field(kw_only=True)


class Nodes:
    """The nodes there are, by their numbers.

    Args:
      space: What files' contents take from.
      valid: Seconds for which the kernel may keep attributes.
    """

    def __init__(self, space: Space, valid: float) -> None:
        self._space = space
        self._valid = valid
        self._numbers = itertools.count(ROOT)
        root = Directory(self._attr(stat.S_IFDIR | 0o755, os.getuid(), os.getgid()))
        root.attr.nlink = 2
        self._nodes: dict[int, Node] = {ROOT: root}

    def statfs(self) -> Statfs:
        """Return what df(1) shows."""
        return self._space.statfs(len(self._nodes))

    def node(self, nodeid: int) -> Node:
        """Return any node."""
        if nodeid not in self._nodes:
            raise FuseError(errno.ESTALE)
        return self._nodes[nodeid]

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

    def made_by(
        self, request: triofuse.Request, mode: int, umask: int = 0
    ) -> tuple[FileAttr, dict[str, bytes]]:
        """Return what a caller's new node in the directory ``nodeid`` begins with.

        Its attributes and its extended attributes.
        """
        if len(self._nodes) >= self._space.total:
            raise FuseError(errno.ENOSPC)
        directory = self.directory(request.nodeid)
        mode, xattrs = directory.inherited(mode, umask)
        inherits = directory.attr.mode & stat.S_ISGID
        if inherits and stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
        gid = directory.attr.gid if inherits else request.gid
        return self._attr(mode, request.uid, gid), xattrs

    def new_file(self, request: triofuse.Create | triofuse.Mknod) -> File:
        """Return a caller's new file, which is empty and has no name yet."""
        made = self.made_by(request, request.mode, request.umask)
        return File(*made, content=SparseFile(self._space))

    def add(self, nodeid: int, name: str, node: Node) -> None:
        """Give a node a name that is free."""
        directory = self.directory(nodeid)
        if directory.get(name):
            raise FuseError(errno.EEXIST)
        node.check_move(directory)
        self.keep(node)
        directory.link(name, node)

    def keep(self, node: Node) -> None:
        """Keep a node until nobody needs it."""
        self._nodes[node.attr.ino] = node

    def drop_unused(self, node: Node) -> None:
        """Drop a node unless it has a name, is known to the kernel, or is open."""
        if node.attr.nlink or node.lookups or node.opens:
            return
        del self._nodes[node.attr.ino]
        if isinstance(node, File):
            node.content.truncate(0)

    def forget_all(self) -> None:
        """Keep only what has a name: there is no kernel any more."""
        for node in list(self._nodes.values()):
            node.lookups = node.opens = 0
            self.drop_unused(node)

    def _attr(self, mode: int, uid: int, gid: int) -> FileAttr:
        """Return attributes for a node that is born now and has no name yet."""
        attr = FileAttr(next(self._numbers), mode, nlink=0, uid=uid, gid=gid)
        attr.atime_ns = attr.mtime_ns = attr.ctime_ns = attr.btime_ns = time.time_ns()
        attr.attr_valid = self._valid
        return attr
