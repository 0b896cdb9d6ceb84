"""Requests about names: what clients look up, make, link, remove and rename."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import AsyncIterable, Iterable, Iterator

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import RenameFlags
from triofuse.filesystem.replies import DirEntry, Entry
from triofuse.posix import acl
from triofuse.posix.space import NAME_MAX
from triofuse.tree.directory import Directory, FolderNode, parents
from triofuse.tree.inode import Inode
from triofuse.tree.node import Node
from triofuse.tree.stat import Stat
from triofuse.tree.table import Table

__all__ = ["Names", "inherited"]

#: The most names of one inode, as in ext4.
_LINK_MAX = 65_000

#: The bits of a mode that say who may.
_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


class Names(Table):
    """The requests about names."""

    async def lookup(self, request: r.Lookup) -> Entry:
        """Find a name."""
        directory = self._inode(request.nodeid)
        node = directory.node
        if not isinstance(node, FolderNode):
            raise FuseError(errno.ENOTDIR)
        if request.name in (".", ".."):
            return await self._lookup_dots(directory, request.name)
        child = await node.lookup(request.name)
        if child is None:
            _check_length(request.name)
            return self._absence(directory, request.name)
        inode = self._known(directory, request.name, child)
        await self._fresh(inode)
        return self._entry(inode)

    async def _lookup_dots(self, directory: Inode, name: str) -> Entry:
        if name == ".." and directory.parent is not None:
            directory = directory.parent
        await self._fresh(directory)
        return self._entry(directory)

    async def mknod(self, request: r.Mknod) -> Entry:
        """Make a file, device, pipe or socket."""
        return self._entry(
            await self._make(request, request.mode, request.umask, rdev=request.rdev)
        )

    async def mkdir(self, request: r.Mkdir) -> Entry:
        """Make a directory."""
        mode = stat.S_IFDIR | request.mode
        return self._entry(await self._make(request, mode, request.umask))

    async def symlink(self, request: r.Symlink) -> Entry:
        """Make a symbolic link."""
        mode = stat.S_IFLNK | 0o777
        return self._entry(await self._make(request, mode, 0, target=request.target))

    async def _make(
        self,
        request: r.Mknod | r.Mkdir | r.Symlink | r.Create,
        mode: int,
        umask: int,
        *,
        rdev: int = 0,
        target: str | None = None,
    ) -> Inode:
        """Make a node in a directory."""
        directory, node = self._folder(request.nodeid)
        self._check_writable(node)
        _check_length(request.name)
        _check_there(directory)
        if await self._child(directory, request.name) is not None:
            raise FuseError(errno.EEXIST)
        if stat.S_ISDIR(mode) and directory.attr.nlink >= _LINK_MAX:
            raise FuseError(errno.EMLINK)
        new, xattrs = inherited(directory, request, mode, umask, rdev)
        child = await node.make(request.name, new, target)
        inode = self._known(directory, request.name, child)
        if xattrs:
            inode.xattrs = xattrs
        self._absent.discard((request.nodeid, request.name))
        if not isinstance(node, Directory):
            _note_added(directory, inode)
        return inode

    async def link(self, request: r.Link) -> Entry:
        """Make a hard link."""
        directory, node = self._folder(request.nodeid)
        inode = self._inode(request.oldnodeid)
        self._check_writable(node)
        _check_length(request.newname)
        _check_there(directory)
        if isinstance(inode.node, FolderNode):
            raise FuseError(errno.EPERM)
        if inode.attr.nlink >= _LINK_MAX:
            raise FuseError(errno.EMLINK)
        home = None if inode.parent is None else inode.parent.node
        if isinstance(home, FolderNode) and not home.same_store(node):
            raise FuseError(errno.EXDEV)
        if await self._child(directory, request.newname) is not None:
            raise FuseError(errno.EEXIST)
        await node.link(request.newname, inode.node)
        self._absent.discard((request.nodeid, request.newname))
        if not isinstance(node, Directory):
            inode.attr.nlink += 1
            _note_added(directory, inode)
        return self._entry(inode)

    async def unlink(self, request: r.Unlink) -> None:
        """Remove a file's name."""
        await self._remove(request, is_dir=False)

    async def rmdir(self, request: r.Rmdir) -> None:
        """Remove an empty directory."""
        await self._remove(request, is_dir=True)

    async def _remove(self, request: r.Unlink | r.Rmdir, *, is_dir: bool) -> None:
        directory, node = self._folder(request.nodeid)
        self._check_writable(node)
        child = await self._child(directory, request.name)
        if child is None:
            raise FuseError(errno.ENOENT)
        if child.is_dir and not is_dir:
            raise FuseError(errno.EISDIR)
        if is_dir:
            await _check_empty(child.node)
        await node.unlink(request.name, child.node)
        if not isinstance(node, Directory):
            _note_removed(directory, child)
        self.may_be_unused(child)
        await self._drop_unused()

    async def rename(self, request: r.Rename) -> None:
        """Rename, replacing what has the new name."""
        await self.rename2(request)

    async def rename2(self, request: r.Rename) -> None:
        """Rename as the flags say."""
        source, node = self._folder(request.nodeid)
        target, to = self._folder(request.newdir)
        self._check_writable(node)
        self._check_writable(to)
        _check_length(request.newname)
        child = await self._child(source, request.name)
        if child is None:
            raise FuseError(errno.ENOENT)
        old = await self._child(target, request.newname)
        if request.flags & RenameFlags.EXCHANGE:
            return self._exchange(request, source, target, child, old)
        if old is not None and request.flags & RenameFlags.NOREPLACE:
            raise FuseError(errno.EEXIST)
        if old is child:
            return None  # two names of one file: POSIX keeps both
        _check_move(child, target, source)
        if old is not None:
            await _check_replace(child, old)
        if not node.same_store(to):
            raise FuseError(errno.EXDEV)
        replaced = None if old is None else old.node
        await node.rename(request.name, child.node, to, request.newname, replaced)
        self._absent.discard((request.newdir, request.newname))
        if not isinstance(node, Directory):
            self._note_renamed(source, target, child, old, request.newname)
        if request.flags & RenameFlags.WHITEOUT:
            hole = Stat(mode=stat.S_IFCHR, rdev=0, uid=request.uid, gid=request.gid)
            await node.make(request.name, hole, None)
        if old is not None:
            self.may_be_unused(old)
            await self._drop_unused()
        return None

    def _exchange(
        self,
        request: r.Rename,
        source: Inode,
        target: Inode,
        child: Inode,
        other: Inode | None,
    ) -> None:
        """Have two names change their nodes; in memory only."""
        if other is None:
            raise FuseError(errno.ENOENT)
        if not (
            isinstance(source.node, Directory) and isinstance(target.node, Directory)
        ):
            raise FuseError(errno.EINVAL)
        _check_move(child, target, source)
        _check_move(other, source, target)
        source.node._exchange(request.name, target.node, request.newname)  # noqa: SLF001

    def _note_renamed(
        self,
        source: Inode,
        target: Inode,
        child: Inode,
        old: Inode | None,
        new_name: str,
    ) -> None:
        if old is not None:
            _note_removed(target, old)
        if child.is_dir and source is not target:
            source.attr.nlink -= source.attr.nlink > 1
            target.attr.nlink += target.attr.nlink > 1
        if isinstance(child.key, tuple) and child.key[:1] == (source.attr.ino,):
            del self._keys[child.key]
            child.key = (target.attr.ino, new_name)
            self._keys[child.key] = child
        source.modified()
        target.modified()
        child.changed()

    async def readdir(self, request: r.Readdir) -> Iterable[DirEntry]:
        """List a directory."""
        directory, _ = self._folder(request.nodeid)
        children = await self._children(directory)
        return (
            DirEntry(name, self.number(inode), inode.attr.mode)
            for name, inode in children
        )

    async def readdirplus(self, request: r.Readdirplus) -> Iterable[DirEntry]:
        """List a directory with the attributes of what is in it, as far as fresh."""
        directory, _ = self._folder(request.nodeid)
        children = await self._children(directory)
        return self._with_entries(children)

    async def _children(self, directory: Inode) -> Iterable[tuple[str, Inode]]:
        node = directory.node
        assert isinstance(node, FolderNode)
        entries = node.entries()
        known = self._known
        if isinstance(entries, AsyncIterable):
            return [
                (name, known(directory, name, child)) async for name, child in entries
            ]
        return ((name, known(directory, name, child)) for name, child in entries)

    def _with_entries(
        self, children: Iterable[tuple[str, Inode]]
    ) -> Iterator[DirEntry]:
        """Yield entries; each counts as a lookup when the kernel takes it."""
        for name, inode in children:
            entry = self._entry(inode) if self._is_fresh(inode) else None
            yield DirEntry(name, self.number(inode), inode.attr.mode, None, entry)


