"""Requests about names: what clients look up, make, link, remove and rename."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import RenameFlags
from triofuse.filesystem.replies import Entry
from triofuse.posix.space import NAME_MAX, cost_of
from triofuse.tree.births import inherited, note_added, note_removed, save_upkeep
from triofuse.tree.directory import Directory
from triofuse.tree.folder import AskedDirectory, FolderNode
from triofuse.tree.inode import Inode, Place
from triofuse.tree.node import Node
from triofuse.tree.places import parents
from triofuse.tree.stat import Stat
from triofuse.tree.table import Table

__all__ = ["LINK_MAX", "Names"]

#: The most names of one inode, as in ext4.
LINK_MAX = 65_000


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
        inode = await self._child(directory, request.name)
        if inode is None:
            _check_length(request.name)
            return self._absence(directory, request.name)
        if inode.fresh_until < math.inf:
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
        if stat.S_ISDIR(mode) and directory.attr.nlink >= LINK_MAX:
            raise FuseError(errno.EMLINK)
        new, xattrs = await inherited(directory, request, mode, umask, rdev)
        if node.HOLDS:
            more = (target,) if target else ()
            self._check_space(request.name, *more, *xattrs, nodes=1)
        with self._asking_again((directory, request.name)):
            child = await node.make(request.name, new, target)
        inode = self._known(directory, request.name, child)
        for name, value in xattrs.items():
            await child.setxattr(name, value)
        self._absent.discard((request.nodeid, request.name))
        if not node.HOLDS:
            note_added(directory, inode)
            await save_upkeep(directory, inode)
        return inode

    @contextmanager
    def _asking_again(self, *places: Place) -> Iterator[None]:
        """Have the kernel ask a store again after a change that failed.

        It may have been done nevertheless, if the caller was killed for instance.
        """
        try:
            yield
        except BaseException:
            for directory, name in places:
                if not directory.node.HOLDS:
                    self._changes.name(directory.nodeid, name, 0)
                    self.outdated(directory)
            raise

    def _check_space(self, name: str, *others: str, nodes: int = 0) -> None:
        """Raise ENOSPC if there is no room for names in memory."""
        size = cost_of(name)
        if others:
            size += sum(map(cost_of, others))
        self.space.check(size)
        if nodes and self.nodes >= self.space.total:
            raise FuseError(errno.ENOSPC)

    async def link(self, request: r.Link) -> Entry:
        """Make a hard link."""
        directory, node = self._folder(request.nodeid)
        inode = self._inode(request.oldnodeid)
        self._check_writable(node)
        _check_length(request.newname)
        _check_there(directory)
        if isinstance(inode.node, FolderNode):
            raise FuseError(errno.EPERM)
        if inode.attr.nlink >= LINK_MAX:
            raise FuseError(errno.EMLINK)
        home = None if inode.parent is None else inode.parent.node
        if isinstance(home, FolderNode) and not home.same_store(node):
            raise FuseError(errno.EXDEV)
        if await self._child(directory, request.newname) is not None:
            raise FuseError(errno.EEXIST)
        if node.HOLDS:
            self._check_space(request.newname)
        with self._asking_again((directory, request.newname)):
            await node.link(request.newname, inode.node)
        self._absent.discard((request.nodeid, request.newname))
        if not node.HOLDS:
            inode.set_nlink(inode.attr.nlink + 1)
            note_added(directory, inode)
            await save_upkeep(directory, inode)
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
        if not await self._set_aside(directory, request.name, child):
            with self._asking_again((directory, request.name)):
                await node.unlink(request.name, child.node)
        if not node.HOLDS:
            note_removed(directory, child, request.name)
            await save_upkeep(directory, child)
        self._ending.suspect(child)
        await self._ending.finish()

    async def _set_aside(self, directory: Inode, name: str, child: Inode) -> bool:
        """Rename what is open, if its store finds data by name; return whether so."""
        node = directory.node
        if not isinstance(node, AskedDirectory) or not node.set_aside:
            return False
        if not child.nopen or child.is_dir or child.attr.nlink > 1:
            return False
        hidden = f".triofuse-{child.nodeid:x}-{next(self._fhs):x}"
        await node.rename(name, child.node, node, hidden, None)
        child.hidden = directory, hidden
        return True

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
        if to.HOLDS and old is None:
            freed = 0 if request.flags & RenameFlags.WHITEOUT else cost_of(request.name)
            self.space.check(cost_of(request.newname) - freed)
        if old is not None and await self._set_aside(target, request.newname, old):
            note_removed(target, old, request.newname)
            self._ending.suspect(old)
            old = None
        replaced = None if old is None else old.node
        both = (source, request.name), (target, request.newname)
        with self._asking_again(*both):
            await node.rename(request.name, child.node, to, request.newname, replaced)
        self._absent.discard((request.newdir, request.newname))
        if not node.HOLDS:
            self._note_renamed(source, target, child, old, request)
            await save_upkeep(source, child)
            await save_upkeep(target, old or child)
        if request.flags & RenameFlags.WHITEOUT:
            hole = Stat(mode=stat.S_IFCHR, rdev=0, uid=request.uid, gid=request.gid)
            await node.make(request.name, hole, None)
        if old is not None:
            self._ending.suspect(old)
        await self._ending.finish()
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
        request: r.Rename,
    ) -> None:
        if old is not None:
            note_removed(target, old, request.newname)
        if child.is_dir and source is not target:
            source.set_nlink(source.attr.nlink - (source.attr.nlink > 1))
            target.set_nlink(target.attr.nlink + (target.attr.nlink > 1))
        if child.key == (source.attr.ino, request.name):
            del self._keys[child.key]
            child.key = (target.attr.ino, request.newname)
            self._keys[child.key] = child
        child.parent, child.name = target, request.newname
        source.modified()
        target.modified()
        child.changed()


def _check_there(directory: Inode) -> None:
    """Check that a directory was not removed."""
    if not directory.attr.nlink:
        raise FuseError(errno.ENOENT)


def _check_length(name: str) -> None:
    if len(os.fsencode(name)) > NAME_MAX:
        raise FuseError(errno.ENAMETOOLONG)


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
    if target is not source and target.attr.nlink >= LINK_MAX:
        raise FuseError(errno.EMLINK)
    if child in parents(target):
        raise FuseError(errno.EINVAL)
