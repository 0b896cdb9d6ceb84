"""pyfuse3's notifications: plain functions, for handlers and for threads.

The law: in a thread of the program they wait in the kernel.  In the event loop they wait
for at most 0.05 seconds; then another thread sends on.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import threading
from collections.abc import Callable

import trio

import triofuse as t
from triofuse.compat.pyfuse3.lifetime import current

__all__ = [
    "invalidate_entry",
    "invalidate_entry_async",
    "invalidate_inode",
    "notify_store",
]

_log = logging.getLogger("triofuse.compat.pyfuse3")


def invalidate_inode(inode: int, attr_only: bool = False) -> None:
    """Have the kernel drop the cached attributes of an inode, and its cached data.

    Args:
      inode: The inode.
      attr_only: Whether the data stays.

    Raises:
      OSError: ENOENT: the kernel does not know the inode.  ENODEV: unmounted.
    """
    offset = -1 if attr_only else 0
    _tell("invalidate_inode", lambda to: to.inval_inode(inode, offset))


def invalidate_entry(inode_p: int, name: bytes, deleted: int = 0) -> None:
    """Have the kernel drop a name.

    In a handler whose request holds the directory it is sent after the reply.

    Args:
      inode_p: The directory.
      name: The name.
      deleted: The inode that was removed; those who watch it (inotify) are told.

    Raises:
      OSError: ENOENT: the kernel does not know the name.  ENODEV: unmounted.
    """
    given: object = name
    if not isinstance(given, bytes):
        message = f"name must be bytes, not {type(given).__name__}"
        raise TypeError(message)
    text = os.fsdecode(name)
    if deleted:
        _tell("invalidate_entry", lambda to: to.delete(inode_p, deleted, text))
    else:
        _tell("invalidate_entry", lambda to: to.inval_entry(inode_p, text))


def notify_store(inode: int, offset: int, data: t.Buffer) -> None:
    """Put data into the kernel's cache of an inode; past the end it extends the file.

    Raises:
      OSError: ENOENT: the kernel does not know the inode.  ENODEV: unmounted.
    """
    kept = bytes(data)
    _tell("notify_store", lambda to: to.store(inode, offset, kept))


def invalidate_entry_async(
    inode_p: int,
    name: bytes,
    deleted: int = 0,
    ignore_enoent: bool = False,
) -> None:
    """Do as `invalidate_entry`, in a thread: it never blocks, and logs its errors.

    One thread sends one after the other.  If one waits for a request, so do the rest.

    Args:
      inode_p: The directory.
      name: The name.
      deleted: The inode that was removed.
      ignore_enoent: Whether it is no error that the kernel does not know the name.
    """
    _worker.put(inode_p, name, deleted, ignore_enoent)


class _Worker:
    """The thread that sends what `invalidate_entry_async` queues."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[int, bytes, int, bool]]
        self._pid = 0

    def put(self, *entry: int | bytes) -> None:
        """Queue an entry; start the thread if this process has none."""
        if self._pid != os.getpid():  # fork(2) copies no threads
            self._pid, self._queue = os.getpid(), queue.SimpleQueue()
            threading.Thread(
                target=self._run, name="triofuse invalidate", daemon=True
            ).start()
        self._queue.put(entry)  # type: ignore[arg-type]

    def _run(self) -> None:
        while True:
            inode_p, name, deleted, ignore_enoent = self._queue.get()
            try:
                invalidate_entry(inode_p, name, deleted)
            except FileNotFoundError as exc:
                if not ignore_enoent:
                    _log.error("invalidate_entry(%d, %r): %s", inode_p, name, exc)
            except RuntimeError as exc:  # nothing is mounted, so nothing is cached
                _log.debug("invalidate_entry(%d, %r): %s", inode_p, name, exc)
            except Exception:  # noqa: BLE001  (logged: no caller waits for it)
                _log.exception("invalidate_entry(%d, %r) failed", inode_p, name)


_worker = _Worker()


def _tell(function: str, send: Callable[[t.BlockingNotifier], bool]) -> None:
    session = current(function).session
    try:
        known = session is not None and send(session.notifier.from_thread)
    except (trio.EndOfChannel, trio.ClosedResourceError):
        raise _error(errno.ENODEV, function) from None
    except t.CapabilityError:
        raise _error(errno.ENOSYS, function) from None
    if not known:
        raise _error(errno.ENOENT, function)


def _error(number: int, function: str) -> OSError:
    return OSError(number, f"{function}: {os.strerror(number)}")
