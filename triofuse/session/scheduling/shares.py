"""Fair shares of limited resources: handlers and memory.

The law: a user may take more while it holds less than eight times what is free (dynamic
thresholds; Choudhury and Hahne, 1998).  So one user alone takes at most 8/9, two take
8/17 each, and the rest is kept for users who hold nothing.
"""

from __future__ import annotations

import attrs

__all__ = ["Shares"]

#: A user may hold this many times what is free.
_THRESHOLD = 8


@attrs.define(eq=False)
class Shares:
    """Counts what each user holds.

    Attributes:
      limit: The most that all users hold together.
      taken: What they hold now.
      held: The same by user; those who hold nothing are not in it.
      crowded: Whether some user may have reached its share.
    """

    limit: int
    taken: int = attrs.field(default=0, init=False)
    held: dict[int, int] = attrs.field(factory=dict, init=False)
    crowded: bool = attrs.field(default=False, init=False)
    _crowded_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._crowded_at = self.limit * _THRESHOLD / (_THRESHOLD + 1)

    def admits(self, user: int) -> bool:
        """Whether a user may take more."""
        return self.held.get(user, 0) < _THRESHOLD * (self.limit - self.taken)

    def has_room(self, user: int) -> bool:
        """Whether a user holds less than half of what it may."""
        return 2 * self.held.get(user, 0) < _THRESHOLD * (self.limit - self.taken)

    def take(self, user: int, amount: int = 1) -> None:
        """Note that a user has taken something."""
        self.held[user] = self.held.get(user, 0) + amount
        self.taken += amount
        self.crowded = self.taken >= self._crowded_at

    def give_back(self, user: int, amount: int = 1) -> None:
        """Note that a user has given something back."""
        left = self.held[user] - amount
        if left:
            self.held[user] = left
        else:
            del self.held[user]
        self.taken -= amount
        self.crowded = self.taken >= self._crowded_at
