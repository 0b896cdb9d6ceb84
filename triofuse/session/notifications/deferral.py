"""Which notifications are sent after the reply, and the log of those that failed."""

from __future__ import annotations

import logging

from triofuse.session.in_flight.table import ActiveRequest, Notification
from triofuse.wire.errors import ProtocolError
from triofuse.wire.operations import OPERATIONS
from triofuse.wire.waiting import may_wait_for

__all__ = ["log_refused", "may_wait"]

_log = logging.getLogger("triofuse")


def may_wait(active: ActiveRequest, notification: Notification) -> bool:
    """Whether the kernel may need locks for a notification that a request holds."""
    opcode, _, message, _ = active.received
    try:
        request = OPERATIONS[opcode].decode(message)
    except ProtocolError:  # in a layout of an older protocol
        return True
    return may_wait_for(request, notification.method, notification.arguments)


def log_refused(notification: Notification, exc: OSError) -> None:
    """Log a notification that nobody waits for and the kernel refuses."""
    _log.error(
        "%s%.200r was refused: %s", notification.method, notification.arguments, exc
    )
