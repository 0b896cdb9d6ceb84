"""Setuid and setgid bits, which fall when somebody else changes a file.

chown(2) takes them, and it takes them by the rights of who calls it: root keeps a
setgid bit without group-execute, which others lose unless they are of the file's group
(``setattr_should_drop_sgid()`` in fs/attr.c).  It is the server that calls, as root.
"""

from __future__ import annotations

import errno
import os
import stat

from credentials import Caller, Capability
from triofuse import FuseError, Request

_SET_IDS = stat.S_ISUID | stat.S_ISGID


def take_set_ids(file: str | int, request: Request) -> None:
    """Take both bits from a file that is written to, if it has any."""
    if os.stat(file).st_mode & _SET_IDS:
        change_owner(file, -1, -1, request)


def change_owner(file: str | int, uid: int, gid: int, request: Request) -> None:
    """Call chown(2), which takes the bits that the caller's own would take."""
    before = os.stat(file)
    os.chown(file, uid, gid)
    kept = before.st_mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID
    if not kept or stat.S_ISDIR(before.st_mode):
        return
    caller = Caller.of(request)
    if not caller.may(Capability.FSETID) and not caller.is_in(before.st_gid):
        os.chmod(file, stat.S_IMODE(os.stat(file).st_mode) & ~stat.S_ISGID)


def refuse_stranger(status: os.stat_result, request: Request) -> None:
    """Refuse chown(2) to nobody else, which would take both bits, to a stranger.

    Raises:
      FuseError: EPERM: the caller is neither root nor the owner.
    """
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & _SET_IDS:
        return
    if Caller.of(request).uid not in (0, status.st_uid):
        raise FuseError(errno.EPERM)
