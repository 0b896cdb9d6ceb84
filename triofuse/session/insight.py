"""Seeing inside a session: what it has done, what it is at, and where it stands."""

from __future__ import annotations

import os
from collections.abc import Iterator

import attrs
import trio

from triofuse.filesystem.requests import Request
from triofuse.session.handlers import Handlers
from triofuse.session.pending import Pending
from triofuse.session.scheduling.arrival import Arrival
from triofuse.session.service import Service
from triofuse.session.statistics import SessionStatistics
from triofuse.wire.decode import Message, operation_name
from triofuse.wire.errors import ProtocolError
from triofuse.wire.operations import OPERATIONS

__all__ = ["InFlight", "in_flight", "statistics"]


@attrs.frozen
class InFlight:
    """A request that was read and is not answered.

    Attributes:
      operation: The kernel's name for it: ``"READ"``.
      request: Its arguments and its caller; None where they make no sense.
      age: Seconds since it was read.
      stack: Where its task stands, ``file:line in function``, the innermost call
        last; empty while it waits for a handler.
    """

    operation: str
    request: Request | None
    age: float
    stack: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = self.stack[-1] if self.stack else "waits for a handler"
        return f"{self.age:.3f} s {self.request or self.operation}: {where}"


def in_flight(pending: Pending) -> list[InFlight]:
    """Return all requests that are not answered, the oldest first."""
    now = trio.current_time()
    found = [
        _described(serving.arrival, now, tuple(_stack(serving.task)))
        for serving in pending.running.values()
    ]
    found += [_described(arrival, now) for arrival in pending.waiting.values()]
    return sorted(found, key=lambda one: -one.age)


def statistics(
    pending: Pending, handlers: Handlers, service: Service
) -> SessionStatistics:
    """Return the numbers of a session as they are now."""
    queued = len(pending.waiting)
    tallies = {
        opcode: tally for opcode, tally in service.tallies.items() if tally.handled
    }
    return SessionStatistics(
        in_flight=len(pending.running) + queued,
        queued=queued,
        handlers=handlers.running,
        handled=sum(tally.handled for tally in tallies.values()),
        failed=sum(tally.failed.total() for tally in tallies.values()),
        interrupted=pending.interruptions,
        bytes_received=sum(tally.received for tally in tallies.values()),
        bytes_sent=sum(tally.sent for tally in tallies.values()),
        operations={
            operation_name(opcode): tally.report() for opcode, tally in tallies.items()
        },
    )


def _described(arrival: Arrival, now: float, stack: tuple[str, ...] = ()) -> InFlight:
    opcode, _, message, since = arrival
    return InFlight(
        operation_name(opcode), _decoded(opcode, message), now - since, stack
    )


def _decoded(opcode: int, message: Message) -> Request | None:
    row = OPERATIONS.get(opcode)
    try:
        return row.decode(message) if row else None
    except ProtocolError:
        return None


def _stack(task: trio.lowlevel.Task) -> Iterator[str]:
    for frame, line in task.iter_await_frames():
        code = frame.f_code
        yield f"{os.path.relpath(code.co_filename)}:{line} in {code.co_name}"
