"""fork(2) in a program that has threads."""

from __future__ import annotations

import os
import warnings

__all__ = ["fork"]


def fork() -> int:
    """Call fork(2), for a child that makes system calls and ends by `os._exit`.

    Python warns, from 3.12 on, that a child may wait for a lock that a thread of its
    parent had.  Such a child takes none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded")
        return os.fork()
