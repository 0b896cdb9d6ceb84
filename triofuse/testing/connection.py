"""The kernel's end of a connection: one socket and the requests in flight."""

from __future__ import annotations

import errno
import math
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs
import trio

from triofuse.device.callers import Standing
from triofuse.testing.awaited import AwaitedReply, os_error
from triofuse.testing.messages import encode_request
from triofuse.testing.negotiation import Negotiated, Offer
from triofuse.testing.notifications import Notification, decode_notification
from triofuse.testing.replies import ReplyRefusedError
from triofuse.wire import layouts
from triofuse.wire.opcodes import (
    FUSE_UNIQUE_RESEND,
    INTERRUPT_BIT,
    NotifyCode,
    Opcode,
)

__all__ = ["Connection", "Refusal"]

_HEADER = layouts.OUT_HEADER

#: fuse_dev_do_write() accepts errors -511 to 0.
_MAX_ERRNO = 511

#: Requests are numbered 2, 4, 6: bit 0 is for INTERRUPT (FUSE_REQ_ID_STEP).
_STEP = 2

#: Bytes of the receive buffer; more than any valid message has.
RECEIVE_SIZE = 2 << 20


@attrs.frozen
class Refusal:
    """A message of the server that the kernel refuses.

    Attributes:
      errno: The error that its ``write`` would get: EINVAL, or ENOENT for a reply
        whose caller is gone; 0 where only the caller gets an error.
      reason: What is wrong.
      message: The whole message.
    """

    errno: int
    reason: str
    message: bytes


