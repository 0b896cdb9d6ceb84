"""Forked children close the descriptors that keep a mount alive.

The law: descriptors of /dev/fuse and the socket of the ``auto_unmount`` process belong
to the process that opened them.  Code that opens or closes one holds ``no_fork``, so that
no child is forked meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import Protocol

__all__ = ["belongs_to_parent", "no_fork"]


class _Owner(Protocol):
    def disown(self) -> None:
        """Close what the forked child has inherited, and own nothing from then on."""


#: Held while descriptors are opened or closed, and during fork(2).
no_fork = threading.RLock()

_owners: weakref.WeakSet[_Owner] = weakref.WeakSet()


def belongs_to_parent(owner: _Owner) -> None:
    """Call ``owner.disown()`` in each child that is forked from now on.

    A child that executes another program needs nothing: close-on-exec does it.
    """
    with no_fork:
        _owners.add(owner)


def _disown() -> None:
    try:
        for owner in list(_owners):
            with contextlib.suppress(OSError):
                owner.disown()
        _owners.clear()
    finally:
        no_fork.release()


os.register_at_fork(
    before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_disown
)
