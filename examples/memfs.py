"""A complete filesystem in memory: ``python memfs.py MOUNTPOINT``.

It shows all that POSIX wants of a filesystem, and how little of it is left to do:

- The kernel resolves paths, checks permissions (``default_permissions``), keeps
  locks, and lets nobody else into a directory that is being changed.
- Nobody but this kernel changes anything, so it may keep names, attributes and
  contents for ever: see ``init``, VALID and KEEP_CACHE.
- A node lives while it has a name, is open, or is known to the kernel, which counts
  its lookups and says when it forgets them.
- A place in a directory's listing is a number that a name keeps, so listings stand
  firm while names come and go.
- No method awaits anything: each is done before the next begins, without a lock.

It leaves out access control lists, quotas, and writing back from the kernel's cache.
The limit of its size is one of contents; names and extended attributes come on top.
What files give back stays with the process, which takes it for other files.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import logging
import math
import os
import stat
import time
from collections.abc import Iterable

import attrs

import triofuse
from memory import Directory, File, Link, Node, Space, SparseFile, Symlink
from triofuse import DirEntry, Entry, FileAttr, FuseError, InitFlags, Opened

#: The kernel gives the root its number.
ROOT = 1
#: Seconds for which the kernel may believe what it was told.
VALID = math.inf
#: Bytes that one COPY_FILE_RANGE copies at most: other requests wait for so long.
COPY_MAX = 1 << 23
#: What extended attributes may be about; access control lists are "system.".
NAMESPACES = ("user.", "trusted.", "security.")
#: Names of which READDIRPLUS makes no lookup.
DOTS = (".", "..")


class MemFS(triofuse.Filesystem):
    """A filesystem in memory; it keeps its contents from mount to mount.

    Args:
      size: Bytes that files can take; by default half of the machine's memory.
      valid: Seconds for which the kernel may keep names and attributes.
    """

    def __init__(self, size: int | None = None, valid: float = VALID) -> None:
        self._space = Space.of(size)
        self._valid = valid
        self._numbers = itertools.count(ROOT)
        root = Directory(self._attr(stat.S_IFDIR | 0o755, os.getuid(), os.getgid()))
        root.attr.nlink = 2
        self._nodes: dict[int, Node] = {ROOT: root}

    async def init(self, config: triofuse.KernelConfig) -> None:
        # Contents may be kept whatever times and sizes say, and targets of links.
        config.decline(InitFlags.AUTO_INVAL_DATA)
        wanted = InitFlags.EXPLICIT_INVAL_DATA | InitFlags.CACHE_SYMLINKS
        # Who takes set-id bits away himself saves the kernel from asking for
        # security.capability before each write.
        wanted |= InitFlags.HANDLE_KILLPRIV_V2
        config.want(wanted & config.offered)

    async def destroy(self) -> None:
        for node in list(self._nodes.values()):
            node.lookups = node.opens = 0
            self._drop_unused(node)

    async def statfs(self, request: triofuse.StatfsRequest) -> triofuse.Statfs:
        return self._space.statfs(len(self._nodes))

    # --- Names

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        node = self._directory(request.nodeid).get(request.name)
        return self._entry(node) if node else Entry.negative(self._valid)

    def forget(self, request: triofuse.Forget) -> None:
        node = self._node(request.nodeid)
        node.lookups -= request.nlookup
        self._drop_unused(node)

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        file = self._new_file(request, request.mode)
        entry = self._add(request.nodeid, request.name, file)
        return entry, self._opened(file)

    async def tmpfile(self, request: triofuse.Tmpfile) -> tuple[Entry, Opened]:
        file = self._new_file(request, request.mode)
        self._nodes[file.attr.ino] = file
        return self._entry(file), self._opened(file)

    async def mknod(self, request: triofuse.Mknod) -> Entry:
        if stat.S_ISREG(request.mode):
            node: Node = self._new_file(request, request.mode)
        else:
            node = Node(self._made_by(request, request.mode))
            node.attr.rdev = request.rdev
        return self._add(request.nodeid, request.name, node)

    async def mkdir(self, request: triofuse.Mkdir) -> Entry:
        directory = Directory(self._made_by(request, stat.S_IFDIR | request.mode))
        return self._add(request.nodeid, request.name, directory)

    async def symlink(self, request: triofuse.Symlink) -> Entry:
        attr = self._made_by(request, stat.S_IFLNK | 0o777)
        attr.size = len(os.fsencode(request.target))
        symlink = Symlink(attr, target=request.target)
        return self._add(request.nodeid, request.name, symlink)

    async def link(self, request: triofuse.Link) -> Entry:
        node = self._node(request.oldnodeid)
        node.check_link()
        return self._add(request.nodeid, request.newname, node)

    async def unlink(self, request: triofuse.Unlink) -> None:
        directory = self._directory(request.nodeid)
        node = directory.find(request.name)
        if isinstance(node, Directory):
            raise FuseError(errno.EISDIR)
        directory.unlink(request.name)
        self._drop_unused(node)

    async def rmdir(self, request: triofuse.Rmdir) -> None:
        directory = self._directory(request.nodeid)
        node = directory.find(request.name)
        directory.check_replace(node)  # rename(2) has the same conditions
        directory.unlink(request.name)
        self._drop_unused(node)

    async def rename(self, request: triofuse.Rename) -> None:
        await self.rename2(request)

    async def rename2(self, request: triofuse.Rename) -> None:
        source = self._directory(request.nodeid)
        target = self._directory(request.newdir)
        node, old = source.find(request.name), target.get(request.newname)
        node.check_move(target)
        if request.flags & triofuse.RenameFlags.EXCHANGE:
            other = target.find(request.newname)
            other.check_move(source)
            source.link(request.name, other)
        elif old and request.flags & triofuse.RenameFlags.NOREPLACE:
            raise FuseError(errno.EEXIST)
        elif old is node:
            return  # two names of one file: POSIX keeps both
        else:
            if old:
                node.check_replace(old)
            self._take_away(request, source)
        target.link(request.newname, node)
        if old:
            self._drop_unused(old)

    def _take_away(self, request: triofuse.Rename, source: Directory) -> None:
        """Take the old name away, or leave there what overlayfs takes for a hole."""
        if request.flags & triofuse.RenameFlags.WHITEOUT:
            whiteout = Node(self._made_by(request, stat.S_IFCHR))
            self._nodes[whiteout.attr.ino] = whiteout
            source.link(request.name, whiteout)
        else:
            source.unlink(request.name)

    # --- Inodes

    async def getattr(self, request: triofuse.Getattr) -> FileAttr:
        return self._node(request.nodeid).attr

    async def statx(self, request: triofuse.Statx) -> FileAttr:
        return self._node(request.nodeid).attr

    async def setattr(self, request: triofuse.Setattr) -> FileAttr:
        node = self._node(request.nodeid)
        attr = node.attr
        if request.size is not None:
            file = self._file(request.nodeid)
            file.content.truncate(request.size)
            file.modified()
        if request.mode is not None:
            attr.mode = stat.S_IFMT(attr.mode) | stat.S_IMODE(request.mode)
        if request.new_uid is not None:
            attr.uid = request.new_uid
        if request.new_gid is not None:
            attr.gid = request.new_gid
        self._set_times(attr, request)
        # A SETATTR of nothing comes before a write that ends set-id rights.  They must
        # end here: what the WRITE changes is news to the kernel only later, and until
        # then whoever wrote could run the program with its owner's rights.
        if not request.valid or request.valid & triofuse.SetattrValid.KILL_SUIDGID:
            node.drop_privileges()
        return attr

    def _set_times(self, attr: FileAttr, request: triofuse.Setattr) -> None:
        # The kernel's "now" is that of its last tick: earlier than times noted here.
        flags, now = triofuse.SetattrValid, time.time_ns()
        if request.atime_ns is not None:
            is_now = request.valid & flags.ATIME_NOW
            attr.atime_ns = now if is_now else request.atime_ns
        if request.mtime_ns is not None:
            is_now = request.valid & flags.MTIME_NOW
            attr.mtime_ns = now if is_now else request.mtime_ns
        if request.valid:
            attr.ctime_ns = now

    async def readlink(self, request: triofuse.Readlink) -> str:
        node = self._node(request.nodeid)
        if not isinstance(node, Symlink):
            raise FuseError(errno.EINVAL)
        node.accessed()
        return node.target

    async def setxattr(self, request: triofuse.Setxattr) -> None:
        node, name = self._node(request.nodeid), _checked_xattr(request.name)
        known = name in node.xattrs
        if known and request.flags & triofuse.SetxattrFlags.CREATE:
            raise FuseError(errno.EEXIST)
        if not known and request.flags & triofuse.SetxattrFlags.REPLACE:
            raise FuseError(errno.ENODATA)
        node.xattrs[name] = bytes(request.value)
        node.changed()

    async def getxattr(self, request: triofuse.Getxattr) -> bytes:
        value = self._node(request.nodeid).xattrs.get(_checked_xattr(request.name))
        if value is None:
            raise FuseError(errno.ENODATA)
        return value

    async def listxattr(self, request: triofuse.Listxattr) -> Iterable[str]:
        names = self._node(request.nodeid).xattrs
        hidden = ("trusted.",) if request.uid else ()
        return [name for name in names if not name.startswith(hidden)]

    async def removexattr(self, request: triofuse.Removexattr) -> None:
        node = self._node(request.nodeid)
        if node.xattrs.pop(_checked_xattr(request.name), None) is None:
            raise FuseError(errno.ENODATA)
        node.changed()

    # --- Open files

    async def open(self, request: triofuse.Open) -> Opened:
        return self._opened(self._file(request.nodeid))

    async def release(self, request: triofuse.Release) -> None:
        node = self._node(request.nodeid)
        node.opens -= 1
        self._drop_unused(node)

    async def read(self, request: triofuse.Read) -> bytes:
        file = self._file(request.nodeid)
        file.accessed()
        return file.content.read(request.offset, request.size)

    async def write(self, request: triofuse.Write) -> int:
        file = self._file(request.nodeid)
        file.content.write(request.offset, request.data)
        file.modified()
        if request.write_flags & triofuse.WriteFlags.KILL_SUIDGID:
            file.drop_privileges()
        return request.size

    async def fallocate(self, request: triofuse.Fallocate) -> None:
        file = self._file(request.nodeid)
        if request.mode & triofuse.FallocateMode.PUNCH_HOLE:
            file.content.punch(request.offset, request.length)
        elif request.mode & triofuse.FallocateMode.ZERO_RANGE:
            file.content.zero(request.offset, request.length)
        else:
            file.content.allocate(request.offset, request.length)
        if not request.mode & triofuse.FallocateMode.KEEP_SIZE:
            file.content.lengthen(request.offset + request.length)
        file.modified()

    async def lseek(self, request: triofuse.Lseek) -> int:
        content = self._file(request.nodeid).content
        if request.whence == os.SEEK_DATA:
            return content.seek_data(request.offset)
        return content.seek_hole(request.offset)

    async def copy_file_range(self, request: triofuse.CopyFileRange) -> int:
        source, target = self._file(request.nodeid), self._file(request.nodeid_out)
        copied = source.content.read(request.off_in, min(request.len, COPY_MAX))
        target.content.write(request.off_out, copied)
        source.accessed()
        target.modified()
        return len(copied)

    # --- Open directories

    async def readdir(self, request: triofuse.Readdir) -> Iterable[DirEntry]:
        directory = self._directory(request.nodeid)
        directory.accessed()
        return map(_dir_entry, directory.listing(request.offset))

    async def readdirplus(self, request: triofuse.Readdirplus) -> Iterable[DirEntry]:
        directory = self._directory(request.nodeid)
        directory.accessed()
        # A generator looks up each name when the kernel takes it, not before.
        return (
            _dir_entry(link, None if link.name in DOTS else self._entry(link.node))
            for link in directory.listing(request.offset)
        )

    # --- Nodes

    def _node(self, nodeid: int) -> Node:
        if nodeid not in self._nodes:
            raise FuseError(errno.ESTALE)
        return self._nodes[nodeid]

    def _file(self, nodeid: int) -> File:
        node = self._node(nodeid)
        if not isinstance(node, File):
            raise FuseError(errno.EINVAL)
        return node

    def _directory(self, nodeid: int) -> Directory:
        node = self._node(nodeid)
        if not isinstance(node, Directory):
            raise FuseError(errno.ENOTDIR)
        return node

    def _attr(self, mode: int, uid: int, gid: int) -> FileAttr:
        """Return attributes for a node that is born now and has no name yet."""
        attr = FileAttr(next(self._numbers), mode, nlink=0, uid=uid, gid=gid)
        attr.atime_ns = attr.mtime_ns = attr.ctime_ns = attr.btime_ns = time.time_ns()
        attr.attr_valid = self._valid
        return attr

    def _made_by(self, request: triofuse.Request, mode: int) -> FileAttr:
        """Return attributes for what a caller makes in the directory ``nodeid``."""
        if len(self._nodes) >= self._space.total:
            raise FuseError(errno.ENOSPC)
        parent = self._directory(request.nodeid).attr
        inherits = parent.mode & stat.S_ISGID
        if inherits and stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
        return self._attr(mode, request.uid, parent.gid if inherits else request.gid)

    def _new_file(self, request: triofuse.Request, mode: int) -> File:
        return File(self._made_by(request, mode), content=SparseFile(self._space))

    def _add(self, nodeid: int, name: str, node: Node) -> Entry:
        directory = self._directory(nodeid)
        if directory.get(name):
            raise FuseError(errno.EEXIST)
        node.check_move(directory)
        self._nodes[node.attr.ino] = node
        directory.link(name, node)
        return self._entry(node)

    def _entry(self, node: Node) -> Entry:
        """Return an entry for the kernel: a lookup that it will forget some day."""
        node.lookups += 1
        return Entry(node.attr, entry_valid=self._valid)

    def _opened(self, file: File) -> Opened:
        file.opens += 1
        return Opened(flags=triofuse.OpenFlags.KEEP_CACHE)

    def _drop_unused(self, node: Node) -> None:
        if node.attr.nlink or node.lookups or node.opens:
            return
        del self._nodes[node.attr.ino]
        if isinstance(node, File):
            node.content.truncate(0)


def _checked_xattr(name: str) -> str:
    if not name.startswith(NAMESPACES):
        raise FuseError(errno.EOPNOTSUPP)
    return name


def _dir_entry(link: Link, entry: Entry | None = None) -> DirEntry:
    attr = link.node.attr
    return DirEntry(link.name, attr.ino, attr.mode, link.cookie, entry)


def main() -> None:
    """Keep files for as long as the filesystem is mounted."""
    parser = argparse.ArgumentParser(description="Mount a filesystem in memory.")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("-o", metavar="OPTIONS", default="", dest="options")
    parser.add_argument("--size", type=int, help="most bytes of all files' contents")
    parser.add_argument("--debug", action="store_true", help="log each request")
    args = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO)
    options = attrs.evolve(
        triofuse.MountOptions.parse(args.options),
        fsname="memfs",
        subtype="triofuse",
        default_permissions=True,
    )
    triofuse.run(MemFS(args.size), args.mountpoint, options)


if __name__ == "__main__":
    main()
