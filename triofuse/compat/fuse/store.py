"""A program's operations as a store of `PathFilesystem`.

The law: a method exists if the program has the operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from triofuse.compat.fuse.files import Files
from triofuse.compat.fuse.operations import has_method
from triofuse.compat.fuse.structures import fuse_file_info
from triofuse.compat.fuse.values import attr_of, statfs_of
from triofuse.filesystem.flags import RenameFlags
from triofuse.filesystem.replies import (
    DirEntry,
    FileAttr,
    Statfs,
)
from triofuse.paths.operations import PathOperations

__all__ = ["Store"]

#: The operations that a method of the store needs, if they are called otherwise.
_NEEDS: Final = {
    "getlk": ("lock",),
    "setlk": ("lock",),
    "readdir": ("readdir", "readdir_with_offset"),
    "utimens": ("utimens", "write", "create", "mkdir", "mknod"),
}

#: The methods that the store always has: a handle is a `fuse_file_info`.
_ALWAYS: Final = {"getattr", "open"}


class Store(Files):
    """The methods of `PathOperations`, which call a program's operations."""

    rename_flags = 0

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for name in vars(PathOperations).keys() - _ALWAYS:
            needed = _NEEDS.get(name, (name,))
            is_method = callable(getattr(Store, name, None)) and name[0] != "_"
            if is_method and not any(
                has_method(self.operations, one) for one in needed
            ):
                setattr(self, name, None)
        if not has_method(self.operations, "open"):
            self.open = self._open_nothing  # type: ignore[method-assign,assignment]
        self._truncate_takes_fh = self.count("truncate", 2) >= 3
        if self.count("rename", 2) >= 3:
            flags = RenameFlags.NOREPLACE | RenameFlags.EXCHANGE | RenameFlags.WHITEOUT
            self.rename_flags = int(flags)

    # --- Names

    def getattr(self, path: str, handle: fuse_file_info | None) -> FileAttr:
        """Ask for attributes."""
        fh = None if handle is None else self.fh(handle)
        # Not nullpath_ok: after create() libfuse gives the path, too.
        status = self.call("getattr", self.text(path) or None, fh)
        return attr_of(status, self.config, use_ns=self.use_ns)

    def readdir(self, path: str, handle: fuse_file_info | None) -> list[DirEntry]:
        """Ask for a listing."""
        fh = 0 if handle is None else handle.fh
        name = self.path(path, handle)
        if not has_method(self.operations, "readdir_with_offset"):
            return [self._entry(one) for one in self.call("readdir", name, fh)]
        return [self._entry(one) for one in self._by_offset(name, fh)]

    def _by_offset(self, path: str | None, fh: int) -> Iterable[Any]:
        """Yield a listing that comes in pieces; the last offset leads to the next."""
        offset = 0
        while True:
            last = offset
            for entry in self.call("readdir_with_offset", path, offset, fh):
                yield entry
                last = 0 if isinstance(entry, str) else entry[2]
            if last in (0, offset):
                return
            offset = last

    def _entry(self, entry: Any) -> DirEntry:
        if isinstance(entry, str):
            return DirEntry(self.name(entry), 0)
        name, status = entry[:2]
        if isinstance(status, int):
            return DirEntry(self.name(name), 0, status)
        ino = status.get("st_ino", 0) if status and self.config.use_ino else 0
        mode = status.get("st_mode", 0) if status else 0
        return DirEntry(self.name(name), ino, mode)

    def readlink(self, path: str) -> str:
        """Ask for a link's target."""
        return self.name(self.call("readlink", self.text(path)))

    def mkdir(self, path: str, mode: int) -> None:
        """Have a directory made."""
        self.do("mkdir", self.text(path), mode)

    def mknod(self, path: str, mode: int, rdev: int) -> None:
        """Have a file, device, pipe or socket made."""
        self.do("mknod", self.text(path), mode, rdev)

    def symlink(self, target: str, path: str) -> None:
        """Have a symbolic link made: the new name comes first there."""
        self.do("symlink", self.text(path), self.text(target))

    def link(self, old: str, new: str) -> None:
        """Have a hard link made: the new name comes first there."""
        self.do("link", self.text(new), self.text(old))

    def unlink(self, path: str) -> None:
        """Have a name removed."""
        self.do("unlink", self.text(path))

    def rmdir(self, path: str) -> None:
        """Have a directory removed."""
        self.do("rmdir", self.text(path))

    def rename(self, old: str, new: str, flags: int) -> None:
        """Have something renamed."""
        more = (flags,) if self.rename_flags else ()
        self.do("rename", self.text(old), self.text(new), *more)

    # --- Attributes

    def statfs(self, path: str) -> Statfs:
        """Ask for size and free space."""
        return statfs_of(self.call("statfs", self.text(path)))

    def access(self, path: str, mask: int) -> None:
        """Ask for permission."""
        self.do("access", self.text(path), mask)

    def chmod(self, path: str, mode: int, handle: object) -> None:
        """Have the mode changed."""
        self.do("chmod", self.text(path) or None, mode)

    def chown(self, path: str, uid: int, gid: int, handle: object) -> None:
        """Have the owner changed."""
        self.do("chown", self.text(path) or None, uid, gid)

    def truncate(self, path: str, size: int, handle: fuse_file_info | None) -> None:
        """Have the size changed."""
        if handle is not None and self._truncate_takes_fh:
            self.do("truncate", self.path(path, handle), size, self.fh(handle))
        else:
            self.do("truncate", self.text(path) or None, size)

    def utimens(self, path: str, atime_ns: int, mtime_ns: int, handle: object) -> None:
        """Have the times changed; who cannot do that ignores it."""
        if not has_method(self.operations, "utimens"):
            return
        times: tuple[float, float] = (atime_ns, mtime_ns)
        if not self.use_ns:
            times = (atime_ns / 1e9, mtime_ns / 1e9)
        self.do("utimens", self.text(path) or None, times)

    def getxattr(self, path: str, name: str) -> bytes:
        """Ask for an extended attribute."""
        value = self.call("getxattr", self.text(path), self.text(name))
        # Programs for Python 2 return "" for none.
        return value.encode() if isinstance(value, str) else bytes(value)

    def listxattr(self, path: str) -> list[str]:
        """Ask for the names of extended attributes."""
        return [self.name(one) for one in self.call("listxattr", self.text(path)) or ()]

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        """Have an extended attribute set."""
        self.do("setxattr", self.text(path), self.text(name), value, flags)

    def removexattr(self, path: str, name: str) -> None:
        """Have an extended attribute removed."""
        self.do("removexattr", self.text(path), self.text(name))
