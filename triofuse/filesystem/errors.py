"""The errors that authors of filesystems raise or get."""

from __future__ import annotations

import os

__all__ = ["CapabilityError", "FuseError"]


class FuseError(OSError):
    """Fail a request: ``raise FuseError(errno.ENOENT)``.

    Any other ``OSError`` does the same; this is the short form.  There is one
    difference: ``FuseError(errno.ENOSYS)`` tells the kernel that the operation does
    not exist, and the kernel does not ask again while it is mounted.  ENOSYS in
    another ``OSError`` is taken for an accident and becomes EOPNOTSUPP.

    Args:
      errno: A positive errno, 1..511.
      message: The message for logs; strerror(errno) by default.
    """

    def __init__(self, errno: int, message: str | None = None) -> None:
        super().__init__(errno, message or os.strerror(errno))


class CapabilityError(ValueError):
    """A flag or notification was asked for that kernel or filesystem cannot honour."""
