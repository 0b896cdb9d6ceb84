"""A program that unmounts what a test process has left when it died.

The law: it inherits one descriptor, its standard input.  Each line is ``+`` or ``-`` and
a path: mounted, unmounted.  At the end of the input it unmounts what is left, lazily.
It runs as ``python -I -S guard.py``, so it imports from the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

_MNT_DETACH = 2


def main() -> None:
    """Read which paths are mounted; at the end, unmount those."""
    left: dict[bytes, None] = {}
    for line in sys.stdin.buffer:
        path = bytes.fromhex(line[1:].decode())
        if line.startswith(b"+"):
            left[path] = None
        else:
            left.pop(path, None)
    mounted = _fuse_mounts()
    for path in reversed(left):
        if path in mounted:
            _unmount(path)


def _fuse_mounts() -> set[bytes]:
    """Return where FUSE filesystems are mounted."""
    with open("/proc/self/mounts", "rb") as table:
        rows = [line.split() for line in table]
    return {
        row[1].decode("unicode_escape").encode("latin-1")
        for row in rows
        if row[2].startswith(b"fuse")
    }


def _unmount(path: bytes) -> None:
    if os.geteuid() == 0:
        ctypes.CDLL(None).umount2(path, _MNT_DETACH)
    else:
        command = ["fusermount3", "-u", "-z", "--", os.fsdecode(path)]
        subprocess.run(command, check=False)


if __name__ == "__main__":
    main()