def _check_there(directory: Inode) -> None:
    """Check that a directory was not removed."""
    if not directory.attr.nlink:
        raise FuseError(errno.ENOENT)


def _check_length(name: str) -> None:
    if len(os.fsencode(name)) > NAME_MAX:
        raise FuseError(errno.ENAMETOOLONG)


def inherited(
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
    default = (directory.xattrs or {}).get(acl.DEFAULT)
    if default is None or stat.S_ISLNK(mode):
        mode &= ~umask
    else:
        access = acl.Acl.decode(default).inherit(mode)
        if access.names_somebody:
            xattrs[acl.ACCESS] = access.encode()
        if stat.S_ISDIR(mode):
            xattrs[acl.DEFAULT] = default
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
        rdev=rdev,
        atime_ns=now,
        mtime_ns=now,
        ctime_ns=now,
        btime_ns=now,
    )
    return new, xattrs


def _note_added(directory: Inode, child: Inode) -> None:
    """Keep the attributes of a directory of a store."""
    if child.is_dir and directory.attr.nlink > 1:
        directory.attr.nlink += 1
    directory.modified()
    child.changed()


def _note_removed(directory: Inode, child: Inode) -> None:
    if child.is_dir:
        child.attr.nlink = 0
        directory.attr.nlink -= directory.attr.nlink > 2
    else:
        child.attr.nlink = max(child.attr.nlink - 1, 0)
    directory.modified()
    child.changed()


async def _check_empty(node: Node) -> None:
    """Check that this is a directory without names."""
    if not isinstance(node, FolderNode):
        raise FuseError(errno.ENOTDIR)
    entries = node.entries()
    if isinstance(entries, AsyncIterable):
        async for _ in entries:
            raise FuseError(errno.ENOTEMPTY)
    else:
        for _ in entries:
            raise FuseError(errno.ENOTEMPTY)


async def _check_replace(child: Inode, old: Inode) -> None:
    """Check that a node may take the name of another, as rename(2) says."""
    if child.is_dir:
        await _check_empty(old.node)
    elif old.is_dir:
        raise FuseError(errno.EISDIR)


def _check_move(child: Inode, target: Inode, source: Inode) -> None:
    """Check that a node may get a name in a directory."""
    _check_there(target)
    if not child.is_dir:
        return
    if target is not source and target.attr.nlink >= _LINK_MAX:
        raise FuseError(errno.EMLINK)
    if child in parents(target):
        raise FuseError(errno.EINVAL)
