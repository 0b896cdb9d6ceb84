"""Mirror a directory: ``python examples/passthrough.py SOURCE MOUNTPOINT``.

It shows how a filesystem of real files is kept honest:

- Whatever the kernel knows is held by a descriptor or a file handle (nodes.py), and
  used through ``*at()`` calls (libc.py has those that Python lacks) and
  ``/proc/self/fd``: never through a path, where another process could have put
  something else since the kernel looked.
- What a caller makes is made with the caller's ids and umask, so that owners,
  quotas, setgid directories and default ACLs come out as they do in SOURCE.
- The kernel checks permissions, ACLs included: it is told to, see ``init``.
- The kernel reads, writes and maps the files of SOURCE itself where it can (root,
  Linux 6.9, no stacked filesystem below), at SOURCE's own speed: ``backing_fd``.
  Else it asks, and the log says why; READs are then answered with the descriptor.

Calls on metadata, and writes that come here, are made right in the trio loop: with
a local disk and its page cache they take a microsecond or two, a thread would cost
sixty.  The price is that a SOURCE that hangs, say on a dead server, hangs
all requests.  What always waits for a disk goes to a thread: syncing and copying.

It leaves out locks against users of SOURCE itself: a lock that is waited for would
have to wait in a thread, for ever perhaps, so the kernel keeps those of the mount.
It also leaves out ioctl (lsattr, chattr), NFS export, and id-mapped mounts, which
do not say who removes suid or may list ``trusted.*``.  Changes of attributes in
SOURCE itself may show a second late.  Other filesystems mounted in SOURCE are shown
too, and their inode numbers may be the same as those of SOURCE.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import logging
import os
import resource
import stat
from collections.abc import Iterable, Iterator

import attrs
import trio

import libc
import triofuse
from nodes import ROOT, Nodes
from triofuse import (
    DirEntry,
    Entry,
    FileAttr,
    FileData,
    FuseError,
    InitFlags,
    Opened,
    SetattrValid,
    SetxattrInFlags,
    WriteFlags,
)

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
        root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
        self._nodes = Nodes(root, keep=soft // 2 if keep is None else keep)
        self._valid = valid
        self._backed = backed
        self._writers: dict[int, int] = {}  # nodeids by handle
        # Threads that wait for this mount may have used up trio's common limiter.
        self._threads = trio.CapacityLimiter(40)

    async def init(self, config: triofuse.KernelConfig) -> None:
        # POSIX_ACL makes the kernel heed ACLs, and default_permissions come with it.
        # DONT_MASK leaves the umask to SOURCE, where a default ACL overrules it.
        # HANDLE_KILLPRIV_V2 spares a GETXATTR of file capabilities before each write.
        # With the groups and labels, files are made as if by the caller.
        config.wanted |= InitFlags.POSIX_ACL | InitFlags.DONT_MASK
        config.wanted |= InitFlags.HANDLE_KILLPRIV_V2
        config.wanted |= InitFlags.CREATE_SUPP_GROUP | InitFlags.SECURITY_CTX
        if self._backed:
            config.wanted |= InitFlags.PASSTHROUGH

    async def destroy(self) -> None:
        self._nodes.close()

    async def statfs(self, request: triofuse.StatfsRequest) -> triofuse.Statfs:
        return triofuse.Statfs.from_statvfs(os.fstatvfs(self._nodes.fd(request.nodeid)))

    async def syncfs(self, request: triofuse.Syncfs) -> None:
        fd = self._nodes.fd(ROOT)
        await trio.to_thread.run_sync(libc.syncfs, fd, limiter=self._threads)

    # --- Names

    def _find(self, parent: int, name: str, labels: Labels = ()) -> Entry:
        """Look a name up, which counts."""
        flags = os.O_PATH | os.O_NOFOLLOW
        return self._enter(os.open(name, flags, dir_fd=self._nodes.fd(parent)), labels)

    def _enter(self, fd: int, labels: Labels = ()) -> Entry:
        """Count a lookup of the inode of an O_PATH descriptor, which is ours now."""
        try:
            for name, value in labels:
                os.setxattr(f"/proc/self/fd/{fd}", name, value)
            status = os.stat(fd)
        except OSError:
            os.close(fd)
            raise
        nodeid = self._nodes.enter(fd, status)
        attr = FileAttr.from_stat(status, attr_valid=self._valid)
        return Entry(attr, nodeid, entry_valid=self._valid)

    def _attr(self, fd: int) -> FileAttr:
        return FileAttr.from_stat(os.stat(fd), attr_valid=self._valid)

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        return self._find(request.nodeid, request.name)

    def forget(self, request: triofuse.Forget) -> None:
        self._nodes.forget(request.nodeid, request.nlookup)

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        parent = self._nodes.fd(request.nodeid)
        flags = request.flags & OPEN_FLAGS | os.O_CREAT | os.O_EXCL
        try:
            with libc.acting_as(
                request.uid, request.gid, request.umask, request.groups
            ):
                fd = os.open(request.name, flags, request.mode, dir_fd=parent)
        except FileExistsError:
            if request.flags & os.O_EXCL:
                raise
            # Somebody else's file, new in SOURCE: ESTALE makes the kernel look it
            # up and check whether this caller may open it.
            raise FuseError(errno.ESTALE) from None
        return self._created(fd, request)

    async def tmpfile(self, request: triofuse.Tmpfile) -> tuple[Entry, Opened]:
        flags = request.flags & (OPEN_FLAGS | os.O_EXCL) | os.O_TMPFILE
        path = self._nodes.path(request.nodeid)
        with libc.acting_as(request.uid, request.gid, request.umask, request.groups):
            fd = os.open(path, flags, request.mode)
        return self._created(fd, request)

    def _created(self, fd: int, request: triofuse.Create) -> tuple[Entry, Opened]:
        """Return the entry of a file that was made, whatever its name is now."""
        try:
            node = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
            entry = self._enter(node, request.security_contexts)
        except OSError:
            os.close(fd)
            raise
        return entry, self._opened(entry.nodeid, fd, request.flags)

    async def mknod(self, request: triofuse.Mknod) -> Entry:
        parent = self._nodes.fd(request.nodeid)
        with libc.acting_as(request.uid, request.gid, request.umask, request.groups):
            os.mknod(request.name, request.mode, request.rdev, dir_fd=parent)
        return self._find(request.nodeid, request.name, request.security_contexts)

    async def mkdir(self, request: triofuse.Mkdir) -> Entry:
        parent = self._nodes.fd(request.nodeid)
        with libc.acting_as(request.uid, request.gid, request.umask, request.groups):
            os.mkdir(request.name, request.mode, dir_fd=parent)
        return self._find(request.nodeid, request.name, request.security_contexts)

    async def symlink(self, request: triofuse.Symlink) -> Entry:
        parent = self._nodes.fd(request.nodeid)
        with libc.acting_as(request.uid, request.gid, 0, request.groups):
            os.symlink(request.target, request.name, dir_fd=parent)
        return self._find(request.nodeid, request.name, request.security_contexts)

    async def link(self, request: triofuse.Link) -> Entry:
        path = self._nodes.path(request.oldnodeid)
        parent = self._nodes.fd(request.nodeid)
        os.link(path, request.newname, dst_dir_fd=parent, follow_symlinks=True)
        return self._find(request.nodeid, request.newname)

    async def unlink(self, request: triofuse.Unlink) -> None:
        os.unlink(request.name, dir_fd=self._nodes.fd(request.nodeid))

    async def rmdir(self, request: triofuse.Rmdir) -> None:
        os.rmdir(request.name, dir_fd=self._nodes.fd(request.nodeid))

    async def rename(self, request: triofuse.Rename) -> None:
        old, new = self._nodes.fd(request.nodeid), self._nodes.fd(request.newdir)
        os.rename(request.name, request.newname, src_dir_fd=old, dst_dir_fd=new)

    async def rename2(self, request: triofuse.Rename) -> None:
        old, new = self._nodes.fd(request.nodeid), self._nodes.fd(request.newdir)
        # A whiteout that is left behind is a file of the caller's.
        with libc.acting_as(request.uid, request.gid, 0):
            libc.rename(old, request.name, new, request.newname, request.flags)

    # --- Inodes

    async def getattr(self, request: triofuse.Getattr) -> FileAttr:
        return self._attr(self._nodes.fd(request.nodeid))

    async def statx(self, request: triofuse.Statx) -> FileAttr:
        fd = self._nodes.fd(request.nodeid)
        attr = self._attr(fd)
        attr.btime_ns, attr.attributes = libc.birth(fd)
        return attr

    async def setattr(self, request: triofuse.Setattr) -> FileAttr:
        fd, valid = self._nodes.fd(request.nodeid), request.valid
        path = f"/proc/self/fd/{fd}"
        if not valid:
            self._check_chown_of_nothing(request, fd)
        # The mode comes after the owner, for chown(2) takes suid and sgid away.
        if valid & (SetattrValid.UID | SetattrValid.GID) or not valid:
            os.chown(path, _or_same(request.new_uid), _or_same(request.new_gid))
        elif valid & SetattrValid.KILL_SUIDGID:
            libc.take_set_ids(path)
        if request.mode is not None:
            os.chmod(path, stat.S_IMODE(request.mode))
        if request.size is not None:
            os.truncate(path if request.fh is None else request.fh, request.size)
        if valid & (SetattrValid.ATIME | SetattrValid.MTIME):
            now = valid & SetattrValid.ATIME_NOW, valid & SetattrValid.MTIME_NOW
            libc.utimens(path, request.atime_ns, request.mtime_ns, now)
        return self._attr(fd)

    def _check_chown_of_nothing(self, request: triofuse.Setattr, fd: int) -> None:
        """Refuse a stranger's chown(2) to nobody else, which would take suid away.

        With the very same request the kernel asks for just that before a write: it
        comes from somebody who has the file open for writing.
        """
        status = os.stat(fd)
        if (
            request.uid not in (0, status.st_uid)
            and stat.S_ISREG(status.st_mode)
            and status.st_mode & (stat.S_ISUID | stat.S_ISGID)
            and request.nodeid not in self._writers.values()
        ):
            raise FuseError(errno.EPERM)

    async def readlink(self, request: triofuse.Readlink) -> str:
        return os.readlink("", dir_fd=self._nodes.fd(request.nodeid))

    async def setxattr(self, request: triofuse.Setxattr) -> None:
        path = self._nodes.path(request.nodeid)
        os.setxattr(path, request.name, request.value, request.flags)
        kill_sgid = request.setxattr_flags & SetxattrInFlags.ACL_KILL_SGID
        if kill_sgid and request.name == "system.posix_acl_access":
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~stat.S_ISGID)

    async def getxattr(self, request: triofuse.Getxattr) -> bytes:
        return os.getxattr(self._nodes.path(request.nodeid), request.name)

    async def listxattr(self, request: triofuse.Listxattr) -> Iterable[str]:
        names = os.listxattr(self._nodes.path(request.nodeid))
        # Only root may know of these, and the kernel takes us for root.
        return [n for n in names if request.uid == 0 or not n.startswith("trusted.")]

    async def removexattr(self, request: triofuse.Removexattr) -> None:
        os.removexattr(self._nodes.path(request.nodeid), request.name)

    # --- Open files: the handle is the descriptor

    async def open(self, request: triofuse.Open) -> Opened:
        path = self._nodes.path(request.nodeid)
        fd = os.open(path, request.flags & OPEN_FLAGS)
        return self._opened(request.nodeid, fd, request.flags)

    def _opened(self, nodeid: int, fd: int, flags: int) -> Opened:
        if flags & os.O_DIRECT:  # it wants aligned memory, which we have not
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & os.O_NOATIME)
        if flags & os.O_ACCMODE:
            self._writers[fd] = nodeid
        return Opened(fd, backing_fd=fd if self._backed else None)

    async def read(self, request: triofuse.Read) -> FileData:
        return FileData(request.fh, request.offset, request.size)

    async def write(self, request: triofuse.Write) -> int:
        if request.write_flags & WriteFlags.KILL_SUIDGID:
            libc.take_set_ids(request.fh)
        return os.pwrite(request.fh, request.data, request.offset)

    async def flush(self, request: triofuse.Flush) -> None:
        # A network filesystem may tell only now that it could not write.
        os.close(os.dup(request.fh))

    async def release(self, request: triofuse.Release) -> None:
        self._writers.pop(request.fh, None)
        os.close(request.fh)

    async def fsync(self, request: triofuse.Fsync) -> None:
        datasync = request.fsync_flags & triofuse.FsyncFlags.FDATASYNC
        sync = os.fdatasync if datasync else os.fsync
        with trio.CancelScope(shield=True):  # a database takes EINTR for lost data
            await trio.to_thread.run_sync(sync, request.fh, limiter=self._threads)

    async def fallocate(self, request: triofuse.Fallocate) -> None:
        libc.fallocate(request.fh, request.mode, request.offset, request.length)

    async def lseek(self, request: triofuse.Lseek) -> int:
        return os.lseek(request.fh, request.offset, request.whence)

    async def copy_file_range(self, request: triofuse.CopyFileRange) -> int:
        return await trio.to_thread.run_sync(
            os.copy_file_range,
            request.fh_in,
            request.fh_out,
            request.len,
            request.off_in,
            request.off_out,
            limiter=self._threads,
        )

    # --- Open directories, likewise

    async def opendir(self, request: triofuse.Opendir) -> Opened:
        flags = os.O_RDONLY | os.O_DIRECTORY
        return Opened(os.open(self._nodes.path(request.nodeid), flags))

    async def readdir(self, request: triofuse.Readdir) -> Iterable[DirEntry]:
        return self._list(request, plus=False)

    async def readdirplus(self, request: triofuse.Readdirplus) -> Iterable[DirEntry]:
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
                    entry = self._find(request.nodeid, name)
            yield DirEntry(name, ino, kind << 12, offset, entry)

    async def releasedir(self, request: triofuse.Releasedir) -> None:
        os.close(request.fh)

    async def fsyncdir(self, request: triofuse.Fsyncdir) -> None:
        await self.fsync(request)


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
