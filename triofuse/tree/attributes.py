"""Requests about inodes: attributes, links' targets and extended attributes."""

from __future__ import annotations

import errno
import math
import stat
import time
from collections.abc import Iterable

import trio

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import (
    O_ACCMODE,
    SetattrValid,
    SetxattrFlags,
    SetxattrInFlags,
)
from triofuse.filesystem.replies import Buffer, FileAttr, IoctlReply, Statfs
from triofuse.posix import acl
from triofuse.posix.groups import groups_of
from triofuse.tree import xattrs
from triofuse.tree.births import save_written
from triofuse.tree.file import File
from triofuse.tree.inode import Inode
from triofuse.tree.node import SymbolicLink
from triofuse.tree.stat import Stat
from triofuse.tree.table import Table

__all__ = ["Attributes", "drop_privileges"]

#: Plain numbers: ``&`` with a member of an IntFlag costs a whole microsecond.
_KILL_SUIDGID = int(SetattrValid.KILL_SUIDGID)
_ATIME_NOW, _MTIME_NOW = int(SetattrValid.ATIME_NOW), int(SetattrValid.MTIME_NOW)


class Attributes(Table):
    """The requests about inodes."""

    async def statfs(self, request: r.StatfsRequest) -> Statfs:
        """Return what is taken of the memory that contents may take."""
        while (
            self._ending.reclaim()
        ):  # else it shows space as used that is free at once
            await trio.lowlevel.checkpoint()
        return self.space.statfs(self.nodes)

    async def getattr(self, request: r.Getattr) -> FileAttr:
        """Return attributes, which may be asked anew."""
        inode = self._inodes.get(request.nodeid)
        if inode is not None and inode.fresh_until == math.inf:
            return inode.attr  # most of all requests are these
        return await self._fresh(self._inode(request.nodeid))

    async def statx(self, request: r.Statx) -> FileAttr:
        """Return attributes with the time of birth."""
        return await self._fresh(self._inode(request.nodeid))

    async def setattr(self, request: r.Setattr) -> FileAttr:
        """Change attributes: chmod, chown, truncate and utimensat."""
        inode = self._inode(request.nodeid)
        node, valid = inode.node, request.valid
        self._check_writable(node)
        if not valid:
            self._check_privileges(inode, request)
        if request.size is not None:
            await self._truncate(inode, request)
        changes = _changes(request, inode.attr.mode)
        if changes is not None:
            try:
                await node.save(changes)
            except BaseException:
                self.outdated(inode)  # it may have been done nevertheless
                raise
            inode.apply(changes)
            if changes.mode is not None:
                _chmod_acl(inode, changes.mode)
        # A SETATTR of nothing comes before a write that ends set-id rights.
        if not valid or valid & _KILL_SUIDGID:
            await drop_privileges(inode, request)
        return inode.attr

    def _check_privileges(self, inode: Inode, request: r.Setattr) -> None:
        """Check that a SETATTR of nothing may end set-id rights.

        The kernel sends it before a write, and for chown(2) of nothing, which only the
        owner and root may do, unless there is nothing to take away.  Nobody writes who
        has not opened the file for it.
        """
        if request.uid in (0, inode.attr.uid):
            return
        gives = inode.attr.mode & (stat.S_ISUID | stat.S_ISGID)
        if not gives and xattrs.CAPABILITIES not in (inode.xattrs or ()):
            return
        opened = (one for one in self._handles.values() if one.inode is inode)
        if not any(one.flags & O_ACCMODE for one in opened):
            raise FuseError(errno.EPERM)

    async def _truncate(self, inode: Inode, request: r.Setattr) -> None:
        node = inode.node
        if not isinstance(node, File):
            raise FuseError(errno.EINVAL)
        assert request.size is not None
        opened = self._handles.get(request.fh) if request.fh else None
        target = node if opened is None else opened.target
        await getattr(target, "truncate", node.truncate)(request.size)
        node.resized(request.size)
        inode.modified()
        await save_written(inode)

    async def readlink(self, request: r.Readlink) -> str:
        """Return the target of a symbolic link."""
        inode = self._inode(request.nodeid)
        node = inode.node
        if not isinstance(node, SymbolicLink):
            raise FuseError(errno.EINVAL)
        if node.writable:
            inode.accessed()
        return await node.readlink()

    # --- Extended attributes

    async def getxattr(self, request: r.Getxattr) -> Buffer:
        """Return an extended attribute."""
        xattrs.check_name(request.name)
        value = await self._inode(request.nodeid).node.getxattr(request.name)
        if value is None:
            raise FuseError(errno.ENODATA)
        return value

    async def listxattr(self, request: r.Listxattr) -> Iterable[str]:
        """Return the names of all extended attributes."""
        hidden = ("trusted.",) if request.uid else ()
        names = await self._inode(request.nodeid).node.listxattr()
        return [name for name in names if not name.startswith(hidden)]

    async def setxattr(self, request: r.Setxattr) -> None:
        """Set an extended attribute."""
        inode, name = self._inode(request.nodeid), request.name
        xattrs.check_name(name)
        self._check_writable(inode.node)
        if request.flags:
            known = await inode.node.getxattr(name) is not None
            if known and request.flags & SetxattrFlags.CREATE:
                raise FuseError(errno.EEXIST)
            if not known and request.flags & SetxattrFlags.REPLACE:
                raise FuseError(errno.ENODATA)
        await inode.node.setxattr(name, bytes(request.value))
        kills_sgid = request.setxattr_flags & SetxattrInFlags.ACL_KILL_SGID
        if kills_sgid and name == acl.ACCESS:
            inode.set_mode(inode.attr.mode & ~stat.S_ISGID)
        inode.changed()

    async def removexattr(self, request: r.Removexattr) -> None:
        """Remove an extended attribute."""
        inode, name = self._inode(request.nodeid), request.name
        xattrs.check_name(name)
        self._check_writable(inode.node)
        if await inode.node.getxattr(name) is not None:
            await inode.node.removexattr(name)
            inode.changed()
        elif (
            name not in xattrs.ACLS
        ):  # they are there, in a way: the mode says the same
            raise FuseError(errno.ENODATA)

    async def ioctl(self, request: r.Ioctl) -> IoctlReply:
        """Do a command of ioctl(2)."""
        opened = self._handles.get(request.fh) if request.fh else None
        node = self._inode(request.nodeid).node
        target = node if opened is None else opened.target
        ioctl = getattr(target, "ioctl", node.ioctl)
        reply: IoctlReply = await ioctl(request.cmd, request.data, request.out_size)
        return reply


