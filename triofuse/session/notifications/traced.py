"""A notifier of which each call is in the trace file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from triofuse.device.channel import Channel
from triofuse.filesystem.notifier import Notifier
from triofuse.session.in_flight.table import InFlightTable
from triofuse.session.in_flight.trace_file import TraceFile
from triofuse.session.notifications.notifier import SessionNotifier

__all__ = ["TracedNotifier", "notifier_of"]


@attrs.define(eq=False, repr=False)
class TracedNotifier(SessionNotifier):
    """The notifier of a session that has a trace file."""

    trace: TraceFile = attrs.field(kw_only=True)


def _traced(name: str) -> Callable[..., Awaitable[Any]]:
    plain = getattr(SessionNotifier, name)

    async def method(self: TracedNotifier, *arguments: Any, **named: Any) -> Any:
        call = self.trace.around_notification(name, plain.__get__(self))
        return await call(*arguments, **named)

    method.__name__, method.__doc__ = name, plain.__doc__
    return method


for _name in vars(Notifier):
    if not _name.startswith("_") and callable(getattr(SessionNotifier, _name, None)):
        setattr(TracedNotifier, _name, _traced(_name))


def notifier_of(
    channel: Channel, table: InFlightTable, trace: TraceFile
) -> SessionNotifier:
    """Return the notifier of a session, with or without a trace file."""
    if not trace.is_open:
        return SessionNotifier(channel, table)
    return TracedNotifier(channel, table, trace=trace)
