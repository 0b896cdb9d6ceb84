"""Mirror a directory: ``python examples/passthrough.py SOURCE MOUNTPOINT``.

It shows how a filesystem of real files is kept honest:

- Whatever the kernel knows is held by a descriptor or a file handle (mirror/nodes.py), and
  used through ``*at()`` calls (mirror/libc.py has those that Python lacks) and
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
past a quota (mirror/credentials.py), no descriptors that others need (mirror/shares.py).

It leaves out locks against users of SOURCE itself: a lock that is waited for would
have to wait in a thread, for ever perhaps, so the kernel keeps those of the mount.
Changes of attributes in SOURCE itself may show a second late, and what a mapping has
changed shows with ``-o nopassthrough`` when it is synced or unmapped.  Root keeps to
quotas where the kernel writes itself.  Other filesystems mounted in SOURCE are shown
too, and their inode numbers may be the same as those of SOURCE.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import trio

import triofuse
from mirror import attributes, inodeflags, libc
from mirror.credentials import (
    Capability,
    acting_as,
    charged,
    charged_anywhere,
    drop,
    making_as_caller,
    take_up,
)
from mirror.nodes import ROOT
from mirror.openfiles import OpenFiles
from mirror.tree import Tree
from triofuse import (
    DirEntry,
    Entry,
    FileAttr,
    FileData,
    FuseError,
    InitFlags,
    Opened,
    RenameFlags,
    WriteFlags,
)

#: Descriptors that neither nodes nor open files may take.
RESERVE = 64

#: Threads for what waits for a disk; those who use the mount may need all others.
THREADS = 8

#: What is passed on of open(2).  O_APPEND is not: the kernel says where to write;
#: only an append-only file (chattr +a) opens in no other way.
#: O_SYNC is not: an FSYNC follows.  O_DIRECT is, to fail where SOURCE has none.
OPEN_FLAGS = libc.O_ACCMODE | os.O_NOATIME | os.O_DIRECT


class Passthrough(triofuse.Filesystem):
    """A mirror of the directory ``source``.

    It is opened here and now: a mount may soon hide it.

    Args:
      source: Any directory.
      valid: Seconds for which the kernel may use names and attributes unasked.
      keep: Descriptors to keep open for inodes, half of the limit by default.
      backed: Whether the kernel may read and write by itself.
    """

    mount_options = "default_permissions"

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
        self._tree = Tree(root, keep, valid, lambda: self.notifier)
        self._files = OpenFiles(soft - keep - min(soft // 8, RESERVE), backed=backed)
        self._threads = trio.CapacityLimiter(THREADS)
        self._backed = backed

    async def init(self, config: triofuse.KernelConfig) -> None:
        # POSIX_ACL makes the kernel heed ACLs, and default_permissions come with it.
        # DONT_MASK leaves the umask to SOURCE, where a default ACL overrules it.
        # HANDLE_KILLPRIV_V2 spares a GETXATTR of file capabilities before each write.
        # With the groups and labels, files are made as if by the caller.
        config.wanted |= InitFlags.POSIX_ACL | InitFlags.DONT_MASK
        config.wanted |= InitFlags.HANDLE_KILLPRIV_V2
        config.wanted |= InitFlags.CREATE_SUPP_GROUP | InitFlags.SECURITY_CTX
        # Most requests have no ids then: mirror/credentials.py finds them where they matter.
        config.wanted |= InitFlags.ALLOW_IDMAP
        if self._tree.has_handles:
            config.wanted |= InitFlags.EXPORT_SUPPORT
        else:
            config.wanted |= InitFlags.NO_EXPORT_SUPPORT
        if self._backed:
            config.wanted |= InitFlags.PASSTHROUGH
        drop(Capability.SYS_RESOURCE)

    async def destroy(self) -> None:
        self._tree.close()
        take_up(Capability.SYS_RESOURCE)

    async def statfs(self, request: triofuse.StatfsRequest) -> triofuse.Statfs:
        return triofuse.Statfs.from_statvfs(os.fstatvfs(self._tree.fd(request.nodeid)))

    async def syncfs(self, request: triofuse.Syncfs) -> None:
        fd = self._tree.fd(ROOT)
        await trio.to_thread.run_sync(libc.syncfs, fd, limiter=self._threads)

    # --- Names

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        return self._tree.find(request, request.name)

    def forget(self, request: triofuse.Forget) -> None:
        self._tree.forget(request)

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        flags = request.flags & OPEN_FLAGS | os.O_CREAT | os.O_EXCL

        def act() -> int:
            parent = self._tree.fd(request.nodeid)
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
        flags = request.flags & (OPEN_FLAGS | os.O_EXCL) | libc.O_TMPFILE

        def act() -> int:
            return os.open(self._tree.path(request.nodeid), flags, request.mode)

        return await self._create(request, act)

    async def _create(
        self, request: triofuse.Create, act: Callable[[], int]
    ) -> tuple[Entry, Opened]:
        """Make a file and return its entry, whatever its name is by then."""
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        fd = self._files.open(
            request, lambda: making_as_caller(request, act, request.umask)
        )
        try:
            node = os.open(f"/proc/self/fd/{fd}", libc.O_PATH)
            labels = request.security_contexts
            entry = self._tree.enter(request, node, request.name, labels)
        except OSError:
            self._files.close(fd)
            raise
        if self._is_writable_memory(request):
            self._tree.is_new_and_may_be_mapped(entry)
        return entry, self._files.answer(request, entry.nodeid, fd, request.flags)

    async def mknod(self, request: triofuse.Mknod) -> Entry:
        def act(parent: int) -> None:
            os.mknod(request.name, request.mode, request.rdev, dir_fd=parent)

        return await self._make(request, act, request.umask)

    async def mkdir(self, request: triofuse.Mkdir) -> Entry:
        def act(parent: int) -> None:
            os.mkdir(request.name, request.mode, dir_fd=parent)

        return await self._make(request, act, request.umask)

    async def symlink(self, request: triofuse.Symlink) -> Entry:
        def act(parent: int) -> None:
            os.symlink(request.target, request.name, dir_fd=parent)

        return await self._make(request, act, 0)

    async def _make(
        self,
        request: triofuse.Mknod | triofuse.Mkdir | triofuse.Symlink,
        act: Callable[[int], None],
        umask: int,
    ) -> Entry:
        """Make something in the directory of a request."""
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        parent = self._tree.fd(request.nodeid)
        making_as_caller(request, lambda: act(parent), umask)
        return self._tree.find(request, request.name, request.security_contexts)

    async def link(self, request: triofuse.Link) -> Entry:
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        path = self._tree.path(request.oldnodeid)
        parent = self._tree.fd(request.nodeid)
        os.link(path, request.newname, dst_dir_fd=parent, follow_symlinks=True)
        return self._tree.find(request, request.newname)

    async def unlink(self, request: triofuse.Unlink) -> None:
        os.unlink(request.name, dir_fd=self._tree.fd(request.nodeid))

    async def rmdir(self, request: triofuse.Rmdir) -> None:
        os.rmdir(request.name, dir_fd=self._tree.fd(request.nodeid))

    async def rename(self, request: triofuse.Rename) -> None:
        old, new = self._tree.fd(request.nodeid), self._tree.fd(request.newdir)
        os.rename(request.name, request.newname, src_dir_fd=old, dst_dir_fd=new)

    async def rename2(self, request: triofuse.Rename) -> None:
        old, new = self._tree.fd(request.nodeid), self._tree.fd(request.newdir)
        with contextlib.ExitStack() as stack:
            if request.flags & RenameFlags.WHITEOUT:  # it is a file of the caller's
                stack.enter_context(acting_as(request.uid, request.gid, 0))
            libc.rename(old, request.name, new, request.newname, request.flags)

    # --- Inodes

    async def getattr(self, request: triofuse.Getattr) -> FileAttr:
        return self._tree.attr(request.nodeid)

    async def statx(self, request: triofuse.Statx) -> FileAttr:
        attr = self._tree.attr(request.nodeid)
        fd = self._tree.fd(request.nodeid)
        attr.btime_ns, attr.attributes = libc.birth(fd)
        return attr

    async def setattr(self, request: triofuse.Setattr) -> FileAttr:
        path = self._tree.path(request.nodeid)
        is_written = not request.valid and self._files.has_writer(request.nodeid)
        attributes.change(path, request, is_written=is_written)
        return self._tree.attr(request.nodeid)

    async def readlink(self, request: triofuse.Readlink) -> str:
        return os.readlink("", dir_fd=self._tree.fd(request.nodeid))

    async def setxattr(self, request: triofuse.Setxattr) -> None:
        attributes.set_extended(self._tree.path(request.nodeid), request)

    async def getxattr(self, request: triofuse.Getxattr) -> bytes:
        return os.getxattr(self._tree.path(request.nodeid), request.name)

    async def listxattr(self, request: triofuse.Listxattr) -> Iterable[str]:
        names = os.listxattr(self._tree.path(request.nodeid))
        return attributes.visible_to_caller(names, request)

    async def removexattr(self, request: triofuse.Removexattr) -> None:
        os.removexattr(self._tree.path(request.nodeid), request.name)

    # --- Open files: the handle is the descriptor

    async def open(self, request: triofuse.Open) -> Opened:
        flags = request.flags & OPEN_FLAGS
        if self._is_writable_memory(request):
            await self._tree.may_be_mapped(request.nodeid)
        path = self._tree.path(request.nodeid)

        append = request.flags & os.O_APPEND
        fd = self._files.open(request, lambda: libc.reopen(path, flags, append))
        return self._files.answer(request, request.nodeid, fd, request.flags)

    def _is_writable_memory(self, request: triofuse.Open | triofuse.Create) -> bool:
        """Whether the kernel may map SOURCE's own pages to be written to."""
        return self._backed and request.flags & libc.O_ACCMODE == os.O_RDWR

    async def read(self, request: triofuse.Read) -> FileData:
        self._tree.is_read_here(request.nodeid)
        return FileData(request.fh, request.offset, request.size)

    async def write(self, request: triofuse.Write) -> int:
        if request.write_flags & WriteFlags.KILL_SUIDGID:
            attributes.take_set_ids(request.fh, request)

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
                return libc.copy_file_range(*ends, *offsets)

        in_thread = partial(charged_anywhere, request, act)
        return await trio.to_thread.run_sync(in_thread, limiter=self._threads)

    async def ioctl(self, request: triofuse.Ioctl) -> triofuse.IoctlReply:
        reply = inodeflags.relay(request.fh, request)
        if inodeflags.changes(request):  # which sets the ctime, and the kernel does not
            await self.notifier.inval_inode(request.nodeid, -1)
        return reply

    # --- Open directories, likewise

    async def opendir(self, request: triofuse.Opendir) -> Opened:
        path, flags = self._tree.path(request.nodeid), os.O_RDONLY | os.O_DIRECTORY
        return Opened(self._files.open(request, lambda: os.open(path, flags)))

    async def readdir(self, request: triofuse.Readdir) -> Iterable[DirEntry]:
        return self._list(request, plus=False)

    async def readdirplus(self, request: triofuse.Readdirplus) -> Iterable[DirEntry]:
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
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
                    entry = self._tree.find(request, name)
            yield DirEntry(name, ino, kind << 12, offset, entry)

    async def releasedir(self, request: triofuse.Releasedir) -> None:
        self._files.close(request.fh)

    async def fsyncdir(self, request: triofuse.Fsyncdir) -> None:
        await self.fsync(request)


def make(source: Path, mountpoint: Path, *, passthrough: bool = True) -> Passthrough:
    """Mirror a directory.

    Args:
      source: The directory.
      mountpoint: Where it is mirrored: not inside of it.
      passthrough: The kernel does not read and write by itself.
    """
    real = os.path.realpath(source), os.path.realpath(mountpoint)
    if real[0] != real[1] and os.path.commonpath(real) == real[0]:
        message = "MOUNTPOINT is inside SOURCE: the mirror would wait for itself"
        raise ValueError(message)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Passthrough(source, backed=passthrough)


if __name__ == "__main__":
    triofuse.main(make)
