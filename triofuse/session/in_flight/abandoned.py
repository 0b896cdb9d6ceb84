"""Requests whose callers were answered while their methods go on.

The law: for the filesystem it is as if the caller still waited.  Requests that the kernel
would not have sent meanwhile are held back until the method is done.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from triofuse.filesystem.requests import Release, Request
from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.wire.claims import Claims, claims_of
from triofuse.wire.errors import ProtocolError
from triofuse.wire.operations import OPERATIONS

__all__ = ["Abandoned"]


@attrs.define(eq=False, repr=False)
class Abandoned:
    """The abandoned requests of a session.

    Attributes:
      claims: What the callers of these requests would hold, by ``unique``.
    """

    claims: dict[int, Claims] = attrs.field(factory=dict, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    #: What waits for a node that is still in use: the node, and what to do then.
    _later: list[tuple[int, Callable[[], None]]] = attrs.field(factory=list, init=False)

    def add(self, received: ReceivedRequest) -> None:
        """Note that a request is abandoned while its method runs."""
        request = _decoded(received)
        if request is not None:
            self.claims[received[1]] = claims_of(request)
            self._wake()  # it may be held back itself

    def remove(self, unique: int) -> None:
        """Note that a method has ended, of an abandoned request or of any other."""
        if self.claims.pop(unique, None) is None:
            return
        self._wake()
        later, self._later = self._later, []
        for nodeid, action in later:
            self.when_unused(nodeid, action)

    def when_unused(self, nodeid: int, action: Callable[[], None]) -> None:
        """Call a function once no abandoned request uses a node."""
        if self._uses(nodeid):
            self._later.append((nodeid, action))
        else:
            action()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for_turn(self, received: ReceivedRequest) -> None:
        """Hold back a request that the kernel would not have sent yet.

        Returns at once when it is abandoned itself: it need not start.
        """
        request = _decoded(received)
        while request is not None and self._excludes(request):
            await self._changed.wait()
            if received[1] in self.claims:
                return

    def _excludes(self, request: Request) -> bool:
        if isinstance(request, Release):
            return self._uses(request.nodeid)
        claims = claims_of(request)
        return any(earlier.excludes(claims) for earlier in self.claims.values())

    def _uses(self, nodeid: int) -> bool:
        return any(nodeid in claims.nodes for claims in self.claims.values())


def _decoded(received: ReceivedRequest) -> Request | None:
    opcode, _, message, _ = received
    try:
        return OPERATIONS[opcode].decode(message)
    except (KeyError, ProtocolError):  # of an older protocol
        return None
