"""Tells the service manager of a start and an end, as sd_notify(3) does."""

from __future__ import annotations

import logging
import os
import socket

import attrs

__all__ = ["NotifySocket"]

_log = logging.getLogger("triofuse")

#: Seconds for which a manager that reads nothing may delay the program.
_TIMEOUT = 1.0


@attrs.frozen
class NotifySocket:
    """The socket on which a service manager listens.

    Attributes:
      address: Its path, or its abstract name behind ``@``; empty if there is none.
    """

    address: str

    @classmethod
    def inherited(cls) -> NotifySocket:
        """Take the socket from the environment: children must not speak for us."""
        return cls(os.environ.pop("NOTIFY_SOCKET", ""))

    def send(self, *variables: str) -> None:
        """Send variables: ``READY=1``, ``STOPPING=1``, ``MAINPID=...``.

        A manager that cannot be told is logged, and changes nothing.
        """
        if not self.address:
            return
        address = self.address
        if address.startswith("@"):
            address = "\0" + address[1:]
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        try:
            with socket.socket(socket.AF_UNIX, kind) as sender:
                sender.settimeout(_TIMEOUT)
                sender.sendto("\n".join(variables).encode(), address)
        except OSError as exc:
            _log.warning("NOTIFY_SOCKET %s cannot be told: %s", self.address, exc)
