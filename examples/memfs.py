"""A complete filesystem in memory: ``python examples/memfs.py MOUNTPOINT``.

It shows all that POSIX wants of a filesystem, and how little of it is left to do:

- The kernel resolves paths, checks permissions and access control lists
  (``default_permissions``), and lets nobody else into a directory that is being
  changed.
- Nobody but this kernel changes anything, so it may keep names, attributes and
  contents for ever: see ``init``, VALID and KEEP_CACHE.
- A node lives while it has a name, is open, or is known to the kernel, which counts
  its lookups and says when it forgets them.
- A place in a directory's listing is a number that a name keeps, so listings stand
  firm while names come and go.
- No method awaits anything, but for who waits for a file lock, or changes so much of
  a file that the kernel keeps others from it: each is done before the next begins.  Nothing has to be written to a disk, so fsync is left out.

- Whatever is kept counts towards the size: contents, names, targets, attributes.
- A request that may be about gigabytes is served in steps: others do not wait for it.

In memory/: inodes.py has the nodes by number, nodes.py what each kind does, names.py the
tables of directories, sparse.py the contents, space.py the memory, xattrs.py the
extended attributes, acl.py the access control lists.  It leaves out quotas, and writing
back from the kernel's cache.
"""

from __future__ import annotations

import errno
import gc
import itertools
import math
import os
import secrets
import stat
import sys
from collections.abc import Iterable

import triofuse
from memory.inodes import ROOT, Nodes
from memory.names import Link
from memory.nodes import Directory, File, Node, Symlink
from memory.xattrs import ACLS, checked
from triofuse import DirEntry, Entry, FileAttr, FileLock, FuseError, InitFlags, Opened
from triofuse.posix import acl
from triofuse.posix.space import Space

#: Seconds for which the kernel may believe what it was told.
VALID = math.inf
#: Bytes that one COPY_FILE_RANGE copies at most: other requests wait for so long.
COPY_MAX = 1 << 21
#: Names of which READDIRPLUS makes no lookup.
DOTS = (".", "..")
#: PyPy has no names for these.
SEEK_DATA = 3
O_ACCMODE = os.O_WRONLY | os.O_RDWR


