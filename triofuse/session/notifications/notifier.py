"""Sends notifications to the kernel, and never blocks the event loop in the kernel.

The law: a notification that may wait in the kernel for the request that sends it is
deferred until that request is answered.  Any other is sent before its call returns,
which a request waits for at most one second.
"""

from __future__ import annotations

import itertools
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.filesystem.errors import CapabilityError
from triofuse.filesystem.replies import Buffer
from triofuse.session.in_flight.table import (
    InFlightTable,
    Notification,
    active_request,
)
from triofuse.session.notifications.deferral import log_refused, may_wait
from triofuse.session.notifications.thread_notifier import ThreadNotifier
from triofuse.session.notifications.thread_sender import ThreadSender
from triofuse.wire import notifications as n
from triofuse.wire.control import NotifyReply

__all__ = ["SessionNotifier"]

_log = logging.getLogger("triofuse")

#: Threads for notifications that may wait until other requests are answered.
_MAX_THREADS = 32
#: Seconds for which a request waits until its notification is sent.
_MAX_WAIT = 1.0

#: Seconds between two attempts to start a thread.
_NO_THREAD = 0.1

#: Threads for notifications that wait for no request.  They have their own limiter, so
#: that they do not queue behind the others.
_MAX_PROMPT_THREADS = 4