@attrs.define(eq=False)
class Connection:
    """Sends requests and matches the replies to them.

    Attributes:
      offer: What the kernel offers in INIT.
      negotiated: The result of INIT.
      pending: Requests in flight, by ``unique``.
      lookups: The lookup count of each node.
      notifications: The notifications of the server, in the order of arrival.
      refusals: Messages of the server that were refused.
      unsupported: Operations that are no longer sent: they were answered ENOSYS,
        which this kernel remembers as Linux does.
    """

    _socket: trio.socket.SocketType = attrs.field(repr=False)
    offer: Offer = attrs.field(repr=False)
    negotiated: Negotiated = attrs.field(factory=Negotiated, init=False, repr=False)
    pending: dict[int, AwaitedReply] = attrs.field(factory=dict, init=False)
    lookups: Counter[int] = attrs.field(factory=Counter, init=False)
    notifications: trio.MemoryReceiveChannel[Notification] = attrs.field(
        init=False, repr=False
    )
    refusals: list[Refusal] = attrs.field(factory=list, init=False)
    unsupported: set[int] = attrs.field(factory=set, init=False)
    _notified: trio.MemorySendChannel[Notification] = attrs.field(
        init=False, repr=False
    )
    _nursery: trio.Nursery = attrs.field(init=False, repr=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)
    _ready: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    _unique: int = attrs.field(default=0, init=False, repr=False)
    #: The errno that every call gets once the connection is over; 0 before.
    _dead: int = attrs.field(default=0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        channel = trio.open_memory_channel[Notification](math.inf)
        self._notified, self.notifications = channel

    async def wait_ready(self) -> None:
        """Wait for the reply to INIT.

        Raises:
          ConnectionRefusedError: The reply was an error or another major version.
          OSError: ENOTCONN: the connection is over.
        """
        await self._ready.wait()
        if self._dead:
            raise os_error(self._dead)

    def unmount(self) -> None:
        """End the connection as umount(2) does: no more requests, not even FORGET.

        Requests in flight are still answered.
        """
        self._dead = self._dead or errno.ENOTCONN
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End the connection as ``umount -f`` does: callers get ECONNABORTED."""
        self._end()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the kernel's end."""
        self._end()
        self._socket.close()

    async def send_raw(self, message: bytes) -> None:
        """Send any bytes as a request; the reply to it goes to ``refusals``.

        Raises:
          OSError: ENOTCONN: the connection is over.
        """
        async with self._turn:
            if self._dead:
                raise os_error(self._dead)
            try:
                await self._socket.send(message)
            except (ConnectionError, trio.ClosedResourceError):
                raise os_error(errno.ENOTCONN) from None

    async def interrupt(self, unique: int, *, fatal: bool = True) -> None:
        """Signal the caller of a request; the first signal sends an INTERRUPT.

        Args:
          unique: The number of the request.
          fatal: Whether the signal kills the caller.
        """
        pending = self.pending.get(unique)
        if pending is None:
            return
        pending.killed = pending.killed or fatal
        if pending.interrupted or Opcode.INTERRUPT in self.unsupported:
            return
        pending.interrupted = True
        body = layouts.INTERRUPT_IN.pack(unique)
        number = unique | INTERRUPT_BIT
        await self._send_unanswered(Opcode.INTERRUPT, 0, body, unique=number)

    def look(self, unique: int, _pid: int) -> Standing:
        """Return whether a caller survives its signals, as ``Session.look`` does."""
        pending = self.pending.get(unique)
        killed = pending is not None and pending.killed
        return Standing.DYING if killed else Standing.SURVIVES

    async def _send_unanswered(
        self, opcode: Opcode, nodeid: int, body: bytes, *, unique: int | None = None
    ) -> None:
        """Send a request that has no reply."""
        unique = self._next_unique() if unique is None else unique
        await self.send_raw(encode_request(opcode, unique, nodeid, (0, 0, 0), body))

    def _next_unique(self) -> int:
        self._unique += _STEP
        return self._unique

    async def _forget(self, nodeid: int, nlookup: int) -> None:
        body = layouts.FORGET_IN.pack(nlookup)
        await self._send_unanswered(Opcode.FORGET, nodeid, body)

    async def _receive(self) -> None:
        """Receive the messages of the server until it closes its end."""
        buffer = bytearray(RECEIVE_SIZE)
        try:
            while size := await self._socket.recv_into(buffer):
                self._accept(bytes(memoryview(buffer)[:size]))
        except (OSError, trio.ClosedResourceError):
            pass  # the server closed its end with messages unread, or we closed ours
        finally:
            self._end()

    def _accept(self, message: bytes) -> None:
        """Process a message of the server as ``fuse_dev_do_write()`` does."""
        if len(message) < _HEADER.size:
            return self._refuse(errno.EINVAL, "no header", message)
        length, error, unique = _HEADER.unpack_from(message)
        if length != len(message):
            self._refuse(errno.EINVAL, f"the length says {length}", message)
        elif unique == 0:
            self._accept_notification(error, message)
        elif not -_MAX_ERRNO <= error <= 0:
            self._refuse(errno.EINVAL, f"error {error}", message)
        elif unique & ~INTERRUPT_BIT not in self.pending:
            reason = f"no request in flight is {unique}"
            self._refuse(errno.ENOENT, reason, message)
        elif unique & INTERRUPT_BIT:
            self._accept_interrupt_reply(-error, unique & ~INTERRUPT_BIT, message)
        else:
            self._accept_reply(-error, self.pending.pop(unique), message)
        return None

    def _accept_reply(self, error: int, pending: AwaitedReply, message: bytes) -> None:
        try:
            pending.answer(error, message[_HEADER.size :], self.negotiated)
        except ReplyRefusedError as exc:
            return self._refuse(exc.errno, str(exc), message)
        if pending.error is None:
            self.lookups.update(pending.expected.counted(pending.value))
            for nodeid in pending.expected.unusable(pending.value):
                self._nursery.start_soon(self._quietly, self._forget, nodeid, 1)
        return None

    def _accept_interrupt_reply(self, error: int, unique: int, message: bytes) -> None:
        if len(message) != _HEADER.size:
            self._refuse(errno.EINVAL, "more than a header", message)
        elif error == errno.ENOSYS:
            self.unsupported.add(Opcode.INTERRUPT)
        elif error == errno.EAGAIN:
            self.pending[unique].interrupted = False
            self._nursery.start_soon(self._quietly, self.interrupt, unique)

    def _accept_notification(self, code: int, message: bytes) -> None:
        try:
            notification = decode_notification(code, message[_HEADER.size :])
        except ReplyRefusedError as exc:
            return self._refuse(errno.EINVAL, str(exc), message)
        self._notified.send_nowait(notification)
        if notification.code == NotifyCode.RESEND:
            self._resend()
        return None

    def _resend(self) -> None:
        """Send all requests in flight again, with FUSE_UNIQUE_RESEND in their numbers."""
        for pending in list(self.pending.values()):
            del self.pending[pending.unique]
            pending.unique |= FUSE_UNIQUE_RESEND
            self.pending[pending.unique] = pending
            header = list(layouts.IN_HEADER.unpack_from(pending.message))
            header[layouts.IN_HEADER.fields.index("unique")] = pending.unique
            body = pending.message[layouts.IN_HEADER.size :]
            pending.message = layouts.IN_HEADER.pack(*header) + body
            self._nursery.start_soon(self._quietly, self._send_again, pending)

    async def _send_again(self, pending: AwaitedReply) -> None:
        """Send a request again, and its INTERRUPT if its caller was signalled."""
        await self.send_raw(pending.message)
        if pending.interrupted:
            pending.interrupted = False
            await self.interrupt(pending.unique, fatal=pending.killed)

    async def _quietly(
        self, send: Callable[..., Awaitable[None]], *arguments: Any
    ) -> None:
        """Send a message and ignore the end of the connection."""
        with suppress(OSError):
            await send(*arguments)

    def _refuse(self, error: int, reason: str, message: bytes) -> None:
        self.refusals.append(Refusal(error, reason, message))

    def _end(self) -> None:
        self._dead = self._dead or errno.ENOTCONN
        for pending in self.pending.values():
            pending.fail(os_error(errno.ECONNABORTED))
        self.pending.clear()
        self._notified.close()
        self._ready.set()
