"""Deadlines: the longest time that a caller waits for its answer."""

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

#: No limit applies to these unless they are named: they wait by their nature.
_PATIENT = UNINTERRUPTED | {Opcode.SETLKW}

#: The share of the kernel's request timeout, after which it aborts the connection.
_SHARE = 0.75

#: Seconds: the kernel's timer runs no more often (FUSE_TIMEOUT_TIMER_FREQ).
_KERNEL_MINIMUM = 15

#: Seconds between the cancellation of a handler and the answer to its caller.
_GRACE = 0.5


def limits_of(
    timeout: float | Mapping[str, float], request_timeout: int = 0
) -> dict[int, float]:
    """Return the limit of each operation in seconds, by opcode.

    Args:
      timeout: For all operations but SETLKW and RELEASE, or by the method's name.
      request_timeout: Seconds until the kernel aborts the connection; 0 for never.

    Raises:
      ValueError: A timeout is not above 0, or a method is unknown.
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
    """Cancels requests whose deadline has passed; their callers get ETIMEDOUT.

    If a handler ignores its cancellation, the caller is answered all the same after
    0.5 s.  What the handler returns later is undone.
    """

    _table: InFlightTable
    _answer: Callable[[int, int], Awaitable[None]]
    _limits: Mapping[int, float]
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def stop(self) -> None:
        """End `enforce`."""
        self._scope.cancel()

    async def enforce(self) -> None:
        """Enforce the deadlines of all requests, until `stop` is called.

        It sleeps until the first deadline, or for the shortest limit: a request that
        arrives meanwhile is not due before.
        """
        shortest = min(self._limits.values())
        with self._scope:
            while True:
                now = trio.current_time()
                await trio.sleep_until(await self._enforce_at(now, now + shortest))

    async def _enforce_at(self, now: float, due: float) -> float:
        """Enforce the deadlines that have passed; return when to check again."""
        for active in list(self._table.running.values()):
            due = min(due, await self._enforce_on(active, now))
        for received in list(self._table.waiting.values()):
            due = min(due, await self._enforce_on_queued(received, now))
        return due

    async def _enforce_on(self, active: ActiveRequest, now: float) -> float:
        """Enforce a running request's deadline; return when to check it again."""
        opcode, unique, _, since = active.received
        expiry = since + self._limits.get(opcode, math.inf)
        if now < expiry or active.answered:
            return math.inf if active.answered else expiry
        if not active.expired and opcode not in UNINTERRUPTED:
            active.expired = True
            if not self._table.shielded:
                active.cancel()
            return now + _GRACE  # however late this check comes
        if now >= expiry + _GRACE:
            self._table.abandon(active)
            await self._answer_timeout(unique, opcode)
            return math.inf
        return expiry + _GRACE

    async def _enforce_on_queued(self, received: ReceivedRequest, now: float) -> float:
        """Enforce a queued request's deadline; return when to check it again."""
        opcode, unique, _, since = received
        expiry = since + self._limits.get(opcode, math.inf)
        if now < expiry or opcode in MUST_RUN:
            return expiry if now < expiry else math.inf
        del self._table.waiting[unique]
        await self._answer_timeout(unique, opcode)
        return math.inf

    async def _answer_timeout(self, unique: int, opcode: int) -> None:
        """Answer ETIMEDOUT."""
        _log.error("%d: nothing has ended %s in time", unique, operation_name(opcode))
        await self._answer(unique, errno.ETIMEDOUT)
