"""The flags of statx(2)."""

from __future__ import annotations

from enum import IntFlag

from triofuse.filesystem.flag_types import and_gives_int

__all__ = ["StatxAttributes", "StatxMask"]


@and_gives_int
class StatxMask(IntFlag):
    """Attributes that statx(2) wants or gets (``STATX_*``, fuse_statx.mask).

    Attributes:
      TYPE: The file type of ``mode``.
      MODE: The permissions of ``mode``.
      NLINK: ``nlink``.
      UID: ``uid``.
      GID: ``gid``.
      ATIME: ``atime_ns``.
      MTIME: ``mtime_ns``.
      CTIME: ``ctime_ns``.
      INO: ``ino``.
      SIZE: ``size``.
      BLOCKS: ``blocks``.
      BASIC_STATS: All of the above.
      BTIME: ``btime_ns``.
    """

    TYPE = 1 << 0
    MODE = 1 << 1
    NLINK = 1 << 2
    UID = 1 << 3
    GID = 1 << 4
    ATIME = 1 << 5
    MTIME = 1 << 6
    CTIME = 1 << 7
    INO = 1 << 8
    SIZE = 1 << 9
    BLOCKS = 1 << 10
    BASIC_STATS = 0x7FF
    BTIME = 1 << 11


@and_gives_int
class StatxAttributes(IntFlag):
    """Inode attributes of statx(2) (``STATX_ATTR_*``, fuse_statx.attributes).

    Attributes:
      COMPRESSED: Compressed by the filesystem.
      IMMUTABLE: Cannot be changed (chattr +i).
      APPEND: Can only be appended to (chattr +a).
      NODUMP: Not for backups (chattr +d).
      ENCRYPTED: Encrypted by the filesystem.
      AUTOMOUNT: An automount trigger.
      VERITY: Protected by fs-verity.
      DAX: Uses DAX.
    """

    COMPRESSED = 1 << 2
    IMMUTABLE = 1 << 4
    APPEND = 1 << 5
    NODUMP = 1 << 6
    ENCRYPTED = 1 << 11
    AUTOMOUNT = 1 << 12
    VERITY = 1 << 20
    DAX = 1 << 21
