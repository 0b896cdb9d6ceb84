"""Processes and mounts that keep a mount busy, as /proc shows them.

The law: nothing here sends a request to the mount.  The search ends after 0.2 seconds.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from triofuse.device.mountinfo import read_mounts
from triofuse.filesystem.words import shown

__all__ = ["users_of"]

#: Seconds that the search may take; a thousand processes take less.
_TIMEOUT: Final = 0.2

#: The most users that are listed.
_MAX_USERS: Final = 5


def users_of(path: str) -> list[str]:
    """Return descriptions of some processes and mounts that use the mount at a path.

    Only root sees processes of other users.  Files that are mapped into memory but no
    longer open are not seen.
    """
    deadline = time.monotonic() + _TIMEOUT
    found = []
    for user in _users(f"{path.rstrip('/')}/"):
        if user is not None:
            found.append(user)
        if len(found) >= _MAX_USERS or time.monotonic() > deadline:
            break
    return found


def _users(prefix: str) -> Iterator[str | None]:
    """Yield users of the mount, and None for a mount or process that is no user."""
    with contextlib.suppress(OSError):
        for entry in read_mounts():
            # The prefix ends with a slash, so the mount itself does not match.
            yield (
                f"the mount at {shown(entry.mount_point)}"
                if entry.mount_point.startswith(prefix)
                else None
            )
    for process in filter(str.isdecimal, os.listdir("/proc")):
        yield _use_by(process, prefix)


def _use_by(process: str, prefix: str) -> str | None:
    with contextlib.suppress(OSError):  # it has ended, or belongs to another user
        for link in _links(f"/proc/{process}"):
            # readlink(2) sends no request to it: proc_pid_readlink() in fs/proc/base.c.
            if f"{os.readlink(link)}/".startswith(prefix):
                return f"process {process} ({_name(process)}) by its {_noun(link)}"
    return None


def _links(process: str) -> Iterator[str]:
    yield from (f"{process}/{name}" for name in ("cwd", "root", "exe"))
    for fd in os.listdir(f"{process}/fd"):
        yield f"{process}/fd/{fd}"


def _noun(link: str) -> str:
    _, what, *rest = link.removeprefix("/proc/").split("/")
    return f"descriptor {rest[0]}" if rest else what


def _name(process: str) -> str:
    with open(f"/proc/{process}/comm", "rb") as comm:
        # The kernel appends a newline; the name itself may contain others.
        return shown(os.fsdecode(comm.read().removesuffix(b"\n")))
