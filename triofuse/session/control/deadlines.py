"""Deadlines: how long a caller waits at most."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches

import attrs
import trio

from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.in_flight.table import (
    MUST_RUN,
    UNINTERRUPTED,
    ActiveRequest,
    InFlightTable,
)
from triofuse.wire.decode import operation_name
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS

__all__ = ["Deadlines", "limits_of"]

_log = logging.getLogger("triofuse")

#: What has no limit unless it is named: to wait is what it is for.
_PATIENT = UNINTERRUPTED | {Opcode.SETLKW}

#: Of the kernel's own request timeout, after which it would abort the connection.
_SHARE = 0.75

#: Seconds: the kernel looks no more often (FUSE_TIMEOUT_TIMER_FREQ).
_KERNEL_MINIMUM = 15

#: Seconds that a handler has to give way before its caller is answered without it.
_GRACE = 0.5


def limits_of(
    timeout: float | Mapping[str, float], request_timeout: int = 0
) -> dict[int, float]:
    """Return the seconds that each operation may take, by opcode.

    Args:
      timeout: Of all operations but SETLKW and RELEASE, or by the name of the method.
      request_timeout: Seconds after which the kernel gives up, 0 for never.

    Raises:
      ValueError: A timeout is not above 0, or there is no such method.
    """
    methods = {row.method for row in OPERATIONS.values()} - {"release", "releasedir"}
    named = timeout if isinstance(timeout, Mapping) else {}
    if unknown := set(named) - methods:
        name = min(unknown, key=repr)
        near = get_close_matches(str(name), sorted(methods), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        message = f"timeout: there is no operation {name!r} to limit{meant}"
        raise ValueError(message)
    general = timeout if not isinstance(timeout, Mapping) else math.inf
    if not all(seconds > 0 for seconds in (general, *named.values())):
        message = f"timeout: {timeout!r} is not a number of seconds above 0"
        raise ValueError(message)
    kernels = max(request_timeout, _KERNEL_MINIMUM) if request_timeout else math.inf
    most = kernels * _SHARE
    limits = {}
    for opcode, row in OPERATIONS.items():
        own = named.get(row.method, math.inf if opcode in _PATIENT else general)
        if min(own, most) < math.inf:
            limits[opcode] = min(own, most)
    return limits


@attrs.define(eq=False, repr=False)
class Deadlines:
    """Cancels handlers whose time is up; their callers get ETIMEDOUT.

    A handler that does not give way keeps its task, but not its caller: that one is
    answered without it, and what the handler returns at last is undone.
    """

    _table: InFlightTable
    _answer: Callable[[int, int], Awaitable[None]]
    _limits: Mapping[int, float]

    async def enforce(self) -> None:
        """Watch over all requests, for ever.

        It sleeps until the first deadline: a request that comes meanwhile is not
        due before the shortest limit from now on.
        """
        shortest = min(self._limits.values())
        while True:
            now = trio.current_time()
            due = now + shortest
            for active in list(self._table.running.values()):
                due = min(due, await self._enforce_on(active, now))
            for received in list(self._table.waiting.values()):
                due = min(due, await self._enforce_on_queued(received, now))
            await trio.sleep_until(due)

    async def _enforce_on(self, active: ActiveRequest, now: float) -> float:
        """Do what is due for a request; return when the next thing is."""
        opcode, unique, _, since = active.received
        expiry = since + self._limits.get(opcode, math.inf)
        if now < expiry or active.answered:
            return math.inf if active.answered else expiry
        if not active.expired and opcode not in UNINTERRUPTED:
            active.expired = True
            active.cancel()
            return now + _GRACE  # however late this look comes
        if now >= expiry + _GRACE:
            active.answered = True
            await self._answer_timeout(unique, opcode)
            return math.inf
        return expiry + _GRACE

    async def _enforce_on_queued(self, received: ReceivedRequest, now: float) -> float:
        """Answer for a request that no handler has been free for."""
        opcode, unique, _, since = received
        expiry = since + self._limits.get(opcode, math.inf)
        if now < expiry or opcode in MUST_RUN:
            return expiry if now < expiry else math.inf
        del self._table.waiting[unique]
        await self._answer_timeout(unique, opcode)
        return math.inf

    async def _answer_timeout(self, unique: int, opcode: int) -> None:
        """Answer for a handler."""
        _log.error("%d: nothing has ended %s in time", unique, operation_name(opcode))
        await self._answer(unique, errno.ETIMEDOUT)
