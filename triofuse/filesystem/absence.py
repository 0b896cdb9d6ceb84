"""The errors of methods that a filesystem does not implement."""

from __future__ import annotations

import errno

from triofuse.filesystem.errors import FuseError

__all__ = ["may_be_opened_to_write", "overrides", "unimplemented", "unwritable"]

#: The methods that write.
_WRITING = (
    "write",
    "create",
    "mknod",
    "mkdir",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "rename2",
    "setattr",
    "tmpfile",
)

#: Methods that do not write, but need files that are open for writing.
_WANT_WRITABLE = ("ioctl", "setlk")


def unimplemented() -> FuseError:
    """Return ENOSYS: the kernel learns that the operation does not exist."""
    return FuseError(errno.ENOSYS)


def unwritable(filesystem: object, base: type, otherwise: int) -> FuseError:
    """Return the error of a method that writes and is not implemented.

    Args:
      filesystem: The filesystem without the method.
      base: The class that implements none.
      otherwise: The errno if the filesystem has another method that writes.  If it
        has none, the errno is EROFS, as on a read-only filesystem.
    """
    writes = any(overrides(filesystem, base, method) for method in _WRITING)
    return FuseError(otherwise if writes else errno.EROFS)


def may_be_opened_to_write(filesystem: object, base: type) -> bool:
    """Whether the filesystem has a method that needs files open for writing."""
    methods = (*_WRITING, *_WANT_WRITABLE)
    return any(overrides(filesystem, base, method) for method in methods)


def overrides(filesystem: object, base: type, method: str) -> bool:
    """Whether a filesystem overrides a method of its base class."""
    own = getattr(filesystem, method)
    return getattr(own, "__func__", own) is not getattr(base, method)
