"""Who keeps a mount busy, as far as that can be seen from outside.

The law: nothing here asks the mount itself, and it gives up soon.
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

#: Seconds that looking may take; a thousand processes take less.
_PATIENCE: Final = 0.2

#: Names that are enough to go by.
_ENOUGH: Final = 5


def users_of(path: str) -> list[str]:
    """Return who uses the mount at a path, in words, as far as it is easily known.

    Others' processes are seen by root only; what is mapped into memory and no
    longer open is not seen at all.
    """
    deadline = time.monotonic() + _PATIENCE
    found = []
    for user in _users(f"{path.rstrip('/')}/"):
        if user is not None:
            found.append(user)
        if len(found) >= _ENOUGH or time.monotonic() > deadline:
            break
    return found


def _users(prefix: str) -> Iterator[str | None]:
    """Yield holders, and None for who is none."""
    with contextlib.suppress(OSError):
        for entry in read_mounts():
            # The mount itself is no shorter than its slash.
            yield (
                f"the mount at {shown(entry.mount_point)}"
                if entry.mount_point.startswith(prefix)
                else None
            )
    for process in filter(str.isdecimal, os.listdir("/proc")):
        yield _use_by(process, prefix)


def _use_by(process: str, prefix: str) -> str | None:
    with contextlib.suppress(OSError):  # it has ended, or is somebody else's
        for link in _links(f"/proc/{process}"):
            # A link's text is the kernel's own: proc_pid_readlink() in fs/proc/base.c.
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
        # It ends with a newline, and may have others.
        return shown(os.fsdecode(comm.read().removesuffix(b"\n")))