class MemFS(triofuse.Filesystem):
    """A filesystem in memory; it keeps its contents from mount to mount.

    Args:
      size: Bytes that it can take; by default half of the machine's memory.
      valid: Seconds for which the kernel may keep names and attributes.
    """

    mount_options = "default_permissions"

    def __init__(self, size: int | None = None, valid: float = VALID) -> None:
        self._nodes = Nodes(Space.of(size), valid)
        self._locks = triofuse.LockTable()
        self._handles = itertools.count(1)
        self._writers: set[int] = set()
        self._valid = valid
        # File handles of an earlier filesystem, with the same numbers, are stale.
        self._generation = secrets.randbits(31)

    async def init(self, config: triofuse.KernelConfig) -> None:
        # Contents may be kept whatever times and sizes say, and targets of links.
        config.decline(InitFlags.AUTO_INVAL_DATA)
        wanted = InitFlags.EXPLICIT_INVAL_DATA | InitFlags.CACHE_SYMLINKS
        # Who takes set-id bits away himself saves the kernel from asking for
        # security.capability before each write.
        wanted |= InitFlags.HANDLE_KILLPRIV_V2
        # The kernel heeds access control lists if told to.  It does not know what a
        # new file will inherit, so it leaves the umask to us.
        wanted |= InitFlags.POSIX_ACL | InitFlags.DONT_MASK
        # File handles (NFS, open_by_handle_at) stay good when the kernel has forgotten
        # the node: it looks up "." and "..", see Nodes.find.
        wanted |= InitFlags.EXPORT_SUPPORT
        config.wanted |= wanted  # as far as it can be had

    async def destroy(self) -> None:
        self._writers.clear()
        self._nodes.forget_all()

    async def statfs(self, request: triofuse.StatfsRequest) -> triofuse.Statfs:
        await self._nodes.settle()  # else it shows space as used that is free at once
        return self._nodes.statfs()

    # --- Names

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        node = self._nodes.find(request.nodeid, request.name)
        return self._entry(node) if node else Entry.negative(self._valid)

    def forget(self, request: triofuse.Forget) -> None:
        node = self._nodes.node(request.nodeid)
        node.lookups -= request.nlookup
        self._nodes.drop_unused(node)

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        file = self._nodes.new_file(request)
        entry = self._add(request.nodeid, request.name, file)
        return entry, self._opened(file, request.flags)

    async def tmpfile(self, request: triofuse.Tmpfile) -> tuple[Entry, Opened]:
        file = self._nodes.new_file(request)
        self._nodes.keep(file)
        return self._entry(file), self._opened(file, request.flags)

    async def mknod(self, request: triofuse.Mknod) -> Entry:
        if stat.S_ISREG(request.mode):
            node: Node = self._nodes.new_file(request)
        else:
            node = self._nodes.new_node(request, request.mode, request.umask)
            node.attr.rdev = request.rdev
        return self._add(request.nodeid, request.name, node)

    async def mkdir(self, request: triofuse.Mkdir) -> Entry:
        directory = self._nodes.new_directory(request)
        return self._add(request.nodeid, request.name, directory)

    async def symlink(self, request: triofuse.Symlink) -> Entry:
        symlink = self._nodes.new_symlink(request)
        return self._add(request.nodeid, request.name, symlink)

    async def link(self, request: triofuse.Link) -> Entry:
        node = self._nodes.node(request.oldnodeid)
        node.check_link()
        self._nodes.link(request.nodeid, request.newname, node)
        return self._entry(node)

    async def unlink(self, request: triofuse.Unlink) -> None:
        directory = self._nodes.directory(request.nodeid)
        node = directory.find(request.name)
        if isinstance(node, Directory):
            raise FuseError(errno.EISDIR)
        directory.unlink(request.name)
        self._nodes.drop_unused(node)

    async def rmdir(self, request: triofuse.Rmdir) -> None:
        directory = self._nodes.directory(request.nodeid)
        node = directory.find(request.name)
        directory.check_replace(node)  # rename(2) has the same conditions
        directory.unlink(request.name)
        self._nodes.drop_unused(node)

    async def rename(self, request: triofuse.Rename) -> None:
        await self.rename2(request)

    async def rename2(self, request: triofuse.Rename) -> None:
        source = self._nodes.directory(request.nodeid)
        target = self._nodes.directory(request.newdir)
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
            self._take_away(request, source, replaces=old is not None)
        target.link(request.newname, node)
        if old:
            self._nodes.drop_unused(old)

    def _take_away(
        self, request: triofuse.Rename, source: Directory, *, replaces: bool
    ) -> None:
        """Take the old name away, or leave there what overlayfs takes for a hole."""
        leaves = bool(request.flags & triofuse.RenameFlags.WHITEOUT)
        if not replaces:
            self._nodes.check_rename(request, frees=not leaves)
        if leaves:
            whiteout = self._nodes.new_node(request, stat.S_IFCHR)
            self._nodes.keep(whiteout)
            source.link(request.name, whiteout)
        else:
            source.unlink(request.name)

    # --- Inodes

    async def getattr(self, request: triofuse.Getattr) -> FileAttr:
        return self._nodes.node(request.nodeid).attr

    async def statx(self, request: triofuse.Statx) -> FileAttr:
        return self._nodes.node(request.nodeid).attr

    async def setattr(self, request: triofuse.Setattr) -> FileAttr:
        node = self._nodes.node(request.nodeid)
        attr = node.attr
        if not request.valid:
            node.check_privileges(request)
        if request.size is not None:
            file = self._nodes.file(request.nodeid)
            await file.content.truncate(request.size)
            file.modified()
        if request.mode is not None:
            node.chmod(request.mode)
        if request.new_uid is not None:
            attr.uid = request.new_uid
        if request.new_gid is not None:
            attr.gid = request.new_gid
        node.set_times(request)
        # A SETATTR of nothing comes before a write that ends set-id rights.  They must
        # end here: what the WRITE changes is news to the kernel only later, and until
        # then whoever wrote could run the program with its owner's rights.
        if not request.valid or request.valid & triofuse.SetattrValid.KILL_SUIDGID:
            node.drop_privileges(request)
        return attr

    async def readlink(self, request: triofuse.Readlink) -> str:
        node = self._nodes.node(request.nodeid)
        if not isinstance(node, Symlink):
            raise FuseError(errno.EINVAL)
        node.accessed()
        return node.target

    async def setxattr(self, request: triofuse.Setxattr) -> None:
        node, name = self._nodes.node(request.nodeid), checked(request.name)
        known = name in node.xattrs
        if known and request.flags & triofuse.SetxattrFlags.CREATE:
            raise FuseError(errno.EEXIST)
        if not known and request.flags & triofuse.SetxattrFlags.REPLACE:
            raise FuseError(errno.ENODATA)
        node.set_xattr(name, bytes(request.value))
        kills_sgid = request.setxattr_flags & triofuse.SetxattrInFlags.ACL_KILL_SGID
        if kills_sgid and name == acl.ACCESS:
            node.attr.mode &= ~stat.S_ISGID

    async def getxattr(self, request: triofuse.Getxattr) -> bytes:
        node, name = self._nodes.node(request.nodeid), checked(request.name)
        value = node.xattrs.get(name)
        if value is None:
            raise FuseError(errno.ENODATA)
        return value

    async def listxattr(self, request: triofuse.Listxattr) -> Iterable[str]:
        names = self._nodes.node(request.nodeid).xattrs
        hidden = ("trusted.",) if request.uid else ()
        return [name for name in names if not name.startswith(hidden)]

    async def removexattr(self, request: triofuse.Removexattr) -> None:
        node, name = self._nodes.node(request.nodeid), checked(request.name)
        if node.xattrs.discard(name):
            node.changed()
        elif name not in ACLS:  # which are there, in a way: the mode says the same
            raise FuseError(errno.ENODATA)

    # --- Open files

    async def open(self, request: triofuse.Open) -> Opened:
        return self._opened(self._nodes.file(request.nodeid), request.flags)

    async def flush(self, request: triofuse.Flush) -> None:
        self._locks.flush(request)

    async def release(self, request: triofuse.Release) -> None:
        self._locks.release(request)
        file = self._nodes.file(request.nodeid)
        file.opens -= 1
        if request.fh in self._writers:
            self._writers.remove(request.fh)
            file.writers -= 1
        self._nodes.drop_unused(file)

    async def read(self, request: triofuse.Read) -> bytes:
        file = self._nodes.file(request.nodeid)
        file.accessed()
        return file.content.read(request.offset, request.size)

    async def write(self, request: triofuse.Write) -> int:
        file = self._nodes.file(request.nodeid)
        file.content.write(request.offset, request.data)
        file.modified()
        if request.write_flags & triofuse.WriteFlags.KILL_SUIDGID:
            file.drop_privileges(request)
        return request.size

    async def fallocate(self, request: triofuse.Fallocate) -> None:
        file = self._nodes.file(request.nodeid)
        if request.mode & triofuse.FallocateMode.PUNCH_HOLE:
            await file.content.punch(request.offset, request.length)
        elif request.mode & triofuse.FallocateMode.ZERO_RANGE:
            await file.content.zero(request.offset, request.length)
        else:
            await file.content.allocate(request.offset, request.length)
        if not request.mode & triofuse.FallocateMode.KEEP_SIZE:
            file.content.lengthen(request.offset + request.length)
        file.modified()

    async def lseek(self, request: triofuse.Lseek) -> int:
        content = self._nodes.file(request.nodeid).content
        if request.whence == SEEK_DATA:
            return content.seek_data(request.offset)
        return await content.seek_hole(request.offset)

    async def copy_file_range(self, request: triofuse.CopyFileRange) -> int:
        source, target = (
            self._nodes.file(request.nodeid),
            self._nodes.file(request.nodeid_out),
        )
        copied = source.content.read(request.off_in, min(request.len, COPY_MAX))
        target.content.write(request.off_out, copied)
        source.accessed()
        target.modified()
        return len(copied)

    # --- Locks on open files

    async def getlk(self, request: triofuse.Getlk) -> FileLock:
        return self._locks.getlk(request)

    async def setlk(self, request: triofuse.Setlk) -> None:
        self._locks.setlk(request)

    async def setlkw(self, request: triofuse.Setlkw) -> None:
        await self._locks.setlkw(request)

    # --- Open directories

    async def readdir(self, request: triofuse.Readdir) -> Iterable[DirEntry]:
        directory = self._nodes.directory(request.nodeid)
        directory.accessed()
        return map(_dir_entry, directory.listing(request.offset))

    async def readdirplus(self, request: triofuse.Readdirplus) -> Iterable[DirEntry]:
        directory = self._nodes.directory(request.nodeid)
        directory.accessed()
        # A generator looks up each name when the kernel takes it, not before.
        return (
            _dir_entry(link, None if link.name in DOTS else self._entry(link.node))
            for link in directory.listing(request.offset)
        )

    # --- What the kernel is told

    def _add(self, nodeid: int, name: str, node: Node) -> Entry:
        self._nodes.add(nodeid, name, node)
        return self._entry(node)

    def _entry(self, node: Node) -> Entry:
        """Return an entry for the kernel: a lookup that it will forget some day."""
        node.lookups += 1
        # The kernel takes the root with another generation for a new one: a stale node.
        generation = self._generation if node.attr.ino != ROOT else 0
        return Entry(node.attr, generation=generation, entry_valid=self._valid)

    def _opened(self, file: File, flags: int) -> Opened:
        file.opens += 1
        # The handle's number says which locks end with it, and who may have written.
        fh = next(self._handles)
        if flags & O_ACCMODE != os.O_RDONLY:
            self._writers.add(fh)
            file.writers += 1
        return Opened(fh, triofuse.OpenFlags.KEEP_CACHE)


def _dir_entry(link: Link, entry: Entry | None = None) -> DirEntry:
    attr = link.node.attr
    return DirEntry(link.name, attr.ino, attr.mode, link.cookie, entry)


def make(size: int | None = None) -> MemFS:
    """Keep files in memory, for as long as the filesystem is mounted.

    Args:
      size: Most bytes of all that is kept; by default half of the machine's memory.
    """
    # Nodes live long and make no cycles.  To look for some among a million of them
    # would hold everybody up for a second each time; the young are looked at as ever.
    if sys.implementation.name == "cpython":
        gc.set_threshold(*gc.get_threshold()[:2], 1 << 30)
    return MemFS(size)


if __name__ == "__main__":
    triofuse.main(make)