@attrs.define(eq=False, repr=False)
class SessionNotifier:
    """The notifier of one session; `triofuse.Notifier` documents the methods."""

    _channel: Channel
    _table: InFlightTable
    _minor: int = attrs.field(default=0, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _read_copies: Callable[[], None] = attrs.field(init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _is_socket: bool = attrs.field(default=False, init=False)
    _threads: ThreadSender | None = attrs.field(default=None, init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(init=False)
    #: Held while ``_threads`` is made, in whichever thread.
    _opening: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_MAX_THREADS), init=False
    )
    #: For notifications that are sent while a request is served.
    _inside: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_MAX_THREADS), init=False
    )
    _prompt: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_MAX_PROMPT_THREADS),
        init=False,
    )
    _numbers: itertools.count[int] = attrs.field(
        factory=lambda: itertools.count(1), init=False
    )
    #: The waiters for RETRIEVE replies, by the RETRIEVE's number.
    _retrieving: dict[int, trio.MemorySendChannel[bytes]] = attrs.field(
        factory=dict, init=False
    )

    @property
    def from_thread(self) -> ThreadNotifier:
        """The same notifications for threads."""
        self._check_now("from_thread")
        return ThreadNotifier(self._thread_sender(), self._table, self._check_now)

    @property
    def waiting(self) -> int:
        """Threads that send, or block in the kernel."""
        return self._threads.writing if self._threads else 0

    async def inval_inode(self, nodeid: int, offset: int = 0, length: int = 0) -> None:
        """Drop cached attributes, and data unless the offset is negative."""
        if offset >= 0:
            encode = n.encode_notify_inval_inode
            return await self._tell("inval_inode", encode, nodeid, offset, length)
        await self._check("inval_inode")
        message = n.encode_notify_inval_inode(nodeid, offset, length)
        await self._write(message, self._prompt)
        return None

    async def inval_entry(self, parent: int, name: str) -> None:
        """Drop a cached name."""
        await self._tell("inval_entry", n.encode_notify_inval_entry, parent, name)

    async def expire_entry(self, parent: int, name: str) -> None:
        """Have a cached name looked up at its next use."""
        await self._tell("expire_entry", n.encode_notify_expire_entry, parent, name)

    async def delete(self, parent: int, child: int, name: str) -> None:
        """Drop a name that was removed, and tell its watchers (inotify)."""
        await self._tell("delete", n.encode_notify_delete, parent, child, name)

    async def store(self, nodeid: int, offset: int, data: Buffer) -> None:
        """Put data into the kernel's cache."""
        kept = data if isinstance(data, bytes) else bytes(data)  # it is sent later
        await self._tell("store", n.encode_notify_store, nodeid, offset, kept)

    async def retrieve(self, nodeid: int, offset: int, size: int) -> bytes:
        """Return cached data of a node."""
        await self._check("retrieve")
        parts: list[bytes] = []
        while size > 0:
            part = await self._retrieve_some(nodeid, offset, min(size, 2**32 - 1))
            if not part:
                break
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    async def poll(self, kh: int) -> None:
        """Wake pollers, so that they send POLL again."""
        await self._check("poll")
        await self._channel.sender().send(n.encode_notify_poll(kh))

    async def resend(self) -> None:
        """Have the kernel resend all unanswered requests."""
        await self._check("resend")
        self._table.resending = True
        await self._channel.sender().send(n.encode_notify_resend())
        # Before any handler can reply under a number that the kernel has changed.
        self._read_copies()

    @property
    def can_resend(self) -> bool:
        """Whether the kernel can resend requests (protocol 7.40)."""
        return self._minor >= n.SINCE["resend"]

    def resend_nowait(self) -> None:
        """Like `resend`, but the caller must read the copies, at once.

        Raises:
          BlockingIOError: The socket that replaces the device is full.
          trio.EndOfChannel: The connection has ended.
          trio.ClosedResourceError: The channel is closed.
        """
        self._channel.sender().send_nowait(n.encode_notify_resend())
        self._table.resending = True

    async def inc_epoch(self) -> None:
        """Have all cached names looked up at their next use."""
        await self._check("inc_epoch")
        await self._channel.sender().send(n.encode_notify_inc_epoch())

    async def prune(self, nodeids: Iterable[int]) -> None:
        """Have the kernel forget unused nodes."""
        listed = list(nodeids)
        if listed:
            await self._tell("prune", n.encode_notify_prune, listed)
        else:
            await self._check("prune")

    def start(
        self, minor: int, nursery: trio.Nursery, read_copies: Callable[[], None]
    ) -> None:
        """Allow notifications: INIT is answered.

        Args:
          minor: The minor version of the protocol in use, 7.minor.
          nursery: For notifications that are deferred.
          read_copies: Reads all that the device has, without blocking.
        """
        self._minor, self._nursery, self._read_copies = minor, nursery, read_copies
        self._token = trio.lowlevel.current_trio_token()
        self._is_socket = stat.S_ISSOCK(os.fstat(self._channel.fileno()).st_mode)

    @trio.lowlevel.enable_ki_protection
    def send_deferred(self, unique: int) -> None:
        """Send the notifications that were deferred until this request is answered."""
        deferred = self._table.deferred.pop(unique, None)
        if deferred and self._nursery is not None:
            self._nursery.start_soon(self._send_deferred, deferred)

    def receive_reply(self, reply: NotifyReply) -> None:
        """Pass the reply to a RETRIEVE to its waiter, if there still is one."""
        waiting = self._retrieving.pop(reply.unique, None)
        if waiting is not None:
            waiting.send_nowait(bytes(reply.data))

    def end(self) -> None:
        """Note that the connection has ended: waiters and later calls fail."""
        self._ended = True
        for waiting in self._retrieving.values():
            waiting.close()
        if self._threads is not None:
            self._threads.close()

    async def unblock_threads(self, unanswered: Iterable[int], size: int) -> None:
        """After ``end``, unblock the threads that wait in the kernel.

        Args:
          unanswered: ``unique`` of each request that no handler will answer.
          size: Bytes in the largest request.
        """
        if self._threads is not None:
            await self._threads.unblock(unanswered, size)

    async def _tell(
        self, method: str, encode: Callable[..., list[Buffer]], *arguments: Any
    ) -> None:
        """Send from a thread; defer what may wait for the calling task's request."""
        await self._check(method)
        notification = Notification(method, arguments, encode(*arguments))
        active = active_request()
        if active is None:
            await self._write(notification.message, self._limiter)
        elif active.is_of(self._table) and may_wait(active, notification):
            unique = active.received[1]
            self._table.deferred.setdefault(unique, []).append(notification)
        else:
            await self._send_with_timeout(notification)

    async def _send_with_timeout(self, notification: Notification) -> None:
        """Send while a request is served that the notification does not wait for.

        It may wait for other requests, also of another mount, and they for this one.
        So the request goes on after a second, and the thread sends on.
        """
        assert self._nursery is not None
        outcome = _Outcome()
        self._nursery.start_soon(self._send_for, notification, outcome)
        with trio.move_on_after(_MAX_WAIT) as timeout:
            await outcome.known.wait()
        if timeout.cancelled_caught or not outcome.known.is_set():
            outcome.abandoned = True
        elif outcome.error is not None:
            raise outcome.error

    async def _send_for(self, notification: Notification, outcome: _Outcome) -> None:
        try:
            await self._write(notification.message, self._inside)
        except (OSError, trio.EndOfChannel, trio.ClosedResourceError) as exc:
            outcome.error = exc
            if outcome.abandoned and isinstance(exc, OSError):
                log_refused(notification, exc)
        finally:
            outcome.known.set()

    async def _send_deferred(self, deferred: Iterable[Notification]) -> None:
        for notification in deferred:
            try:
                await self._write(notification.message, self._limiter)
            except OSError as exc:
                log_refused(notification, exc)
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return

    def _thread_sender(self) -> ThreadSender:
        """Return the sender for threads, with a descriptor of its own."""
        with self._opening:
            if self._threads is None:
                self._threads = ThreadSender.beside(self._channel, self._token)
            return self._threads

    async def _check(self, method: str) -> None:
        await trio.lowlevel.checkpoint()
        self._check_now(method)

    def _check_now(self, method: str) -> None:
        if self._ended:
            raise trio.EndOfChannel("the filesystem is unmounted")
        if self._nursery is None:
            message = f"{method}() before INIT is answered: the kernel holds nothing"
            raise RuntimeError(message)
        needed = n.SINCE.get(method, 0)
        if self._minor < needed:
            message = f"{method}() needs protocol 7.{needed}, this is 7.{self._minor}"
            raise CapabilityError(message)

    async def _write(
        self, message: Sequence[Buffer], limiter: trio.CapacityLimiter
    ) -> bool:
        """Send from a thread; False if the kernel does not know the node or name.

        A socket that replaces the device never waits for a request: no thread.
        """
        if self._is_socket:
            await self._channel.sender().send(message)
            return True
        try:
            await self._run_in_thread(self._thread_sender().send, message, limiter)
            return True
        except FileNotFoundError:
            return False

    async def _run_in_thread(
        self,
        send: Callable[[Sequence[Buffer]], None],
        message: Sequence[Buffer],
        limiter: trio.CapacityLimiter,
    ) -> None:
        """Send in a thread; retry if none can be started: it must not get lost."""
        while True:
            try:
                return await trio.to_thread.run_sync(
                    send, message, abandon_on_cancel=True, limiter=limiter
                )
            except RuntimeError as exc:  # RLIMIT_NPROC, pids.max
                _log.warning("a notification waits: %s", exc)
                await trio.sleep(_NO_THREAD)

    async def _retrieve_some(self, nodeid: int, offset: int, size: int) -> bytes:
        """Return the data of one RETRIEVE."""
        number = next(self._numbers)
        send, receive = trio.open_memory_channel[bytes](1)
        self._retrieving[number] = send
        message = n.encode_notify_retrieve(number, nodeid, offset, size)
        try:
            with send, receive:
                if not await self._write(message, self._prompt):
                    return b""
                return await receive.receive()
        except trio.EndOfChannel:
            raise trio.EndOfChannel("the filesystem is unmounted") from None
        finally:
            self._retrieving.pop(number, None)


@attrs.define(eq=False, repr=False)
class _Outcome:
    """The outcome of a notification."""

    known: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None
    abandoned: bool = False
