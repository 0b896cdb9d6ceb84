"""The attributes of an inode: `FileAttr`."""

from __future__ import annotations

import os
import stat
import time
from functools import lru_cache
from typing import Self, TypedDict, Unpack

import attrs

__all__ = ["DEFAULT_VALID", "FileAttr", "look_up_owner_anew"]

#: The lifetime of names and attributes in the kernel's cache, seconds; as in libfuse.
DEFAULT_VALID = 1.0

#: The default of times.  It is constant while a program runs: with a new mtime at each
#: stat(2) the kernel would drop the page cache, and make(1) would rebuild.
_STARTED_NS = time.time_ns()

#: Cached: the two system calls take as long as the rest of a FileAttr.
_uid = lru_cache(os.getuid)
_gid = lru_cache(os.getgid)


def look_up_owner_anew() -> None:
    """Update the default owner of attributes to the current user, at each mount."""
    _uid.cache_clear()
    _gid.cache_clear()


class _Fields(TypedDict, total=False):
    """The fields of `FileAttr` that every kind of inode has."""

    nlink: int
    blocks: int | None
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int | None
    blksize: int
    flags: int
    attributes: int
    attr_valid: float


@attrs.define
class FileAttr:
    """The attributes of an inode: what stat(2) shows.

    `file`, `directory`, `symlink` and others make those of one kind:
    ``FileAttr.file(2, size=17, mode=0o444)``.

    Source: ``struct fuse_attr`` and ``struct fuse_statx`` in linux/fuse.h.

    Attributes:
      ino: Inode number (``st_ino``); also the default ``nodeid`` of an `Entry`.
      mode: File type and permissions (``st_mode``).
      nlink: Number of hard links.
      size: Bytes.
      blocks: 512-byte units in use; by default as many as ``size`` needs.  Fewer tell
        tar(1) and cp(1) that the file has holes.  With 0 they take the whole file for
        a hole and do not read it.
      uid: Owner; by default the user who mounts, before that the program's user.
      gid: Group; likewise.
      rdev: Device number as of ``os.makedev``, for device nodes.
      atime_ns: Last access, nanoseconds since the epoch; may be negative.  The default
        of all three times is the start of the program.
      mtime_ns: Last change of the contents.
      ctime_ns: Last change of the inode.
      btime_ns: Birth, or None if unknown; only STATX carries it.
      blksize: Preferred size of I/O, bytes; 0 lets the kernel choose 4096.
      flags: `AttrFlags`.
      attributes: `StatxAttributes`; only STATX carries them, and Linux 6.18 does not
        pass them on (``fuse_do_statx()``).
      attr_valid: Seconds for which the kernel may cache these attributes;
        ``math.inf`` is without limit.
    """

    ino: int
    mode: int
    nlink: int = 1
    size: int = 0
    blocks: int | None = None
    uid: int = attrs.Factory(_uid)
    gid: int = attrs.Factory(_gid)
    rdev: int = 0
    atime_ns: int = _STARTED_NS
    mtime_ns: int = _STARTED_NS
    ctime_ns: int = _STARTED_NS
    btime_ns: int | None = None
    blksize: int = 4096
    flags: int = 0
    attributes: int = 0
    attr_valid: float = DEFAULT_VALID

    @classmethod
    def file(
        cls, ino: int, size: int = 0, mode: int = 0o644, **fields: Unpack[_Fields]
    ) -> Self:
        """Make the attributes of a regular file.

        Args:
          ino: Inode number.
          size: Bytes.
          mode: Permissions, without the file type.
          fields: The other fields, where the defaults do not suit.

        Raises:
          ValueError: ``mode`` has the type of another kind.
        """
        return cls(ino, _typed(stat.S_IFREG, mode), size=size, **fields)

    @classmethod
    def directory(cls, ino: int, mode: int = 0o755, **fields: Unpack[_Fields]) -> Self:
        """Make the attributes of a directory; arguments as for `file`.

        ``nlink`` is 2 by default.  With subdirectories it is 2 and their number; 1 says
        that nobody counted them (find(1) and fts(3) believe any other).
        """
        fields.setdefault("nlink", 2)
        return cls(ino, _typed(stat.S_IFDIR, mode), **fields)

    @classmethod
    def symlink(
        cls, ino: int, target: str, mode: int = 0o777, **fields: Unpack[_Fields]
    ) -> Self:
        """Make the attributes of a symbolic link; its size is that of its target.

        Args:
          ino: Inode number.
          target: What ``readlink`` returns.
          mode: Permissions; Linux shows them, and does not check them.
          fields: The other fields, where the defaults do not suit.
        """
        size = len(os.fsencode(target))
        return cls(ino, _typed(stat.S_IFLNK, mode), size=size, **fields)

    @classmethod
    def fifo(cls, ino: int, mode: int = 0o644, **fields: Unpack[_Fields]) -> Self:
        """Make the attributes of a named pipe; arguments as for `file`."""
        return cls(ino, _typed(stat.S_IFIFO, mode), **fields)

    @classmethod
    def socket(cls, ino: int, mode: int = 0o755, **fields: Unpack[_Fields]) -> Self:
        """Make the attributes of a Unix socket; arguments as for `file`."""
        return cls(ino, _typed(stat.S_IFSOCK, mode), **fields)

    @classmethod
    def char_device(
        cls, ino: int, rdev: int, mode: int = 0o600, **fields: Unpack[_Fields]
    ) -> Self:
        """Make the attributes of a character device: ``rdev`` is of ``os.makedev``."""
        return cls(ino, _typed(stat.S_IFCHR, mode), rdev=rdev, **fields)

    @classmethod
    def block_device(
        cls, ino: int, rdev: int, mode: int = 0o600, **fields: Unpack[_Fields]
    ) -> Self:
        """Make the attributes of a block device: ``rdev`` is of ``os.makedev``."""
        return cls(ino, _typed(stat.S_IFBLK, mode), rdev=rdev, **fields)

    @classmethod
    def from_stat(
        cls,
        status: os.stat_result,
        *,
        ino: int | None = None,
        attr_valid: float = DEFAULT_VALID,
    ) -> Self:
        """Make attributes from a result of ``os.stat``, ``os.fstat`` or ``os.lstat``.

        Args:
          status: The result to copy.
          ino: The inode number; ``status.st_ino`` by default.
          attr_valid: Seconds for which the kernel may cache the attributes.
        """
        return cls(
            ino=status.st_ino if ino is None else ino,
            mode=status.st_mode,
            nlink=status.st_nlink,
            size=status.st_size,
            blocks=status.st_blocks,
            uid=status.st_uid,
            gid=status.st_gid,
            rdev=status.st_rdev,
            atime_ns=status.st_atime_ns,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            blksize=status.st_blksize,
            attr_valid=attr_valid,
        )

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def blocks_in_use(self) -> int:
        """The value of st_blocks: ``blocks``, or as many as ``size`` needs."""
        return -(-self.size // 512) if self.blocks is None else self.blocks

    def __eq__(self, other: object) -> bool:
        """Whether both have equal fields; a default ``blocks`` counts as its value."""
        if not isinstance(other, FileAttr):
            return NotImplemented
        return self._shown() == other._shown()

    def _shown(self) -> tuple[object, ...]:
        return attrs.astuple(attrs.evolve(self, blocks=self.blocks_in_use))


def _typed(kind: int, mode: int) -> int:
    """Return a mode with its file type, which it may have already."""
    if stat.S_IFMT(mode) not in (0, kind):
        message = f"the mode {mode:#o} has another file type than {kind:#o}"
        raise ValueError(message)
    return kind | mode
