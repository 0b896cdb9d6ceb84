"""Notifications from any thread, by plain functions.

The law: in a thread of the program a call waits in the kernel, as a system call does.  In
the thread of the event loop it must not: the kernel may wait for a request that this
thread has to answer.  There another thread sends, and the call waits a moment for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from triofuse.filesystem.replies import Buffer
from triofuse.session.in_flight.table import (
    InFlightTable,
    Notification,
    active_request,
)
from triofuse.session.notifications.deferral import log_refused, may_wait
from triofuse.session.notifications.thread_sender import ThreadSender
from triofuse.wire import notifications as n

__all__ = ["ThreadNotifier"]

#: Seconds for which the event loop waits for a thread that may be blocked.  A thread that
#: is not takes 0.0001.
_MAX_WAIT = 0.05


@attrs.define(eq=False, repr=False)
class ThreadNotifier:
    """Sends notifications; see `triofuse.Notifier.from_thread`."""

    _sender: ThreadSender
    _table: InFlightTable
    _check: Callable[[str], None]

    def inval_inode(self, nodeid: int, offset: int = 0, length: int = 0) -> bool:
        """Drop cached attributes, and data unless the offset is negative."""
        encode = n.encode_notify_inval_inode
        if offset < 0:  # blocks on no request
            self._check("inval_inode")
            return self._send(encode(nodeid, offset, length))
        return self._tell("inval_inode", encode, nodeid, offset, length)

    def inval_entry(self, parent: int, name: str) -> bool:
        """Drop a cached name."""
        return self._tell("inval_entry", n.encode_notify_inval_entry, parent, name)

    def expire_entry(self, parent: int, name: str) -> bool:
        """Have a cached name looked up at its next use."""
        return self._tell("expire_entry", n.encode_notify_expire_entry, parent, name)

    def delete(self, parent: int, child: int, name: str) -> bool:
        """Drop a name that was removed, and tell its watchers (inotify)."""
        return self._tell("delete", n.encode_notify_delete, parent, child, name)

    def store(self, nodeid: int, offset: int, data: Buffer) -> bool:
        """Put data into the kernel's cache."""
        kept = data if isinstance(data, bytes) else bytes(data)  # it may be sent later
        return self._tell("store", n.encode_notify_store, nodeid, offset, kept)

    def poll(self, kh: int) -> None:
        """Wake pollers, so that they send POLL again."""
        self._check("poll")
        self._send(n.encode_notify_poll(kh))  # blocks on no request

    def _tell(
        self, method: str, encode: Callable[..., list[Buffer]], *arguments: Any
    ) -> bool:
        self._check(method)
        notification = Notification(method, arguments, encode(*arguments))
        if not self._sender.is_in_loop():
            return self._send(notification.message)
        active = active_request()
        if active and active.is_of(self._table) and may_wait(active, notification):
            unique = active.received[1]
            self._table.deferred.setdefault(unique, []).append(notification)
            return True
        return self._send_elsewhere(notification)

    def _send_elsewhere(self, notification: Notification) -> bool:
        """Send in another thread; wait a moment, else it goes on by itself."""
        sending = _Sending(notification, self._send)
        trio.lowlevel.start_thread_soon(sending.do, _ignore, "triofuse notification")
        return sending.wait()

    def _send(self, message: Sequence[Buffer]) -> bool:
        """Send in this thread; False if the kernel does not know the node or name."""
        try:
            self._sender.send(message)
        except FileNotFoundError:
            return False
        return True


def _ignore(_: object) -> None:
    pass


@attrs.define(eq=False, repr=False)
class _Sending:
    """A notification that another thread sends."""

    _notification: Notification
    _send: Callable[[Sequence[Buffer]], bool]
    _known: threading.Event = attrs.field(factory=threading.Event, init=False)
    _is_known: bool = attrs.field(default=True, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)
    _abandoned: bool = attrs.field(default=False, init=False)

    def do(self) -> None:
        """Send; in the other thread."""
        try:
            self._is_known = self._send(self._notification.message)
        except Exception as exc:  # noqa: BLE001  (raised by wait())
            self._error = exc
            if self._abandoned and isinstance(exc, OSError):
                log_refused(self._notification, exc)
        finally:
            self._known.set()

    def wait(self) -> bool:
        """Wait until it is sent, but for a moment only; return what `_send` returned."""
        if not self._known.wait(_MAX_WAIT):
            self._abandoned = True
            return True
        if self._error is not None:
            raise self._error
        return self._is_known
