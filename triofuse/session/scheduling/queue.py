"""Requests that were read and have not started, in a line for each user."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable

from triofuse.session.in_flight.received import HeadOnly, ReceivedRequest
from triofuse.wire.decode import Message, peek_user

__all__ = ["Queue"]

_Lines = dict[int, dict[int, ReceivedRequest]]


class Queue(UserDict[int, ReceivedRequest]):
    """Finds a request by its ``unique``, and the oldest of each user.

    To delete one drops it: an INTERRUPT or a deadline has answered it.  Its memory is
    given back at once, for it may be long before a handler would come to it.

    Attributes:
      lines: What may be chosen, by user; where nothing else decides, the first user is
        next.
      withheld: What cannot start, for its payload is still with the kernel, by user.
    """

    def __init__(self, recycle: Callable[[Message], None]) -> None:
        super().__init__()
        self._recycle = recycle
        self.lines: _Lines = {}
        self.awaiting_resend: _Lines = {}

    def __setitem__(self, unique: int, received: ReceivedRequest) -> None:
        self.data[unique] = received
        lines, user = self._place(received)
        lines.setdefault(user, {})[unique] = received

    def __delitem__(self, unique: int) -> None:
        received = self.data.pop(unique)
        if self._remove_from_line(
            received
        ):  # else the handler that has been woken gives it back
            self._recycle(received[2])

    def choose(self, user: int) -> ReceivedRequest:
        """Return the oldest request of a user; others come first next time.

        It is still found, and can be dropped, until it is started.
        """
        line = self.lines.pop(user)
        unique = next(iter(line))
        received = line.pop(unique)
        if line:
            self.lines[user] = line
        return received

    def start(self, unique: int) -> ReceivedRequest | None:
        """Take a request that was chosen; None if it was dropped."""
        return self.data.pop(unique, None)

    def remove_awaiting_resend(self) -> dict[int, float]:
        """Remove what is withheld, for it comes again; return when it came first."""
        withheld = [
            received
            for line in self.awaiting_resend.values()
            for received in line.values()
        ]
        self.awaiting_resend.clear()
        for _, unique, _, _ in withheld:
            del self.data[unique]
        return {unique: since for _, unique, _, since in withheld}

    def _place(self, received: ReceivedRequest) -> tuple[_Lines, int]:
        message = received[2]
        lines = self.awaiting_resend if isinstance(message, HeadOnly) else self.lines
        return lines, peek_user(message)[0]

    def _remove_from_line(self, received: ReceivedRequest) -> bool:
        """Take a request out of its line; False if it was in none."""
        lines, user = self._place(received)
        line = lines.get(user, {})
        found = line.pop(received[1], None) is not None
        if found and not line:
            del lines[user]
        return found
