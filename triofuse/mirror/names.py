"""The requests about names and inodes of a mirror."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterable

import trio

from triofuse.filesystem.attributes import FileAttr
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import RenameFlags
from triofuse.filesystem.init_flags import InitFlags
from triofuse.filesystem.replies import (
    Entry,
    Opened,
    Statfs,
)
from triofuse.filesystem.requests import (
    Create,
    Forget,
    Getattr,
    Getxattr,
    Link,
    Listxattr,
    Lookup,
    Mkdir,
    Mknod,
    Open,
    Readlink,
    Removexattr,
    Rename,
    Rmdir,
    Setattr,
    Setxattr,
    StatfsRequest,
    Statx,
    Symlink,
    Syncfs,
    Tmpfile,
    Unlink,
)
from triofuse.mirror import attributes, libc
from triofuse.mirror.credentials import (
    Capability,
    acting_as,
    drop,
    making_as_caller,
    take_up,
)
from triofuse.mirror.nodes import ROOT
from triofuse.mirror.openfiles import OpenFiles
from triofuse.mirror.tree import Tree

#: Descriptors that neither nodes nor open files may take.
RESERVE = 64

#: Threads for what waits for a disk; those who use the mount may need all others.
THREADS = 8

#: What is passed on of open(2).  O_APPEND is not: the kernel says where to write;
#: only an append-only file (chattr +a) opens in no other way.
#: O_SYNC is not: an FSYNC follows.  O_DIRECT is, to fail where SOURCE has none.
OPEN_FLAGS = libc.O_ACCMODE | os.O_NOATIME | os.O_DIRECT


class Names(Filesystem):
    """The names and inodes of the directory ``source``.

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

    async def init(self, config: KernelConfig) -> None:
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

    async def statfs(self, request: StatfsRequest) -> Statfs:
        return Statfs.from_statvfs(os.fstatvfs(self._tree.fd(request.nodeid)))

    async def syncfs(self, request: Syncfs) -> None:
        fd = self._tree.fd(ROOT)
        await trio.to_thread.run_sync(libc.syncfs, fd, limiter=self._threads)

    # --- Names

    async def lookup(self, request: Lookup) -> Entry:
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        return self._tree.find(request, request.name)

    def forget(self, request: Forget) -> None:
        self._tree.forget(request)

    async def create(self, request: Create) -> tuple[Entry, Opened]:
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

    async def tmpfile(self, request: Tmpfile) -> tuple[Entry, Opened]:
        flags = request.flags & (OPEN_FLAGS | os.O_EXCL) | libc.O_TMPFILE

        def act() -> int:
            return os.open(self._tree.path(request.nodeid), flags, request.mode)

        return await self._create(request, act)

    async def _create(
        self, request: Create, act: Callable[[], int]
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

    async def mknod(self, request: Mknod) -> Entry:
        def act(parent: int) -> None:
            os.mknod(request.name, request.mode, request.rdev, dir_fd=parent)

        return await self._make(request, act, request.umask)

    async def mkdir(self, request: Mkdir) -> Entry:
        def act(parent: int) -> None:
            os.mkdir(request.name, request.mode, dir_fd=parent)

        return await self._make(request, act, request.umask)

    async def symlink(self, request: Symlink) -> Entry:
        def act(parent: int) -> None:
            os.symlink(request.target, request.name, dir_fd=parent)

        return await self._make(request, act, 0)

    async def _make(
        self,
        request: Mknod | Mkdir | Symlink,
        act: Callable[[int], None],
        umask: int,
    ) -> Entry:
        """Make something in the directory of a request."""
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        parent = self._tree.fd(request.nodeid)
        making_as_caller(request, lambda: act(parent), umask)
        return self._tree.find(request, request.name, request.security_contexts)

    async def link(self, request: Link) -> Entry:
        if self._tree.nodes.is_crowded:
            await self._tree.make_room(request)
        path = self._tree.path(request.oldnodeid)
        parent = self._tree.fd(request.nodeid)
        os.link(path, request.newname, dst_dir_fd=parent, follow_symlinks=True)
        return self._tree.find(request, request.newname)

    async def unlink(self, request: Unlink) -> None:
        os.unlink(request.name, dir_fd=self._tree.fd(request.nodeid))

    async def rmdir(self, request: Rmdir) -> None:
        os.rmdir(request.name, dir_fd=self._tree.fd(request.nodeid))

    async def rename(self, request: Rename) -> None:
        old, new = self._tree.fd(request.nodeid), self._tree.fd(request.newdir)
        os.rename(request.name, request.newname, src_dir_fd=old, dst_dir_fd=new)

    async def rename2(self, request: Rename) -> None:
        old, new = self._tree.fd(request.nodeid), self._tree.fd(request.newdir)
        with contextlib.ExitStack() as stack:
            if request.flags & RenameFlags.WHITEOUT:  # it is a file of the caller's
                stack.enter_context(acting_as(request.uid, request.gid, 0))
            libc.rename(old, request.name, new, request.newname, request.flags)

    # --- Inodes

    async def getattr(self, request: Getattr) -> FileAttr:
        return self._tree.attr(request.nodeid)

    async def statx(self, request: Statx) -> FileAttr:
        attr = self._tree.attr(request.nodeid)
        fd = self._tree.fd(request.nodeid)
        attr.btime_ns, attr.attributes = libc.birth(fd)
        return attr

    async def setattr(self, request: Setattr) -> FileAttr:
        path = self._tree.path(request.nodeid)
        is_written = not request.valid and self._files.has_writer(request.nodeid)
        attributes.change(path, request, is_written=is_written)
        return self._tree.attr(request.nodeid)

    async def readlink(self, request: Readlink) -> str:
        return os.readlink("", dir_fd=self._tree.fd(request.nodeid))

    async def setxattr(self, request: Setxattr) -> None:
        attributes.set_extended(self._tree.path(request.nodeid), request)

    async def getxattr(self, request: Getxattr) -> bytes:
        return os.getxattr(self._tree.path(request.nodeid), request.name)

    async def listxattr(self, request: Listxattr) -> Iterable[str]:
        names = os.listxattr(self._tree.path(request.nodeid))
        return attributes.visible_to_caller(names, request)

    async def removexattr(self, request: Removexattr) -> None:
        os.removexattr(self._tree.path(request.nodeid), request.name)

    def _is_writable_memory(self, request: Open | Create) -> bool:
        """Whether the kernel may map SOURCE's own pages to be written to."""
        return self._backed and request.flags & libc.O_ACCMODE == os.O_RDWR
