"""The table of requests that were read and are not answered, and their INTERRUPTs.

The law: a request that waits when its caller is interrupted never starts, one that
runs is cancelled, and one that is not here has been answered: an INTERRUPT of it
comes too late and means nothing.
"""

from __future__ import annotations

import attrs
import trio

from triofuse.wire.opcodes import Opcode

__all__ = ["Pending", "SessionStatistics"]

#: Started even when interrupted before: whoever is killed sends an INTERRUPT right
#: behind its FLUSH, and without the FLUSH its locks and data would be lost.
_ALWAYS_STARTED = frozenset({Opcode.FLUSH})


@attrs.frozen
class SessionStatistics:
    """What a session is doing at this moment.

    Attributes:
      in_flight: Requests that were read and are not answered.
      queued: Those of them that wait for a handler.
      handlers: Tasks that serve, or wait for something to serve.
    """

    in_flight: int = 0
    queued: int = 0
    handlers: int = 0


@attrs.define(eq=False)
class Pending:
    """Knows where each request is.

    Attributes:
      running: The scope in which a handler serves it, by ``unique``.
      waiting: Its opcode while it is in the memory channel, by ``unique``.
      interrupted: Those that wait and will start in a cancelled scope.
    """

    running: dict[int, trio.CancelScope] = attrs.field(factory=dict, init=False)
    waiting: dict[int, int] = attrs.field(factory=dict, init=False)
    interrupted: set[int] = attrs.field(factory=set, init=False)

    def interrupt(self, unique: int) -> bool:
        """Cancel a request; return whether it will never start, and is to be answered."""
        scope = self.running.get(unique)
        if scope is not None:
            scope.cancel()
            return False
        opcode = self.waiting.get(unique)
        if opcode in _ALWAYS_STARTED:
            self.interrupted.add(unique)
            return False
        return self.waiting.pop(unique, None) is not None

    def start_interrupted(self, unique: int) -> None:
        """Cancel a request that starts now, if it was interrupted while it waited."""
        if unique in self.interrupted:
            self.interrupted.remove(unique)
            self.running[unique].cancel()
