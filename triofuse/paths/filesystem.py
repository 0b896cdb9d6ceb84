"""`PathFilesystem`: a store whose names are paths, as a filesystem."""

from __future__ import annotations

from types import MethodType
from typing import Final

from triofuse.filesystem.absence import may_be_opened_to_write
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import InitFlags
from triofuse.paths.attribute_requests import AttributeRequests
from triofuse.paths.file_requests import FileRequests
from triofuse.paths.serving import Validity

__all__ = ["PathFilesystem"]

#: What the kernel does by itself where the store has none of these methods.
_NEEDS: Final = {
    "access": ("access",),
    "create": ("create",),
    "fallocate": ("fallocate",),
    "flush": ("flush", "setlk"),
    "fsync": ("fsync",),
    "fsyncdir": ("fsyncdir",),
    "getlk": ("getlk", "setlk"),
    "getxattr": ("getxattr",),
    "ioctl": ("ioctl",),
    "link": ("link",),
    "listxattr": ("listxattr",),
    "lseek": ("lseek",),
    "mkdir": ("mkdir",),
    "mknod": ("mknod", "create"),
    "opendir": ("opendir",),
    "readdir": ("readdir",),
    "readdirplus": ("readdir",),
    "readlink": ("readlink",),
    "releasedir": ("opendir",),
    "removexattr": ("removexattr",),
    "rename": ("rename",),
    "rename2": ("rename",),
    "rmdir": ("rmdir",),
    "setattr": ("chmod", "chown", "truncate", "utimens"),
    "setlk": ("setlk", "flock"),
    "setlkw": ("setlk", "flock"),
    "setxattr": ("setxattr",),
    "statfs": ("statfs",),
    "symlink": ("symlink",),
    "unlink": ("unlink",),
    "write": ("write",),
}


class PathFilesystem(AttributeRequests, FileRequests):
    """A filesystem of a store whose names are paths.

    For HTTP servers, object stores, archives and code that comes from libfuse::

        class Store(triofuse.PathOperations):
            async def getattr(self, path): ...
            async def readdir(self, path): ...
            async def read(self, path, size, offset): ...

        triofuse.run(triofuse.PathFilesystem(Store()), "/mnt/x")

    It keeps what the kernel knows: inodes, lookup counts and handles.  A rename moves
    all that is below; a file that is removed while it is open stays usable until it is
    closed: it is renamed to ``.fuse_hidden...`` meanwhile.

    The kernel checks modes and owners (``default_permissions``), unless the store has
    ``access`` or who mounts says ``nodefault_permissions``.

    Plain methods of the store run in threads.  A caller that is killed goes at once; its
    thread runs to the end, and the kernel asks again for what it may have changed.

    Args:
      store: An object with the methods of `PathOperations`, async or plain.
      valid: Seconds for which names and attributes may be cached, by the kernel and
        from listings.  A `FileAttr` says itself how long it is valid.
      entry_valid: The same for names alone.
      negative_valid: The same for names that do not exist.
      threads: How many plain methods run at a time.  0: they never block, and run in
        trio's thread.
      hard_remove: Whether the store keeps open files that are removed: they are not
        renamed, and their path is empty.
      open_flags: `OpenFlags` for all files: KEEP_CACHE, DIRECT_IO.

    Raises:
      TypeError: The store lacks a method, or a method takes other arguments.
    """

    def __init__(
        self,
        store: object,
        *,
        valid: float = 1.0,
        entry_valid: float | None = None,
        negative_valid: float | None = None,
        threads: int = 10,
        hard_remove: bool = False,
        open_flags: int = 0,
    ) -> None:
        entry = valid if entry_valid is None else entry_valid
        negative = valid if negative_valid is None else negative_valid
        super().__init__(store, Validity(entry, valid, negative), threads)
        self._hard_remove = hard_remove
        self._open_flags = open_flags
        self._rename_flags = int(getattr(store, "rename_flags", 0))
        for name, needed in _NEEDS.items():
            if not any(method in self._methods for method in needed):
                setattr(self, name, MethodType(getattr(Filesystem, name), self))
        self._writable = may_be_opened_to_write(self, Filesystem)
        if "access" not in self._methods:  # then nobody else would check modes
            self.mount_options = "default_permissions"

    async def init(self, config: KernelConfig) -> None:
        """Prepare to serve."""
        if "flock" not in self._methods:
            config.decline(InitFlags.FLOCK_LOCKS)
        if "setlk" not in self._methods:
            config.decline(InitFlags.POSIX_LOCKS)
        await super().init(config)

    async def changed(self, path: str) -> None:
        """Have the kernel ask again for a path: the store has changed it by itself."""
        parent, _, name = path.rstrip("/").rpartition("/")
        directory = self._inodes.find(parent)
        if directory is None:
            return
        directory.changed()
        inode = self._inodes.at(directory, name) if name else directory
        if inode is not None:
            await self.notifier.inval_inode(inode.nodeid)
        if name:
            await self.notifier.inval_entry(directory.nodeid, name)
