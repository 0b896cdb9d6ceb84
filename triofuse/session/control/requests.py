"""Control requests: the session itself handles them, and they are never queued.

FORGET and INTERRUPT never block, and no caller waits for them.  All handlers may be
blocked until an INTERRUPT is read.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import attrs
import trio

from triofuse.filesystem.requests import Forget, Request
from triofuse.session.answering.handles import Handles
from triofuse.session.answering.service import Service
from triofuse.session.control.signals import Signals
from triofuse.session.in_flight.abandoned import Abandoned
from triofuse.session.notifications.notifier import SessionNotifier
from triofuse.wire.control import CONTROL, BatchForget, Interrupt, NotifyReply
from triofuse.wire.decode import Message, peek
from triofuse.wire.opcodes import Opcode

__all__ = ["Control"]

#: FORGETs of a BATCH_FORGET that are handled before a yield: about 2 ms.
_FORGETS_PER_SLICE = 2000


@attrs.define(eq=False, repr=False)
class Control:
    """Handles control requests as soon as they are read."""

    _nursery: trio.Nursery
    _handles: Handles
    _service: Service
    _signals: Signals
    _notifier: SessionNotifier
    _abandoned: Abandoned
    #: Requests whose INTERRUPT came once while they were not in the table.
    _early: set[int] = attrs.field(factory=set, init=False)

    def table(self) -> dict[int, Callable[[Message], None]]:
        """Return the function that handles a message, by opcode."""
        act: dict[int, Callable[[Request], None]] = {
            Opcode.FORGET: self._forget,
            Opcode.BATCH_FORGET: self._batch_forget,
            Opcode.INTERRUPT: self._interrupt,
            Opcode.NOTIFY_REPLY: self._notify_reply,
        }
        table = {opcode: _decoding(opcode, action) for opcode, action in act.items()}
        return {**table, Opcode.DESTROY: self._destroy}

    def reject(self, unique: int) -> None:
        """Answer EIO to a malformed message, unless its ``unique`` is 0."""
        if unique:
            self._answer(unique, errno.EIO)

    def _forget(self, request: Request) -> None:
        if isinstance(request, Forget):
            self._forget_unused(request)

    def _batch_forget(self, request: Request) -> None:
        if not isinstance(request, BatchForget):
            return
        if len(request.items) > _FORGETS_PER_SLICE:
            self._nursery.start_soon(self._forget_in_slices, request.items)
        else:
            self._forget_all(request.items)

    async def _forget_in_slices(self, items: tuple[tuple[int, int], ...]) -> None:
        """Yield between slices: there may be 65,000, in any order."""
        for start in range(0, len(items), _FORGETS_PER_SLICE):
            self._forget_all(items[start : start + _FORGETS_PER_SLICE])
            await trio.lowlevel.checkpoint()

    def _forget_all(self, items: tuple[tuple[int, int], ...]) -> None:
        for nodeid, nlookup in items:
            self._forget_unused(Forget(0, nodeid, 0, 0, 0, nlookup))

    def _forget_unused(self, forget: Forget) -> None:
        """Call ``forget``, but not before the end of a method that uses the node."""
        if self._abandoned.claims:
            action = partial(self._handles.forget, forget)
            self._abandoned.when_unused(forget.nodeid, action)
        else:
            self._handles.forget(forget)

    def _interrupt(self, request: Request) -> None:
        if not isinstance(request, Interrupt):
            return
        if not self._signals.interrupt(request.target):
            self._interrupt_unknown(request)

    def _interrupt_unknown(self, request: Interrupt) -> None:
        """Have the INTERRUPT resent, once: its request may not have been read yet."""
        if request.target in self._early:
            self._early.remove(request.target)
        elif self._service.requeue_interrupt(request.unique):
            self._early.add(request.target)

    def _destroy(self, message: Message) -> None:
        """Answer, so that umount(2) returns; the connection ends afterwards."""
        _, unique = peek(message)
        self._answer(unique, 0)

    def _notify_reply(self, request: Request) -> None:
        if isinstance(request, NotifyReply):
            self._notifier.receive_reply(request)

    @trio.lowlevel.enable_ki_protection
    def _answer(self, unique: int, error: int) -> None:
        self._nursery.start_soon(self._service.answer, unique, error)


def _decoding(
    opcode: int, action: Callable[[Request], None]
) -> Callable[[Message], None]:
    decode = CONTROL[opcode]
    return lambda message: action(decode(message))
