"""Reports on a session: its statistics, and its requests in flight."""

from __future__ import annotations

import os
from collections.abc import Iterator

import attrs
import trio

from triofuse.filesystem.requests import Request
from triofuse.session.answering.service import Service
from triofuse.session.answering.statistics import SessionStatistics
from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.in_flight.table import InFlightTable
from triofuse.session.scheduling.handlers import Handlers
from triofuse.wire.decode import Message, operation_name
from triofuse.wire.errors import ProtocolError
from triofuse.wire.operations import OPERATIONS

__all__ = ["InFlight", "in_flight", "statistics"]


@attrs.frozen
class InFlight:
    """A request that was read and is not answered.

    Attributes:
      operation: The kernel's name for it: ``"READ"``.
      request: Its arguments and its caller; None if they are malformed.
      age: Seconds since it was read.
      stack: The stack of its task, ``file:line in function``, the innermost call
        last; empty while it is queued.
    """

    operation: str
    request: Request | None
    age: float
    stack: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = self.stack[-1] if self.stack else "waits for a handler"
        return f"{self.age:.3f} s {self.request or self.operation}: {where}"


def in_flight(table: InFlightTable) -> list[InFlight]:
    """Return the requests in flight, the oldest first."""
    now = trio.current_time()
    found = [
        _described(active.received, now, tuple(_stack(active.task)))
        for active in table.running.values()
    ]
    found += [_described(received, now) for received in table.waiting.values()]
    return sorted(found, key=lambda one: -one.age)


def statistics(
    table: InFlightTable, handlers: Handlers, service: Service
) -> SessionStatistics:
    """Return the counters of a session as they are now."""
    queued = len(table.waiting)
    tallies = {
        opcode: tally for opcode, tally in service.tallies.items() if tally.handled
    }
    return SessionStatistics(
        in_flight=len(table.running) + queued,
        queued=queued,
        handlers=handlers.running,
        handled=sum(tally.handled for tally in tallies.values()),
        failed=sum(tally.failed.total() for tally in tallies.values()),
        interrupted=table.interruptions,
        bytes_received=sum(tally.received for tally in tallies.values()),
        bytes_sent=sum(tally.sent for tally in tallies.values()),
        operations={
            operation_name(opcode): tally.report() for opcode, tally in tallies.items()
        },
    )


def _described(
    received: ReceivedRequest, now: float, stack: tuple[str, ...] = ()
) -> InFlight:
    opcode, _, message, since = received
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
