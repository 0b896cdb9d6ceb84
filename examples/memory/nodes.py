"""What memfs.py keeps in memory: inodes of each kind, and what POSIX says of them."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections.abc import Iterator

import attrs

import triofuse
from memory.names import Link, Names
from memory.xattrs import CAPABILITIES, Xattrs
from triofuse import FileAttr, FuseError
from triofuse.posix import acl
from triofuse.posix.acl import Acl
from triofuse.posix.space import NAME_MAX, PAGE, Space, cost_of
from triofuse.posix.sparse import SparseFile

#: The bits of a mode that say who may.
PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
#: The most names of one node, as in ext4.
LINK_MAX = 65000
#: How old a time of access may get, as with the mount option ``relatime``.
DAY_NS = 86400 * 10**9


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
    xattrs: Xattrs
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
        value = self.xattrs.get(acl.ACCESS)
        if value is not None:
            self.xattrs.set(acl.ACCESS, Acl.decode(value).chmod(mode).encode())

    def set_xattr(self, name: str, value: bytes) -> None:
        """Set an extended attribute, and the mode if it is the access list.

        An access list that says no more than a mode becomes one.
        """
        access = Acl.decode(value) if name == acl.ACCESS else None
        if access and not access.names_somebody:
            self.xattrs.discard(name)
        else:
            self.xattrs.set(name, value)
        if access:
            self.attr.mode = self.attr.mode & ~PERMISSIONS | access.permissions
        self.changed()

    def drop_privileges(self, request: triofuse.Request) -> None:
        """Take away what running the file gives: set-id bits, capabilities.

        Setgid without execute permission gives nothing, and stays if the caller is of
        the group.  Source: setattr_should_drop_sgid() in fs/attr.c.
        """
        mode = self.attr.mode & ~stat.S_ISUID
        if mode & stat.S_ISGID and (
            mode & stat.S_IXGRP or self.attr.gid not in _groups_of(request)
        ):
            mode &= ~stat.S_ISGID
        if mode != self.attr.mode:
            self.attr.mode = mode
            self.changed()
        self.xattrs.discard(CAPABILITIES)

    def check_privileges(self, request: triofuse.Setattr) -> None:
        """Check that a SETATTR of nothing may call for `drop_privileges`.

        The kernel sends it before a write, and for chown(2) of nothing, which only the
        owner and root may do, unless there is nothing to take away.  Nobody writes who
        has not opened the file for it.
        """
        has_set_ids = self.attr.mode & (stat.S_ISUID | stat.S_ISGID)
        gives = has_set_ids or CAPABILITIES in self.xattrs
        if gives and request.uid not in (0, self.attr.uid):
            raise FuseError(errno.EPERM)

    def shed(self) -> bool:
        """Give back some of the space that a dropped node has; return if more is left.

        A step takes milliseconds at most.
        """
        return self.xattrs.shed()

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


@attrs.define(eq=False)
class Directory(Node):
    """A directory.

    Attributes:
      parent: The directory that it is in; the root is in itself.
      names: The names in it; "." and ".." have the cookies 1 and 2.
    """

    _space: Space = attrs.field(kw_only=True)
    parent: Directory = attrs.Factory(lambda self: self, takes_self=True)
    names: Names = attrs.Factory(lambda: Names(itertools.count(3)))

    def get(self, name: str) -> Node | None:
        """Return the node of a name, or None.

        Raises:
          FuseError: ENAMETOOLONG: there can be no such name.
        """
        if len(os.fsencode(name)) > NAME_MAX:
            raise FuseError(errno.ENAMETOOLONG)
        link = self.names.get(name)
        return link.node if link else None

    def find(self, name: str) -> Node:
        """Return the node of a name that must be there."""
        node = self.get(name)
        if node is None:
            raise FuseError(errno.ENOENT)
        return node

    def inherit(self, mode: int, umask: int, xattrs: Xattrs) -> int:
        """Return the mode of what is made here, and set its extended attributes.

        A default list stands in for the umask, and goes on to directories.

        Raises:
          FuseError: ENOSPC: there is no space for the lists.
        """
        default = self.xattrs.get(acl.DEFAULT)
        if default is None or stat.S_ISLNK(mode):
            return mode & ~umask
        access = Acl.decode(default).inherit(mode)
        if access.names_somebody:
            xattrs.set(acl.ACCESS, access.encode())
        if stat.S_ISDIR(mode):
            xattrs.set(acl.DEFAULT, default)
        return mode & ~PERMISSIONS | access.permissions

    def link(self, name: str, node: Node) -> None:
        """Give a name to a node, in place of the node that has it.

        Raises:
          FuseError: ENOSPC: there is no space for a new name.
        """
        old = self.names.get(name)
        if old:
            self.names.replace(old, node)
            self._count(old.node, -1)
            old.node.changed()
        else:
            self._space.charge(cost_of(name))
            self.names.add(name, node)
        self._count(node, +1)
        if isinstance(node, Directory):
            node.parent = self
        self.modified()
        node.changed()

    def unlink(self, name: str) -> None:
        """Take a name away."""
        node = self.names.pop(name).node
        self._space.charge(-cost_of(name))
        self._count(node, -1)
        self.modified()
        node.changed()

    def listing(self, offset: int) -> Iterator[Link]:
        """Yield the links behind a cookie; the first are "." and ".."."""
        for link in (Link(1, ".", self), Link(2, "..", self.parent)):
            if link.cookie > offset:
                yield link
        for link in self.names.after(offset):
            if link.node.attr.nlink:  # else it went while the kernel was listing
                yield link

    def drop_privileges(self, request: triofuse.Request) -> None:
        """Keep the bits: here setgid makes new names inherit the group."""

    def check_link(self) -> None:
        """Refuse: a directory has one name."""
        raise FuseError(errno.EPERM)

    def check_replace(self, old: Node) -> None:
        """Check that this may take the name of ``old``: an empty directory."""
        if not isinstance(old, Directory):
            raise FuseError(errno.ENOTDIR)
        if old.names:
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
    """A regular file.

    Attributes:
      writers: How many handles are open for writing.
    """

    content: SparseFile = attrs.field(kw_only=True)
    writers: int = 0

    def shed(self) -> bool:
        """Give back some of the contents, too."""
        if self.content.pages and self.content.discard():
            return True
        return Node.shed(self)

    def modified(self) -> None:
        """Note a change of the contents."""
        Node.modified(self)
        self.attr.size = self.content.size
        self.attr.blocks = self.content.pages * (PAGE // 512)
        self.xattrs.discard(CAPABILITIES)  # set-id bits only if we are told

    def check_privileges(self, request: triofuse.Setattr) -> None:
        """Check that somebody may write, or that the caller may chown(2)."""
        if not self.writers:
            Node.check_privileges(self, request)


@attrs.define(eq=False)
class Symlink(Node):
    """A symbolic link."""

    target: str = attrs.field(kw_only=True)
    _space: Space = attrs.field(kw_only=True)

    _cost: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.attr.size = len(os.fsencode(self.target))
        self._space.charge(cost_of(self.target))
        self._cost = cost_of(self.target)

    def shed(self) -> bool:
        """Give back what the target takes, too."""
        self._space.charge(-self._cost)
        self._cost = 0
        return Node.shed(self)


def _groups_of(request: triofuse.Request) -> set[int]:
    """Return the groups of a caller, as far as /proc tells of it."""
    groups = {request.gid}
    try:
        with open(f"/proc/{request.pid}/status") as status:
            for line in status:
                if line.startswith("Groups:"):
                    groups.update(map(int, line.split()[1:]))
    except OSError:  # it has gone, or is in another pid namespace
        pass
    return groups
