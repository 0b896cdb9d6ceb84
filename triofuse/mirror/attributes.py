"""Changing owner, mode, size and times as the caller's own system calls would.

The kernel has checked whether the caller may.  What it leaves to the filesystem are
setuid and setgid bits, which fall when somebody else changes a file.  chown(2) takes
them, and it takes them by the rights of who calls it: root keeps a setgid bit without
group-execute, which others lose unless they are of the file's group
(``setattr_should_drop_sgid()`` in fs/attr.c).  It is the server that calls, as root.
"""

from __future__ import annotations

import errno
import os
import stat

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import SetattrValid, SetxattrInFlags
from triofuse.filesystem.requests import Listxattr, Request, Setattr, Setxattr
from triofuse.mirror import libc
from triofuse.mirror.credentials import Caller, Capability, charged, ids_of, writing_as

_SET_IDS = stat.S_ISUID | stat.S_ISGID


def change(path: str, request: Setattr, *, is_written: bool) -> None:
    """Change the attributes of an inode.

    Args:
      path: Leads to it.
      request: What to change.
      is_written: Whether somebody has it open for writing.
    """
    valid = request.valid
    # With the very same request the kernel asks for set-id bits to be taken before
    # a write: that comes from somebody who has the file open for writing.
    if not valid and not is_written:
        _refuse_stranger(os.stat(path), request)
    # The mode comes after the owner, for chown(2) takes suid and sgid away.
    if valid & (SetattrValid.UID | SetattrValid.GID) or not valid:
        ids = _or_same(request.new_uid), _or_same(request.new_gid)
        charged(request, lambda: _chown(path, *ids, request))
    elif valid & SetattrValid.KILL_SUIDGID:
        take_set_ids(path, request)
    if request.mode is not None:
        os.chmod(path, stat.S_IMODE(request.mode))
    if request.size is not None:
        os.truncate(path if request.fh is None else request.fh, request.size)
    if valid & (SetattrValid.ATIME | SetattrValid.MTIME):
        now = valid & SetattrValid.ATIME_NOW, valid & SetattrValid.MTIME_NOW
        libc.utimens(path, request.atime_ns, request.mtime_ns, now)


def take_set_ids(file: str | int, request: Request) -> None:
    """Take both bits from a file that is written to, if it has any."""
    if os.stat(file).st_mode & _SET_IDS:
        _chown(file, -1, -1, request)


def set_extended(path: str, request: Setxattr) -> None:
    """Set an extended attribute; its space is the caller's."""
    ids = ids_of(request)

    def act() -> None:
        with writing_as(*ids):
            os.setxattr(path, request.name, request.value, request.flags)

    charged(request, act)
    kill_sgid = request.setxattr_flags & SetxattrInFlags.ACL_KILL_SGID
    if kill_sgid and request.name == "system.posix_acl_access":
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~stat.S_ISGID)


def visible_to_caller(names: list[str], request: Listxattr) -> list[str]:
    """Return which extended attributes the caller may know of.

    ``trusted.*`` are for root, and the kernel below takes us for root.
    """
    trusted = [name for name in names if name.startswith("trusted.")]
    if trusted and not Caller.of(request).may(Capability.SYS_ADMIN):
        return [name for name in names if name not in trusted]
    return names


def _chown(file: str | int, uid: int, gid: int, request: Request) -> None:
    """Call chown(2), which takes the bits that the caller's own would take."""
    before = os.stat(file)
    os.chown(file, uid, gid)
    kept = before.st_mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID
    if not kept or stat.S_ISDIR(before.st_mode):
        return
    caller = Caller.of(request)
    if not caller.may(Capability.FSETID) and not caller.is_in(before.st_gid):
        os.chmod(file, stat.S_IMODE(os.stat(file).st_mode) & ~stat.S_ISGID)


def _refuse_stranger(status: os.stat_result, request: Request) -> None:
    """Refuse chown(2) to nobody else, which would take both bits, to a stranger."""
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & _SET_IDS:
        return
    if ids_of(request)[0] not in (0, status.st_uid):
        raise FuseError(errno.EPERM)


def _or_same(number: int | None) -> int:
    return -1 if number is None else number