async def drop_privileges(inode: Inode, request: r.Request) -> None:
    """Take away what running the file gives: set-id bits, capabilities.

    Setgid without execute permission gives nothing, and stays if the caller is of the
    group.  Of directories the bits mean something else.

    Source: ``setattr_should_drop_sgid()`` in fs/attr.c.
    """
    if inode.is_dir:
        return
    mode = inode.attr.mode & ~stat.S_ISUID
    if mode & stat.S_ISGID and (
        mode & stat.S_IXGRP or inode.attr.gid not in groups_of(request)
    ):
        mode &= ~stat.S_ISGID
    if mode != inode.attr.mode:
        await inode.node.save(Stat(mode=mode))
        inode.set_mode(mode)
        inode.changed()
    if inode.xattrs:
        xattrs.discard(inode, xattrs.CAPABILITIES)


def _changes(request: r.Setattr, mode: int) -> Stat | None:
    """Return what a SETATTR changes but for the size; None for nothing."""
    if not request.valid:
        return None
    # The kernel's "now" is that of its last tick: earlier than times noted here.
    now = time.time_ns()
    new_mode = stat.S_IFMT(mode) | stat.S_IMODE(request.mode or 0)
    atime, mtime = request.atime_ns, request.mtime_ns
    if atime is not None and request.valid & _ATIME_NOW:
        atime = now
    if mtime is not None and request.valid & _MTIME_NOW:
        mtime = now
    return Stat(
        mode=None if request.mode is None else new_mode,
        uid=request.new_uid,
        gid=request.new_gid,
        atime_ns=atime,
        mtime_ns=mtime,
        ctime_ns=now,
    )


def _chmod_acl(inode: Inode, mode: int) -> None:
    """Have the access list say what the mode says."""
    if inode.xattrs and acl.ACCESS in inode.xattrs:
        access = acl.Acl.decode(inode.xattrs[acl.ACCESS])
        inode.xattrs[acl.ACCESS] = access.chmod(mode).encode()
