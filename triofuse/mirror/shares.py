"""A number of things, shared out by user: descriptors that one could use up for all.

The law: a user may take one more while it holds fewer than are free.  One alone gets
half of all, two a third each, and whoever comes next finds at least as many as any
other has.  (It is the "dynamic threshold" of switches that share their buffers.)
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable

import attrs

from triofuse.filesystem.errors import FuseError


@attrs.define(eq=False)
class Shares:
    """A pool of ``size`` things.

    The first quarter goes to whoever wants it, and is held by None: to find out who
    calls takes as long as to open a file.
    """

    size: int
    held: Counter[int | None] = attrs.field(factory=Counter, init=False)
    taken: int = attrs.field(default=0, init=False)

    def has_room(self, who: Callable[[], int]) -> bool:
        """Whether a user may take one."""
        return self._is_plenty or self._may_have(who())

    def take(self, who: Callable[[], int]) -> int | None:
        """Take one.

        Args:
          who: Says which user it is for, if that matters.

        Returns:
          The user, to be given back to `give`.

        Raises:
          FuseError: EMFILE: this user has its share.
        """
        user = None if self._is_plenty else who()
        if not self._may_have(user):
            raise FuseError(errno.EMFILE)
        self.held[user] += 1
        self.taken += 1
        return user

    def give(self, user: int | None) -> None:
        """Give one back."""
        self.taken -= 1
        self.held[user] -= 1
        if not self.held[user]:
            del self.held[user]

    @property
    def _is_plenty(self) -> bool:
        return self.taken < self.size // 4

    def _may_have(self, user: int | None) -> bool:
        return self._is_plenty or self.held[user] < self.size - self.taken
