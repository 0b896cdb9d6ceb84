"""The queue of requests that were read and have not started, by user."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable

from triofuse.session.in_flight.received import HeadOnly, ReceivedRequest
from triofuse.wire.decode import Message, peek_user

__all__ = ["Queue"]

_Lines = dict[int, dict[int, ReceivedRequest]]


class Queue(UserDict[int, ReceivedRequest]):
    """Maps ``unique`` to a queued request, and has a line of requests for each user.

    To delete a request drops it: an INTERRUPT or a deadline has answered it.  Its
    memory is given back at once, and not when a handler would have started it.

    Attributes:
      lines: Requests that may start, by user.  Among equals the first user is next.
      awaiting_resend: Requests that cannot start, by user: their payload was left with
        the kernel, which is to resend it.
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
        if self._remove_from_line(received):  # else the woken handler gives it back
            self._recycle(received[2])

    def choose(self, user: int) -> ReceivedRequest:
        """Take the oldest request from a user's line; the user goes to the end.

        The request stays in the mapping, and can be dropped, until `start`.
        """
        line = self.lines.pop(user)
        unique = next(iter(line))
        received = line.pop(unique)
        if line:
            self.lines[user] = line
        return received

    def start(self, unique: int) -> ReceivedRequest | None:
        """Remove and return a chosen request; None if it was dropped."""
        return self.data.pop(unique, None)

    def remove_awaiting_resend(self) -> dict[int, float]:
        """Remove requests that will be resent; return their first arrival times."""
        removed = [
            received
            for line in self.awaiting_resend.values()
            for received in line.values()
        ]
        self.awaiting_resend.clear()
        for _, unique, _, _ in removed:
            del self.data[unique]
        return {unique: since for _, unique, _, since in removed}

    def _place(self, received: ReceivedRequest) -> tuple[_Lines, int]:
        message = received[2]
        lines = self.awaiting_resend if isinstance(message, HeadOnly) else self.lines
        return lines, peek_user(message)[0]

    def _remove_from_line(self, received: ReceivedRequest) -> bool:
        """Remove a request from its line; False if it was in none."""
        lines, user = self._place(received)
        line = lines.get(user, {})
        found = line.pop(received[1], None) is not None
        if found and not line:
            del lines[user]
        return found
