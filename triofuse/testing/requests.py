"""Requester and waiting: requests with an answer, and INIT, the first of them."""

from __future__ import annotations

import errno
from typing import TypeVar

import attrs
import trio

from triofuse.filesystem.replies import Entry, Opened
from triofuse.testing.awaited import AwaitedReply, os_error
from triofuse.testing.connection import RECEIVE_SIZE, Connection
from triofuse.testing.messages import Caller, encode_request, identity
from triofuse.testing.negotiation import Negotiated, Offer
from triofuse.testing.replies import BYTES, NOTHING, ReplyFormat, ReplyRefusedError
from triofuse.testing.unimplemented import DEFAULTS, FAILURES
from triofuse.wire import layouts
from triofuse.wire.opcodes import (
    FUSE_KERNEL_MINOR_VERSION,
    FUSE_KERNEL_VERSION,
    Opcode,
)

__all__ = ["Requester"]

T = TypeVar("T")


@attrs.define(eq=False)
class Requester(Connection):
    """A connection whose requests are awaited; a cancelled caller interrupts them."""

    async def run(self) -> None:
        """Be the kernel until the server closes its end."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._shake_hands)
            await self._receive()

    async def request(
        self,
        opcode: int,
        nodeid: int = 0,
        body: bytes = b"",
        *,
        extensions: bytes = b"",
        room: int = RECEIVE_SIZE,
        caller: Caller | None = None,
    ) -> bytes:
        """Send any request, return the body of the reply, of whatever size.

        Nothing in it is checked, counted as a lookup or remembered.

        Args:
          opcode: What to ask.
          nodeid: What it is about.
          body: What follows the header.
          extensions: What follows the body; a multiple of 8 bytes.
          room: The most bytes that may be answered.
          caller: Who asks.

        Raises:
          OSError: The reply is an error.
        """
        await self.wait_ready()
        return await self._exchange(
            opcode, BYTES, nodeid, body, extensions, room=room, caller=caller
        )

    async def _ask(
        self,
        opcode: Opcode,
        expected: ReplyFormat[T],
        nodeid: int,
        body: bytes = b"",
        extensions: bytes = b"",
        *,
        room: int = 0,
        caller: Caller | None = None,
        flags: int = 0,
    ) -> T:
        """Send a request, wait for its reply and return what it says.

        What the kernel has found unsupported is not sent: it knows another way.
        """
        await self.wait_ready()
        known = opcode in DEFAULTS or opcode in FAILURES
        if opcode not in self.unsupported:
            try:
                return await self._exchange(
                    opcode,
                    expected,
                    nodeid,
                    body,
                    extensions,
                    room=room,
                    caller=caller,
                    flags=flags,
                )
            except OSError as exc:
                if exc.errno != errno.ENOSYS or not known:
                    raise
        self.unsupported.add(opcode)
        if opcode in FAILURES:
            raise os_error(FAILURES[opcode])
        default: T = DEFAULTS[opcode]
        return default

    async def _exchange(
        self,
        opcode: int,
        expected: ReplyFormat[T],
        nodeid: int,
        body: bytes,
        extensions: bytes = b"",
        *,
        room: int = 0,
        caller: Caller | None = None,
        flags: int = 0,
    ) -> T:
        unique = self._next_unique()
        credentials = identity(opcode, self.negotiated.granted, caller or {}, flags)
        message = encode_request(opcode, unique, nodeid, credentials, body, extensions)
        pending = AwaitedReply(opcode, nodeid, unique, message, expected, room)
        self.pending[unique] = pending
        try:
            await self.send_raw(message)
        except BaseException:  # a signal that comes before the request is read
            self.pending.pop(unique, None)
            raise
        await self._wait(pending)
        if pending.error is not None:
            raise pending.error
        value: T = pending.value
        return value

    async def _wait(self, pending: AwaitedReply) -> None:
        """Wait for an answer; a signal does not end this, it makes an INTERRUPT.

        Source: ``request_wait_answer()`` in fs/fuse/dev.c.
        """
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._quietly(self.interrupt, pending.unique)
                await pending.answered.wait()
                await self._quietly(self._abandon, pending)
            raise

    async def _abandon(self, pending: AwaitedReply) -> None:
        """Close what was opened for a caller that is gone."""
        match pending.value:
            case Opened(fh=fh):
                nodeid = pending.nodeid
            case (Entry(nodeid=nodeid), Opened(fh=fh)):
                pass
            case _:
                return
        isdir = pending.opcode == Opcode.OPENDIR
        opcode = Opcode.RELEASEDIR if isdir else Opcode.RELEASE
        await self._exchange(
            opcode, NOTHING, nodeid, layouts.RELEASE_IN.pack(fh, 0, 0, 0)
        )

    async def _shake_hands(self) -> None:
        """Send INIT; a kernel of a newer major sends another one in ours."""
        offer = self.offer
        try:
            body = await self._init(offer)
            if offer.major > FUSE_KERNEL_VERSION:
                minor = FUSE_KERNEL_MINOR_VERSION
                offer = attrs.evolve(offer, major=FUSE_KERNEL_VERSION, minor=minor)
                body = await self._init(offer)
            self.negotiated: Negotiated = Negotiated.decode(offer, body)
        except (OSError, ReplyRefusedError):
            self._dead = self._dead or errno.ECONNREFUSED
        self._ready.set()

    async def _init(self, offer: Offer) -> bytes:
        room = layouts.INIT_OUT.size
        return await self._exchange(Opcode.INIT, BYTES, 0, offer.encode(), room=room)
