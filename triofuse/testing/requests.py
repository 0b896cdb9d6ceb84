"""Requester: sends requests and waits for their replies, INIT first."""

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
    """A connection whose callers wait for replies; cancelling sends an INTERRUPT."""

    async def run(self) -> None:
        """Send INIT and receive replies until the server closes its end."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._negotiate)
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
        """Send any request and return the body of the reply, of any size.

        The reply is not checked, not counted as a lookup and not remembered.

        Args:
          opcode: The opcode of the request.
          nodeid: The nodeid of the request.
          body: The bytes after the header.
          extensions: The bytes after the body; a multiple of 8 bytes.
          room: The most bytes in the reply.
          caller: The credentials of the caller.

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
        """Send a request, wait for its reply and return the value.

        An operation that was answered ENOSYS is not sent again; the kernel uses its
        default (`unimplemented`).
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
        """Wait for a reply; cancelling sends an INTERRUPT and does not end the wait.

        Source: ``request_wait_answer()`` in fs/fuse/dev.c.
        """
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._quietly(self.interrupt, pending.unique)
                await pending.answered.wait()
                await self._quietly(self._release_opened, pending)
            raise

    async def _release_opened(self, pending: AwaitedReply) -> None:
        """Release the handle that was opened for a caller that is gone."""
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

    async def _negotiate(self) -> None:
        """Send INIT; a kernel with a newer major then sends INIT with ours."""
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
