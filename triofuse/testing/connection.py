"""The kernel's end of a connection: one socket, and who waits for what."""

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

#: fuse_dev_do_write() takes no other errors.
_MAX_ERRNO = 511

#: Requests are numbered 2, 4, 6: bit 0 is for INTERRUPT (FUSE_REQ_ID_STEP).
_STEP = 2

#: Room for a server that sends more than it should.
RECEIVE_SIZE = 2 << 20


@attrs.frozen
class Refusal:
    """A message of the server that the kernel does not take as it is.

    Attributes:
      errno: What its ``write`` would have failed with: EINVAL, or ENOENT for an
        answer that nobody waits for; 0 where only the caller gets an error.
      reason: What is wrong.
      message: All of it.
    """

    errno: int
    reason: str
    message: bytes


@attrs.define(eq=False)
class Connection:
    """Sends requests and matches the replies to who waits for them.

    Attributes:
      offer: What is said in INIT.
      terms: What was agreed on.
      pending: Requests that are not answered, by ``unique``.
      lookups: How often the kernel has looked up each node, less what it forgot.
      notifications: What the server says unasked, in the order of arrival.
      refusals: What it said that makes no sense.
      unsupported: Operations that are not sent any more: they were answered
        ENOSYS, which this kernel remembers as Linux does.
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
    #: The errno that every caller gets, once there is one.
    _dead: int = attrs.field(default=0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        channel = trio.open_memory_channel[Notification](math.inf)
        self._notified, self.notifications = channel

    async def wait_ready(self) -> None:
        """Wait for the answer to INIT.

        Raises:
          ConnectionRefusedError: It was an error, or another major version.
          OSError: ENOTCONN: the connection is over.
        """
        await self._ready.wait()
        if self._dead:
            raise os_error(self._dead)

    def unmount(self) -> None:
        """End the connection as umount(2) does: no more requests, not even FORGET.

        What was asked before is still answered.
        """
        self._dead = self._dead or errno.ENOTCONN
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End the connection at once, as ``umount -f``: who waits gets ECONNABORTED."""
        self._end()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the kernel's end."""
        self._end()
        self._socket.close()

    async def send_raw(self, message: bytes) -> None:
        """Send any bytes; what is answered to them ends up in ``refusals``.

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
        """Give the caller of a request a signal; the first one makes an INTERRUPT.

        Args:
          unique: The number of the request.
          fatal: Whether the caller dies of it.
        """
        pending = self.pending.get(unique)
        if pending is None:
            return
        pending.killed = pending.killed or fatal
        if pending.interrupted or Opcode.INTERRUPT in self.unsupported:
            return
        pending.interrupted = True
        body = layouts.INTERRUPT_IN.pack(unique)
        await self._tell(Opcode.INTERRUPT, 0, body, unique=unique | INTERRUPT_BIT)

    def look(self, unique: int, _pid: int) -> Standing:
        """Tell how a caller stands, as ``Session.look`` does."""
        pending = self.pending.get(unique)
        killed = pending is not None and pending.killed
        return Standing.DYING if killed else Standing.SURVIVES

    async def _tell(
        self, opcode: Opcode, nodeid: int, body: bytes, *, unique: int | None = None
    ) -> None:
        """Send a request that is not answered."""
        unique = self._next_unique() if unique is None else unique
        await self.send_raw(encode_request(opcode, unique, nodeid, (0, 0, 0), body))

    def _next_unique(self) -> int:
        self._unique += _STEP
        return self._unique

    async def _forget(self, nodeid: int, nlookup: int) -> None:
        await self._tell(Opcode.FORGET, nodeid, layouts.FORGET_IN.pack(nlookup))

    async def _receive(self) -> None:
        """Take what the server sends until it closes its end."""
        buffer = bytearray(RECEIVE_SIZE)
        try:
            while size := await self._socket.recv_into(buffer):
                self._take(bytes(memoryview(buffer)[:size]))
        except (OSError, trio.ClosedResourceError):
            pass  # the server has closed its end with messages unread, or we ours
        finally:
            self._end()

    def _take(self, message: bytes) -> None:
        """Take a message of the server as ``fuse_dev_do_write()`` does."""
        if len(message) < _HEADER.size:
            return self._refuse(errno.EINVAL, "no header", message)
        length, error, unique = _HEADER.unpack_from(message)
        if length != len(message):
            self._refuse(errno.EINVAL, f"the length says {length}", message)
        elif unique == 0:
            self._take_notification(error, message)
        elif not -_MAX_ERRNO <= error <= 0:
            self._refuse(errno.EINVAL, f"error {error}", message)
        elif unique & ~INTERRUPT_BIT not in self.pending:
            self._refuse(errno.ENOENT, f"nobody waits for {unique}", message)
        elif unique & INTERRUPT_BIT:
            self._take_interrupt_answer(-error, unique & ~INTERRUPT_BIT, message)
        else:
            self._take_answer(-error, self.pending.pop(unique), message)
        return None

    def _take_answer(self, error: int, pending: AwaitedReply, message: bytes) -> None:
        try:
            pending.answer(error, message[_HEADER.size :], self.negotiated)
        except ReplyRefusedError as exc:
            return self._refuse(exc.errno, str(exc), message)
        if pending.error is None:
            self.lookups.update(pending.expected.counted(pending.value))
            for nodeid in pending.expected.spurned(pending.value):
                self._nursery.start_soon(self._quietly, self._forget, nodeid, 1)
        return None

    def _take_interrupt_answer(self, error: int, unique: int, message: bytes) -> None:
        if len(message) != _HEADER.size:
            self._refuse(errno.EINVAL, "more than a header", message)
        elif error == errno.ENOSYS:
            self.unsupported.add(Opcode.INTERRUPT)
        elif error == errno.EAGAIN:
            self.pending[unique].interrupted = False
            self._nursery.start_soon(self._quietly, self.interrupt, unique)

    def _take_notification(self, code: int, message: bytes) -> None:
        try:
            notification = decode_notification(code, message[_HEADER.size :])
        except ReplyRefusedError as exc:
            return self._refuse(errno.EINVAL, str(exc), message)
        self._notified.send_nowait(notification)
        if notification.code == NotifyCode.RESEND:
            self._resend()
        return None

    def _resend(self) -> None:
        """Send all requests again, in numbers that say so."""
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
        """Send a request, and what goes with it if its caller has got a signal."""
        await self.send_raw(pending.message)
        if pending.interrupted:
            pending.interrupted = False
            await self.interrupt(pending.unique, fatal=pending.killed)

    async def _quietly(
        self, send: Callable[..., Awaitable[None]], *arguments: Any
    ) -> None:
        """Send what nobody waits for; the end of the connection is no error."""
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
