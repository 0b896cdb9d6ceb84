"""``triofuse umount``: unmount, and say who is in the way."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from triofuse.device.mount_error import MountError
from triofuse.device.mount_users import users_of
from triofuse.device.mountinfo import read_mounts
from triofuse.device.unmounting import detach_here

__all__ = ["unmount"]


def unmount(argv: Sequence[str]) -> int:
    """Unmount; return an exit status as umount(8) does."""
    parser = argparse.ArgumentParser(
        prog="triofuse umount", description="Unmount what triofuse has mounted."
    )
    parser.add_argument("mountpoints", nargs="+", metavar="MOUNTPOINT")
    parser.add_argument(
        "-l", "--lazy", action="store_true", help="also if it is in use"
    )
    args = parser.parse_args(argv)
    failed = [path for path in args.mountpoints if not _unmount(path, lazy=args.lazy)]
    return 32 if failed else 0


def _unmount(path: str, *, lazy: bool) -> bool:
    """Unmount one; return whether it is gone."""
    parent, name = os.path.split(os.path.abspath(path))
    place = os.path.join(os.path.realpath(parent), name)  # never into the mount
    entry = next((one for one in read_mounts() if one.mount_point == place), None)
    if entry is None or not entry.is_fuse:
        what = "nothing is mounted there" if entry is None else f"it is {entry.fstype}"
        sys.stderr.write(f"triofuse umount: {path}: {what}\n")
        return False
    try:
        os.chdir(os.path.dirname(place))
        detach_here(name, place, lazy=lazy)
    except (MountError, OSError) as exc:
        words = exc.strerror or str(exc)
        if exc.errno == errno.EBUSY:
            users = "; ".join(users_of(place)) or "its users are not known"
            words = f"it is in use: {users}"
        sys.stderr.write(f"triofuse umount: {path}: {words}\n")
        return False
    return True
