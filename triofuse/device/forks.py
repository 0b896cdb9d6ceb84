"""What a forked child does not keep: the descriptors that keep a mount alive.

The law: a descriptor of /dev/fuse, and the socket by which the process of
``auto_unmount`` sees our death, belong to the process that opened them.  Whatever
opens or closes one holds ``no_fork``, so that no child is forked in between.
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
        """Close what the child has inherited, and own nothing any more."""


#: Held while descriptors are made, and by fork(2).
no_fork = threading.RLock()

_owners: weakref.WeakSet[_Owner] = weakref.WeakSet()


def belongs_to_parent(owner: _Owner) -> None:
    """Have ``owner.disown()`` called in each child that is forked from now on.

    For a child that runs another program nothing is needed: close-on-exec does it.
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
