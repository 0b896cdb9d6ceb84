"""Mirror a directory: ``python passthrough.py SOURCE MOUNTPOINT``.

It shows how a filesystem of real files is kept honest:

- Whatever the kernel knows is held by a descriptor or a file handle (nodes.py), and
  used through ``*at()`` calls (libc.py has those that Python lacks) and
  ``/proc/self/fd``: never through a path, where another process could have put
  something else since the kernel looked.
- What a caller makes is made with the caller's ids and umask, so that owners,
  quotas, setgid directories and default ACLs come out as they do in SOURCE.
- The kernel checks permissions, ACLs included: it is told to, see ``init``.
- File handles of the mirror, as an NFS server keeps, are good for as long as SOURCE's
  are, where these fit in a node number; else there are none (handles.py).
- The kernel reads, writes and maps the files of SOURCE itself where it can (root,
  Linux 6.9, no stacked filesystem below), at SOURCE's own speed: ``backing_fd``.
  Else it asks, and the log says why; READs are then answered with the descriptor.

Calls on metadata, and writes that come here, are made right in the trio loop: with
a local disk and its page cache they take a microsecond or two, a thread would cost
sixty.  The price is that a SOURCE that hangs, say on a dead server, hangs
all requests.  What always waits for a disk goes to a thread: syncing and copying.

Nobody gets more through the mirror than in SOURCE: no blocks kept for root, nothing
past a quota (credentials.py), no descriptors that others need (shares.py).

It leaves out locks against users of SOURCE itself: a lock that is waited for would
have to wait in a thread, for ever perhaps, so the kernel keeps those of the mount.
Changes of attributes in SOURCE itself may show a second late, and what a mapping has
changed shows with ``--no-passthrough`` when it is synced or unmapped.  Root keeps to
quotas where the kernel writes itself.  Other filesystems mounted in SOURCE are shown
too, and their inode numbers may be the same as those of SOURCE.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import resource
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import attrs
import trio

import inodeflags
import libc
import triofuse
from credentials import Caller, Capability, acting_as, charged, drop, take_up, using
from nodes import ROOT, Nodes
from openfiles import OpenFiles
from room import Room
from setids import change_owner, refuse_stranger, take_set_ids
from triofuse import (
    DirEntry,
    Entry,
    FileAttr,
    FileData,
    FuseError,
    InitFlags,
    Opened,
    RenameFlags,
    Request,
    SetattrValid,
    SetxattrInFlags,
    WriteFlags,
)

T = TypeVar("T")

#: What makes something that is not opened.
Making = triofuse.Mknod | triofuse.Mkdir | triofuse.Symlink

#: Descriptors that neither nodes nor open files may take.
RESERVE = 64

#: Threads for what waits for a disk; those who use the mount may need all others.
THREADS = 8

#: Extended attributes that a security module wants a new inode to have.
Labels = tuple[tuple[str, bytes], ...]

#: What is passed on of open(2).  O_APPEND is not: the kernel says where to write.
#: O_SYNC is not: an FSYNC follows.  O_DIRECT is, to fail where SOURCE has none.
OPEN_FLAGS = os.O_ACCMODE | os.O_NOATIME | os.O_DIRECT


class Passthrough(triofuse.Filesystem):
    """A mirror of the directory ``source``.

    It is opened here and now: a mount may soon hide it.

    Args:
      source: Any directory.
      valid: Seconds for which the kernel may use names and attributes unasked.
      keep: Descriptors to keep open for inodes, half of the limit by default.
      backed: Whether the kernel may read and write by itself.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        valid: float = 1.0,
        keep: int | None = None,
        backed: bool = True,
    ) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        keep = soft // 2 if keep is None else keep
        root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
        self._nodes = Nodes(root, keep)
        self._room = Room(self._nodes, lambda: self.notifier)
        self._files = OpenFiles(soft - keep - min(soft // 8, RESERVE), backed=backed)
        self._threads = trio.CapacityLimiter(THREADS)
        self._valid = valid
        self._backed = backed
        self._mapped: set[int] = set()  # nodes that may be written to unseen

    async def init(self, config: triofuse.KernelConfig) -> None:
        # POSIX_ACL makes the kernel heed ACLs, and default_permissions come with it.
        # DONT_MASK leaves the umask to SOURCE, where a default ACL overrules it.
        # HANDLE_KILLPRIV_V2 spares a GETXATTR of file capabilities before each write.
        # With the groups and labels, files are made as if by the caller.
        config.wanted |= InitFlags.POSIX_ACL | InitFlags.DONT_MASK
        config.wanted |= InitFlags.HANDLE_KILLPRIV_V2
        config.wanted |= InitFlags.CREATE_SUPP_GROUP | InitFlags.SECURITY_CTX
        # Most requests have no ids then: credentials.py finds them where they matter.
        config.wanted |= InitFlags.ALLOW_IDMAP
        exports = self._nodes.numbers is not None
        export = InitFlags.EXPORT_SUPPORT, InitFlags.NO_EXPORT_SUPPORT
        config.wanted |= export[0] if exports else export[1]
        if self._backed:
            config.wanted |= InitFlags.PASSTHROUGH
        drop(Capability.SYS_RESOURCE)

    async def destroy(self) -> None:
        self._nodes.close()
        take_up(Capability.SYS_RESOURCE)

    async def statfs(self, request: triofuse.StatfsRequest) -> triofuse.Statfs:
        return triofuse.Statfs.from_statvfs(os.fstatvfs(self._nodes.fd(request.nodeid)))

    async def syncfs(self, request: triofuse.Syncfs) -> None:
        fd = self._nodes.fd(ROOT)
        await trio.to_thread.run_sync(libc.syncfs, fd, limiter=self._threads)

    # --- Names

    def _find(self, request: Request, name: str, labels: Labels = ()) -> Entry:
        """Look up a name in the directory of a request, which counts."""
        flags = os.O_PATH | os.O_NOFOLLOW
        fd = os.open(name, flags, dir_fd=self._nodes.fd(request.nodeid))
        return self._enter(request, fd, name, labels)

    def _enter(
        self, request: Request, fd: int, name: str, labels: Labels = ()
    ) -> Entry:
        """Count a lookup of the inode of an O_PATH descriptor, which is ours now."""
        place = request.nodeid, name
        try:
            for label, value in labels:
                os.setxattr(f"/proc/self/fd/{fd}", label, value)
            status = os.stat(fd)
            nodeid = self._nodes.enter(
                fd, status, place, lambda: Caller.of(request).uid
            )
        except OSError:
            os.close(fd)
            raise
        generation = self._nodes.generation(nodeid)
        return Entry(self._shown(nodeid, status), nodeid, generation, self._valid)

    def _attr(self, nodeid: int) -> FileAttr:
        return self._shown(nodeid, os.stat(self._nodes.fd(nodeid)))

    def _shown(self, nodeid: int, status: os.stat_result) -> FileAttr:
        valid = 0.0 if nodeid in self._mapped else self._valid
        return FileAttr.from_stat(status, attr_valid=valid)

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        if self._nodes.is_crowded:
            await self._room.make(request)
        if request.name == ".":  # of a file handle, as is the next
            return self._enter(request, self._nodes.again(request.nodeid), "")
        if request.name == "..":
            return self._enter(request, self._nodes.parent(request.nodeid), "")
        return self._find(request, request.name)

    def forget(self, request: triofuse.Forget) -> None:
        if self._nodes.forget(request.nodeid, request.nlookup):
            self._mapped.discard(request.nodeid)

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        flags = request.flags & OPEN_FLAGS | os.O_CREAT | os.O_EXCL

        def act() -> int:
            parent = self._nodes.fd(request.nodeid)
            return os.open(request.name, flags, request.mode, dir_fd=parent)

        try:
            return await self._create(request, act)
        except FileExistsError:
            if request.flags & os.O_EXCL:
                raise
            # Somebody else's file, new in SOURCE: ESTALE makes the kernel look it
            # up and check whether this caller may open it.
            raise FuseError(errno.ESTALE) from None

    async def tmpfile(self, request: triofuse.Tmpfile) -> tuple[Entry, Opened]:
        flags = request.flags & (OPEN_FLAGS | os.O_EXCL) | os.O_TMPFILE

        def act() -> int:
            return os.open(self._nodes.path(request.nodeid), flags, request.mode)

        return await self._create(request, act)

    async def _create(
        self, request: triofuse.Create, act: Callable[[], int]
    ) -> tuple[Entry, Opened]:
        """Make a file and return its entry, whatever its name is by then."""
        if self._nodes.is_crowded:
            await self._room.make(request)
        fd = self._files.open(request, lambda: _as_caller(request, act))
        try:
            node = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
            entry = self._enter(request, node, request.name, request.security_contexts)
        except OSError:
            self._files.close(fd)
            raise
        if self._backed and request.flags & os.O_ACCMODE == os.O_RDWR:
            self._mapped.add(entry.nodeid)
            entry.attr.attr_valid = 0.0
        return entry, self._files.answer(request, entry.nodeid, fd, request.flags)

    async def mknod(self, request: triofuse.Mknod) -> Entry:
        def act(parent: int) -> None:
            os.mknod(request.name, request.mode, request.rdev, dir_fd=parent)

        return await self._make(request, act)

    async def mkdir(self, request: triofuse.Mkdir) -> Entry:
        def act(parent: int) -> None:
            os.mkdir(request.name, request.mode, dir_fd=parent)

        return await self._make(request, act)

    async def symlink(self, request: triofuse.Symlink) -> Entry:
        def act(parent: int) -> None:
            os.symlink(request.target, request.name, dir_fd=parent)

        return await self._make(request, act)

    async def _make(self, request: Making, act: Callable[[int], None]) -> Entry:
        """Make something in the directory of a request."""
        if self._nodes.is_crowded:
            await self._room.make(request)
        parent = self._nodes.fd(request.nodeid)
        _as_caller(request, lambda: act(parent))
        return self._find(request, request.name, request.security_contexts)

    async def link(self, request: triofuse.Link) -> Entry:
        path = self._nodes.path(request.oldnodeid)
        parent = self._nodes.fd(request.nodeid)
        os.link(path, request.newname, dst_dir_fd=parent, follow_symlinks=True)
        return self._find(request, request.newname)

    async def unlink(self, request: triofuse.Unlink) -> None:
        os.unlink(request.name, dir_fd=self._nodes.fd(request.nodeid))

    async def rmdir(self, request: triofuse.Rmdir) -> None:
        os.rmdir(request.name, dir_fd=self._nodes.fd(request.nodeid))

    async def rename(self, request: triofuse.Rename) -> None:
        old, new = self._nodes.fd(request.nodeid), self._nodes.fd(request.newdir)
        os.rename(request.name, request.newname, src_dir_fd=old, dst_dir_fd=new)

    async def rename2(self, request: triofuse.Rename) -> None:
        old, new = self._nodes.fd(request.nodeid), self._nodes.fd(request.newdir)
        with contextlib.ExitStack() as stack:
            if request.flags & RenameFlags.WHITEOUT:  # it is a file of the caller's
                stack.enter_context(acting_as(request.uid, request.gid, 0))
            libc.rename(old, request.name, new, request.newname, request.flags)

    # --- Inodes

    async def getattr(self, request: triofuse.Getattr) -> FileAttr:
        return self._attr(request.nodeid)

    async def statx(self, request: triofuse.Statx) -> FileAttr:
        attr = self._attr(request.nodeid)
        fd = self._nodes.fd(request.nodeid)
        attr.btime_ns, attr.attributes = libc.birth(fd)
        return attr

    async def setattr(self, request: triofuse.Setattr) -> FileAttr:
        fd, valid = self._nodes.fd(request.nodeid), request.valid
        path = f"/proc/self/fd/{fd}"
        # With the very same request the kernel asks for set-id bits to be taken before
        # a write: that comes from somebody who has the file open for writing.
        if not valid and not self._files.has_writer(request.nodeid):
            refuse_stranger(os.stat(fd), request)
        # The mode comes after the owner, for chown(2) takes suid and sgid away.
        if valid & (SetattrValid.UID | SetattrValid.GID) or not valid:
            ids = _or_same(request.new_uid), _or_same(request.new_gid)
            charged(request, lambda: change_owner(path, *ids, request))
        elif valid & SetattrValid.KILL_SUIDGID:
            take_set_ids(path, request)
        if request.mode is not None:
            os.chmod(path, stat.S_IMODE(request.mode))
        if request.size is not None:
            os.truncate(path if request.fh is None else request.fh, request.size)
        if valid & (SetattrValid.ATIME | SetattrValid.MTIME):
            now = valid & SetattrValid.ATIME_NOW, valid & SetattrValid.MTIME_NOW
            libc.utimens(path, request.atime_ns, request.mtime_ns, now)
        return self._attr(request.nodeid)

    async def readlink(self, request: triofuse.Readlink) -> str:
        return os.readlink("", dir_fd=self._nodes.fd(request.nodeid))

    async def setxattr(self, request: triofuse.Setxattr) -> None:
        path, caller = self._nodes.path(request.nodeid), Caller.of(request)
        with acting_as(caller.uid, caller.gid, 0):  # whose space it takes
            charged(
                request,
                lambda: os.setxattr(path, request.name, request.value, request.flags),
            )
        kill_sgid = request.setxattr_flags & SetxattrInFlags.ACL_KILL_SGID
        if kill_sgid and request.name == "system.posix_acl_access":
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~stat.S_ISGID)

    async def getxattr(self, request: triofuse.Getxattr) -> bytes:
        return os.getxattr(self._nodes.path(request.nodeid), request.name)

    async def listxattr(self, request: triofuse.Listxattr) -> Iterable[str]:
        names = os.listxattr(self._nodes.path(request.nodeid))
        hidden = [name for name in names if name.startswith("trusted.")]
        # Only root may know of these, and the kernel takes us for root.
        if hidden and not Caller.of(request).may(Capability.SYS_ADMIN):
            return [name for name in names if name not in hidden]
        return names

    async def removexattr(self, request: triofuse.Removexattr) -> None:
        os.removexattr(self._nodes.path(request.nodeid), request.name)

    # --- Open files: the handle is the descriptor

    async def open(self, request: triofuse.Open) -> Opened:
        flags = request.flags & OPEN_FLAGS
        if self._backed and flags & os.O_ACCMODE == os.O_RDWR:
            await self._may_be_mapped(request.nodeid)
        path = self._nodes.path(request.nodeid)

        def act() -> int:
            try:
                return os.open(path, flags)
            except PermissionError:
                if not request.flags & os.O_APPEND:
                    raise
                # An append-only file (chattr +a) opens in no other way.
                return os.open(path, flags | os.O_APPEND)

        fd = self._files.open(request, act)
        return self._files.answer(request, request.nodeid, fd, request.flags)

    async def _may_be_mapped(self, nodeid: int) -> None:
        """Have attributes asked for anew each time: a mapping changes them unseen.

        It may do so when the file is long closed, until the node is forgotten.
        """
        if nodeid not in self._mapped:
            self._mapped.add(nodeid)
            await self.notifier.inval_inode(nodeid, -1)

    async def read(self, request: triofuse.Read) -> FileData:
        if self._mapped:  # so the kernel does not read and write this one by itself
            self._mapped.discard(request.nodeid)
        return FileData(request.fh, request.offset, request.size)

    async def write(self, request: triofuse.Write) -> int:
        if request.write_flags & WriteFlags.KILL_SUIDGID:
            take_set_ids(request.fh, request)

        def act() -> int:
            with self._files.as_writer(request.fh):
                return os.pwrite(request.fh, request.data, request.offset)

        return charged(request, act)

    async def flush(self, request: triofuse.Flush) -> None:
        # A network filesystem may tell only now that it could not write.
        os.close(os.dup(request.fh))

    async def release(self, request: triofuse.Release) -> None:
        self._files.close(request.fh)

    async def fsync(self, request: triofuse.Fsync) -> None:
        datasync = request.fsync_flags & triofuse.FsyncFlags.FDATASYNC
        sync = os.fdatasync if datasync else os.fsync
        with trio.CancelScope(shield=True):  # a database takes EINTR for lost data
            await trio.to_thread.run_sync(sync, request.fh, limiter=self._threads)

    async def fallocate(self, request: triofuse.Fallocate) -> None:
        def act() -> None:
            with self._files.as_writer(request.fh):
                libc.fallocate(request.fh, request.mode, request.offset, request.length)

        charged(request, act)

    async def lseek(self, request: triofuse.Lseek) -> int:
        return os.lseek(request.fh, request.offset, request.whence)

    async def copy_file_range(self, request: triofuse.CopyFileRange) -> int:
        ends = request.fh_in, request.fh_out
        offsets = request.len, request.off_in, request.off_out

        def act() -> int:
            with self._files.as_writer(request.fh_out):
                return os.copy_file_range(*ends, *offsets)

        def in_thread() -> int:
            with using(libc.effective() & ~(1 << Capability.SYS_RESOURCE)):
                return charged(request, act)

        return await trio.to_thread.run_sync(in_thread, limiter=self._threads)

    async def ioctl(self, request: triofuse.Ioctl) -> triofuse.IoctlReply:
        reply = inodeflags.relay(request.fh, request)
        if inodeflags.changes(request):  # which sets the ctime, and the kernel does not
            await self.notifier.inval_inode(request.nodeid, -1)
        return reply

    # --- Open directories, likewise

    async def opendir(self, request: triofuse.Opendir) -> Opened:
        path, flags = self._nodes.path(request.nodeid), os.O_RDONLY | os.O_DIRECTORY
        return Opened(self._files.open(request, lambda: os.open(path, flags)))

    async def readdir(self, request: triofuse.Readdir) -> Iterable[DirEntry]:
        return self._list(request, plus=False)

    async def readdirplus(self, request: triofuse.Readdirplus) -> Iterable[DirEntry]:
        if self._nodes.is_crowded:
            await self._room.make(request)
        return self._list(request, plus=True)

    def _list(
        self, request: triofuse.Readdir | triofuse.Readdirplus, *, plus: bool
    ) -> Iterator[DirEntry]:
        """Yield entries with SOURCE's own cookies.

        For READDIRPLUS each name is looked up when its turn comes, not before: what
        is yielded counts.
        """
        records = libc.getdents(request.fh, request.offset, request.size)
        for ino, offset, kind, name in records:
            entry = None
            if plus and name not in (".", ".."):
                with contextlib.suppress(OSError):  # it may be gone by now
                    entry = self._find(request, name)
            yield DirEntry(name, ino, kind << 12, offset, entry)

    async def releasedir(self, request: triofuse.Releasedir) -> None:
        self._files.close(request.fh)

    async def fsyncdir(self, request: triofuse.Fsyncdir) -> None:
        await self.fsync(request)


def _as_caller(request: triofuse.Create | Making, act: Callable[[], T]) -> T:
    """Make something as the caller would, who then owns it."""

    umask = 0 if isinstance(request, triofuse.Symlink) else request.umask

    def make() -> T:
        with acting_as(request.uid, request.gid, umask, request.groups):
            return act()

    return charged(request, make)


def _or_same(number: int | None) -> int:
    return -1 if number is None else number


def main() -> None:
    """Mirror what the command line says until it is unmounted."""
    parser = argparse.ArgumentParser(description="Mirror a directory.")
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("-o", metavar="OPTIONS", default="", dest="options")
    parser.add_argument("--debug", action="store_true", help="log each request")
    parser.add_argument("--no-passthrough", dest="backed", action="store_false")
    args = parser.parse_args()
    source, mountpoint = map(os.path.realpath, (args.source, args.mountpoint))
    if source != mountpoint and os.path.commonpath((source, mountpoint)) == source:
        parser.error("MOUNTPOINT is inside SOURCE: the mirror would wait for itself")
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options = attrs.evolve(
        triofuse.MountOptions.parse(args.options),
        fsname=source,
        subtype="triofuse",
        default_permissions=True,
    )
    triofuse.run(Passthrough(source, backed=args.backed), args.mountpoint, options)


if __name__ == "__main__":
    main()
