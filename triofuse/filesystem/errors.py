"""The errors of the filesystem author's side."""

from __future__ import annotations

import os

__all__ = ["CapabilityError", "FuseError"]


class FuseError(OSError):
    """Fail a request: ``raise FuseError(errno.ENOENT)``.

    Any other ``OSError`` does the same; this is the short form.  One thing only
    it can say: ``FuseError(errno.ENOSYS)`` tells the kernel that the operation
    does not exist, which the kernel remembers for the life of the mount.  ENOSYS
    in another ``OSError`` is taken for an accident and becomes EOPNOTSUPP.

    Args:
      errno: A positive errno, 1..511.
      message: What to say in logs; strerror(errno) by default.
    """

    def __init__(self, errno: int, message: str | None = None) -> None:
        super().__init__(errno, message or os.strerror(errno))


class CapabilityError(ValueError):
    """A capability was asked for that kernel or filesystem cannot honour."""
