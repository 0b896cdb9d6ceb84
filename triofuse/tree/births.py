"""What a new node gets from its directory, and what a directory of a store notes."""

from __future__ import annotations

import stat
import time

from triofuse.filesystem import requests as r
from triofuse.posix import acl
from triofuse.tree.inode import Inode
from triofuse.tree.node import overrides
from triofuse.tree.stat import Stat

__all__ = [
    "inherited",
    "note_added",
    "note_removed",
    "save_upkeep",
    "save_written",
]

#: The bits of a mode that say who may.
_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


async def inherited(
    directory: Inode,
    request: r.Mknod | r.Mkdir | r.Symlink | r.Create | r.Tmpfile,
    mode: int,
    umask: int,
    rdev: int,
) -> tuple[Stat, dict[str, bytes]]:
    """Return attributes of what is made in a directory.

    A default access list stands in for the umask, and goes on to directories.
    """
    xattrs: dict[str, bytes] = {}
    default = None
    if directory.xattrs or overrides(directory.node, "getxattr"):
        default = await directory.node.getxattr(acl.DEFAULT)
    if default is None or stat.S_ISLNK(mode):
        mode &= ~umask
    else:
        access = acl.Acl.decode(bytes(default)).inherit(mode)
        if access.names_somebody:
            xattrs[acl.ACCESS] = access.encode()
        if stat.S_ISDIR(mode):
            xattrs[acl.DEFAULT] = bytes(default)
        mode = mode & ~_PERMISSIONS | access.permissions
    gid = request.gid
    if directory.attr.mode & stat.S_ISGID:
        gid = directory.attr.gid
        if stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
    now = time.time_ns()
    new = Stat(
        mode=mode,
        uid=request.uid,
        gid=gid,
        size=0,
        rdev=rdev,
        atime_ns=now,
        mtime_ns=now,
        ctime_ns=now,
        btime_ns=now,
    )
    return new, xattrs


async def save_upkeep(directory: Inode, child: Inode) -> None:
    """Have a store keep what the tree has changed by itself when names changed."""
    if overrides(directory.node, "save"):
        attr = directory.attr
        await directory.node.save(
            Stat(nlink=attr.nlink, mtime_ns=attr.mtime_ns, ctime_ns=attr.ctime_ns)
        )
    if overrides(child.node, "save"):
        attr = child.attr
        await child.node.save(Stat(nlink=attr.nlink, ctime_ns=attr.ctime_ns))


async def save_written(inode: Inode) -> None:
    """Have a store keep the size and the times of a file that was written."""
    if overrides(inode.node, "save"):
        attr = inode.attr
        await inode.node.save(
            Stat(size=attr.size, mtime_ns=attr.mtime_ns, ctime_ns=attr.ctime_ns)
        )


def note_added(directory: Inode, child: Inode) -> None:
    """Keep the attributes of a directory of a store, of which the tree counts."""
    if child.is_dir and directory.attr.nlink > 1:
        directory.set_nlink(directory.attr.nlink + 1)
    directory.modified()
    child.changed()


def note_removed(directory: Inode, child: Inode, name: str) -> None:
    """Keep the attributes of a directory of a store, and of what lost its name."""
    if child.is_dir:
        child.set_nlink(0)
        directory.set_nlink(directory.attr.nlink - (directory.attr.nlink > 2))
    else:
        child.set_nlink(max(child.attr.nlink - 1, 0))
    child.remove_place(directory, name)
    directory.modified()
    child.changed()
