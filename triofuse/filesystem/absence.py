"""What a method answers that a filesystem leaves out."""

from __future__ import annotations

import errno

from triofuse.filesystem.errors import FuseError

__all__ = ["may_be_opened_to_write", "overrides", "unimplemented", "unwritable"]

#: The methods by which something is written.
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

#: Those that write nothing, but are called on files that are open for writing.
_WANT_WRITABLE = ("ioctl", "setlk")


def unimplemented() -> FuseError:
    """Return what tells the kernel that there is no such operation."""
    return FuseError(errno.ENOSYS)


def unwritable(filesystem: object, base: type, otherwise: int) -> FuseError:
    """Return what says that nothing is written this way.

    Args:
      filesystem: Whose method was left out.
      base: The class that leaves all of them out.
      otherwise: The errno if something can be written some other way; else it is
        EROFS, as on any filesystem where nothing can be.
    """
    writes = any(overrides(filesystem, base, method) for method in _WRITING)
    return FuseError(otherwise if writes else errno.EROFS)


def may_be_opened_to_write(filesystem: object, base: type) -> bool:
    """Whether there is any use in a file that is open for writing."""
    methods = (*_WRITING, *_WANT_WRITABLE)
    return any(overrides(filesystem, base, method) for method in methods)


def overrides(filesystem: object, base: type, method: str) -> bool:
    """Whether a filesystem has another method than its base class."""
    own = getattr(filesystem, method)
    return getattr(own, "__func__", own) is not getattr(base, method)
