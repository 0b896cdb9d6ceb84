"""Requests about inodes: attributes, links' targets and extended attributes."""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Iterable

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import SetattrValid, SetxattrFlags, SetxattrInFlags
from triofuse.filesystem.replies import Buffer, FileAttr, Statfs
from triofuse.posix import acl
from triofuse.tree.file import File
from triofuse.tree.inode import Inode
from triofuse.tree.node import SymbolicLink
from triofuse.tree.stat import Stat, apply
from triofuse.tree.table import Table

__all__ = ["Attributes", "drop_privileges"]

_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO

#: The extended attribute of capabilities(7).
_CAPABILITIES = "security.capability"

#: What extended attributes may be about.
_NAMESPACES = ("user.", "trusted.", "security.")
_ACLS = (acl.ACCESS, acl.DEFAULT)

#: Plain numbers: ``&`` with a member of an IntFlag costs a whole microsecond.
_KILL_SUIDGID = int(SetattrValid.KILL_SUIDGID)
_ATIME_NOW, _MTIME_NOW = int(SetattrValid.ATIME_NOW), int(SetattrValid.MTIME_NOW)


class Attributes(Table):
    """The requests about inodes."""

    async def statfs(self, request: r.StatfsRequest) -> Statfs:
        """Return what is taken of the memory that contents may take."""
        return self.space.statfs(len(self._inodes))

    async def getattr(self, request: r.Getattr) -> FileAttr:
        """Return attributes, which may be asked anew."""
        inode = self._inode(request.nodeid)
        return await self._fresh(inode)

    async def statx(self, request: r.Statx) -> FileAttr:
        """Return attributes with the time of birth."""
        return await self._fresh(self._inode(request.nodeid))

    async def setattr(self, request: r.Setattr) -> FileAttr:
        """Change attributes: chmod, chown, truncate and utimensat."""
        inode = self._inode(request.nodeid)
        node, valid = inode.node, request.valid
        self._check_writable(node)
        if request.size is not None:
            await self._truncate(inode, request)
        changes = _changes(request)
        if changes is not None:
            await node.save(changes)
            apply(inode.attr, changes)
            if changes.mode is not None:
                _chmod_acl(inode, changes.mode)
        # A SETATTR of nothing comes before a write that ends set-id rights.
        if not valid or valid & _KILL_SUIDGID:
            await drop_privileges(inode)
        return inode.attr

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

    async def readlink(self, request: r.Readlink) -> str:
        """Return the target of a symbolic link."""
        node = self._inode(request.nodeid).node
        if not isinstance(node, SymbolicLink):
            raise FuseError(errno.EINVAL)
        return await node.readlink()

    # --- Extended attributes

    async def getxattr(self, request: r.Getxattr) -> Buffer:
        """Return an extended attribute."""
        _check_xattr(request.name)
        value = (self._inode(request.nodeid).xattrs or {}).get(request.name)
        if value is None:
            raise FuseError(errno.ENODATA)
        return value

    async def listxattr(self, request: r.Listxattr) -> Iterable[str]:
        """Return the names of all extended attributes."""
        hidden = ("trusted.",) if request.uid else ()
        names = self._inode(request.nodeid).xattrs or {}
        return [name for name in names if not name.startswith(hidden)]

    async def setxattr(self, request: r.Setxattr) -> None:
        """Set an extended attribute."""
        inode, name = self._inode(request.nodeid), request.name
        _check_xattr(name)
        self._check_writable(inode.node)
        known = name in (inode.xattrs or {})
        if known and request.flags & SetxattrFlags.CREATE:
            raise FuseError(errno.EEXIST)
        if not known and request.flags & SetxattrFlags.REPLACE:
            raise FuseError(errno.ENODATA)
        _set_xattr(inode, name, bytes(request.value))
        kills_sgid = request.setxattr_flags & SetxattrInFlags.ACL_KILL_SGID
        if kills_sgid and name == acl.ACCESS:
            inode.attr.mode &= ~stat.S_ISGID

    async def removexattr(self, request: r.Removexattr) -> None:
        """Remove an extended attribute."""
        inode, name = self._inode(request.nodeid), request.name
        _check_xattr(name)
        self._check_writable(inode.node)
        if inode.xattrs and name in inode.xattrs:
            del inode.xattrs[name]
            inode.changed()
        elif name not in _ACLS:  # which are there, in a way: the mode says the same
            raise FuseError(errno.ENODATA)


async def drop_privileges(inode: Inode) -> None:
    """Take away what running the file gives: set-id bits, capabilities.

    Setgid without execute permission gives nothing, and stays.
    """
    if inode.is_dir:
        return
    mode = inode.attr.mode & ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    if mode != inode.attr.mode:
        await inode.node.save(Stat(mode=mode))
        inode.attr.mode = mode
        inode.changed()
    if inode.xattrs:
        inode.xattrs.pop(_CAPABILITIES, None)


def _changes(request: r.Setattr) -> Stat | None:
    """Return what a SETATTR changes but for the size; None for nothing."""
    if not request.valid:
        return None
    # The kernel's "now" is that of its last tick: earlier than times noted here.
    now = time.time_ns()
    atime, mtime = request.atime_ns, request.mtime_ns
    if atime is not None and request.valid & _ATIME_NOW:
        atime = now
    if mtime is not None and request.valid & _MTIME_NOW:
        mtime = now
    return Stat(
        mode=None if request.mode is None else stat.S_IMODE(request.mode),
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


def _set_xattr(inode: Inode, name: str, value: bytes) -> None:
    """Set an extended attribute, and the mode if it is the access list.

    An access list that says no more than a mode becomes one.
    """
    inode.changed()
    xattrs = inode.xattrs = inode.xattrs or {}
    if name == acl.ACCESS:
        access = acl.Acl.decode(value)
        inode.attr.mode = inode.attr.mode & ~_PERMISSIONS | access.permissions
        if not access.names_somebody:
            xattrs.pop(name, None)
            return
    xattrs[name] = value


def _check_xattr(name: str) -> None:
    if name not in _ACLS and not name.startswith(_NAMESPACES):
        raise FuseError(errno.EOPNOTSUPP)
    if name in _NAMESPACES:  # and no more
        raise FuseError(errno.EINVAL)
