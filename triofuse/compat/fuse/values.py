"""What programs return, as triofuse has it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import Any

from triofuse.compat.fuse.structures import fuse_config
from triofuse.filesystem.replies import FileAttr, Statfs

__all__ = ["attr_of", "statfs_of"]

_NS = 10**9
_S_IFMT = 0o170000


def attr_of(
    status: Mapping[str, Any], config: fuse_config, *, use_ns: bool
) -> FileAttr:
    """Return attributes from the fields of stat(2).

    What is missing is 0, as in libfuse, except that a file has one link, and as many
    blocks as its size needs.
    """
    get = status.get
    mode, nlink, size = status["st_mode"], get("st_nlink", 1), get("st_size", 0)
    atime, mtime = get("st_atime", 0), get("st_mtime", 0)
    ctime = get("st_ctime", 0)
    if not use_ns:
        atime, mtime, ctime = round(atime * _NS), round(mtime * _NS), round(ctime * _NS)
    ino = get("st_ino", 0)
    if ino and not config.use_ino and (nlink < 2 or mode & _S_IFMT == stat.S_IFDIR):
        ino = 0  # needed only to tell hard links
    attr = FileAttr(
        ino,
        mode,
        nlink,
        size,
        get("st_blocks"),
        get("st_uid", 0),
        get("st_gid", 0),
        get("st_rdev", 0),
        int(atime),
        int(mtime),
        int(ctime),
        None,
        get("st_blksize", 0) or 4096,
        0,
        0,
        config.attr_timeout,
    )
    if config.set_mode or config.set_uid or config.set_gid:
        _overrule(attr, config)
    return attr


def _overrule(attr: FileAttr, config: fuse_config) -> None:
    """Show what the options say, as libfuse's ``set_stat()``."""
    if config.set_mode:
        attr.mode = attr.mode & _S_IFMT | 0o777 & ~config.umask
    if config.set_uid:
        attr.uid = config.uid
    if config.set_gid:
        attr.gid = config.gid


def statfs_of(status: Mapping[str, int]) -> Statfs:
    """Return a filesystem's state from the fields of statvfs(3)."""
    bsize = status.get("f_bsize", 0)
    return Statfs(
        blocks=status.get("f_blocks", 0),
        bfree=status.get("f_bfree", 0),
        bavail=status.get("f_bavail", 0),
        files=status.get("f_files", 0),
        ffree=status.get("f_ffree", 0),
        bsize=bsize or 4096,
        namelen=status.get("f_namemax", 0) or 255,
        frsize=status.get("f_frsize", 0) or bsize or 4096,
    )
