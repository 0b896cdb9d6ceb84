"""What a signal to a caller does to its request.

The law: a signal that the caller survives fails no request that would not fail on a
local filesystem.  So only a fatal signal cancels, except for operations that wait by
their nature.  The kernel sends one INTERRUPT only, for the first signal.  So a caller
that has survived one is checked until its request is answered: the next may be fatal.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import attrs
import trio

from triofuse.device.callers import Standing, standing_of
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import LockType
from triofuse.filesystem.requests import Read, Setlkw
from triofuse.session.answering.handles import Handles
from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.in_flight.table import (
    UNINTERRUPTED,
    InFlightTable,
    InterruptOutcome,
)
from triofuse.wire.decode import Message, peek_caller
from triofuse.wire.errors import ProtocolError
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS

__all__ = ["FindStanding", "Signals", "interruptible_opcodes", "thread_standing"]

#: Seconds between two checks of all callers that have survived a signal.  Longer if the
#: checks (20 us each) would take more than this share of the time.
_PERIOD = 0.02
_SHARE = 0.1

#: Checks before other tasks run.
_BATCH = 50

#: Seconds for which a request goes on whose caller cannot be seen in /proc: it may be
#: alive and not expect EINTR; or dying, and then the request must end.
_UNSEEN = 1.0

#: Operations that wait by their nature in every filesystem.
_BY_NATURE = frozenset({Opcode.SETLKW, Opcode.POLL})

#: The outcomes after which no handler answers.
_ANSWERED_HERE = {InterruptOutcome.NEVER_STARTED, InterruptOutcome.ABANDONED}

#: Finds the standing of a caller from its request's ``unique`` and its thread id.
FindStanding = Callable[[int, int], Standing]


def thread_standing(_unique: int, pid: int) -> Standing:
    """Return the standing of a caller from /proc."""
    return standing_of(pid)


def interruptible_opcodes(filesystem: Filesystem) -> frozenset[int]:
    """Return the opcodes that any signal interrupts.

    Raises:
      ValueError: ``Filesystem.interruptible`` has an item that is not the name of a
        method.
    """
    names: Any = filesystem.interruptible
    opcodes = {row.method: opcode for opcode, row in OPERATIONS.items()}
    is_set = isinstance(names, Collection) and not isinstance(names, str)
    unknown = {n for n in names if n not in opcodes} if is_set else {names}
    if unknown:
        name = type(filesystem).__name__
        message = (
            f"{name}.interruptible is {names!r}; a set of the names of methods is due: "
            f"there is no {min(unknown, key=repr)!r}"
        )
        raise ValueError(message)
    return _BY_NATURE | {opcodes[name] for name in names}


@attrs.define(eq=False, repr=False)
class Signals:
    """Cancels requests whose callers die, or that any signal interrupts."""

    _table: InFlightTable
    _handles: Handles
    _filesystem: Filesystem
    _standing: FindStanding
    _answer: Callable[[int, int, Message], Awaitable[None]]
    _nursery: trio.Nursery
    _interruptible: frozenset[int] = attrs.field(init=False)
    #: When the caller of a request survived a signal, by ``unique``.
    _survived: dict[int, float] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._interruptible = interruptible_opcodes(self._filesystem)
        if self._table.shielded:  # they go on, and their results would be lost
            self._interruptible -= _BY_NATURE

    @trio.lowlevel.enable_ki_protection  # else Ctrl-C could come between state and task
    def interrupt(self, unique: int) -> bool:
        """Handle an INTERRUPT; False if its request is not in the table."""
        received = self._table.find(unique)
        if received is None:
            return False
        if received[0] in UNINTERRUPTED:  # the caller is killed, on a fuseblk mount
            return True
        since = trio.current_time()
        if self._ends_at_any_signal(received) or self._caller_dies(received, since):
            self._cancel(received)
        else:
            if not self._survived:
                self._nursery.start_soon(self._watch)
            self._survived.setdefault(received[1], since)
        return True

    async def _watch(self) -> None:
        """Check the callers that have survived a signal, while there are any."""
        spent = 0.0
        while self._survived:
            await trio.sleep(max(_PERIOD, spent / _SHARE))
            began = time.perf_counter()
            await self._check_all()
            spent = time.perf_counter() - began

    async def _check_all(self) -> None:
        for number, (unique, since) in enumerate(list(self._survived.items())):
            if number % _BATCH == _BATCH - 1:
                await trio.lowlevel.checkpoint()
            received = self._table.find(unique)
            if received is None:
                del self._survived[unique]
            elif self._caller_dies(received, since):
                del self._survived[unique]
                self._cancel(received)

    def _ends_at_any_signal(self, received: ReceivedRequest) -> bool:
        """Whether any signal interrupts a request."""
        opcode, _, message, _ = received
        endless = opcode == Opcode.READ and not self._table.shielded
        if not endless and opcode not in self._interruptible:
            return False
        try:
            request = OPERATIONS[opcode].decode(message)
        except ProtocolError:
            return False
        match request:
            case Setlkw():  # unlocking comes this way as well, and waits for nobody
                return request.lock.type != LockType.UNLCK
            case Read() if opcode not in self._interruptible:
                return self._handles.is_endless(request.nodeid, request.fh)
        return True

    def _caller_dies(self, received: ReceivedRequest, since: float) -> bool:
        """Whether the caller is dying, or has not been visible for too long."""
        unique = received[1]
        _, _, pid = peek_caller(received[2])
        standing = self._standing(self._table.renumbered.get(unique, unique), pid)
        if standing is Standing.UNSEEN:
            return trio.current_time() >= since + _UNSEEN
        return standing is Standing.DYING

    def _cancel(self, received: ReceivedRequest) -> None:
        opcode, unique, message, _ = received
        if self._table.interrupt(unique) in _ANSWERED_HERE:
            self._nursery.start_soon(self._answer, opcode, unique, message)
