"""Replies by splice(2): the kernel copies from the page cache to the caller, once.

The law: data that may need a disk read is not spliced, for splice(2) from a file cannot
be made non-blocking.  A pipe that was not emptied is never used again.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
from typing import Final

import attrs

from triofuse.device.dev_fuse import DevFuse
from triofuse.filesystem.replies import FileData

__all__ = ["SPLICED", "Splicer"]

#: The least bytes of a reply that is spliced; below it, copying is faster.
SPLICED: Final = 1 << 18

#: Bytes that the pipe of any user may have: /proc/sys/fs/pipe-max-size.
_PIPE_SIZE: Final = 1 << 20

_PAGE: Final = mmap.PAGESIZE

#: Slots of the pipe.  A slot holds at most a page; the header takes one.
_SLOTS: Final = _PIPE_SIZE // _PAGE

#: Bytes that take one slot, not four, when they come from a socket: its buffers are
#: larger than a page (alloc_skb_with_frags() in net/core/skbuff.c).  So a header and
#: 1 MiB fit; in slots of one page each they would not.
_HEAD: Final = 1 << 14

#: The most bytes of a reply.  Where pages are larger, a socket's buffers are not.
_LARGEST: Final = _PIPE_SIZE if _HEAD >= 4 * _PAGE else _PIPE_SIZE - 2 * _PAGE

#: Linux 6.5; the number is the same wherever Python runs.
_SYS_CACHESTAT: Final = 451

_syscall = ctypes.CDLL(None).syscall
_syscall.argtypes = (ctypes.c_long, *(ctypes.c_void_p,) * 3, ctypes.c_uint)


@attrs.define(eq=False, repr=False)
class Splicer:
    """Sends replies whose data is in the page cache, through a pipe of its own.

    For one thread.  After an error that is not temporary it never splices again.
    """

    _device: DevFuse
    _largest: int = attrs.field(
        default=_LARGEST if hasattr(os, "splice") else 0,  # PyPy has no splice
        init=False,
    )
    _pipe: tuple[int, int] | None = attrs.field(default=None, init=False)
    _sockets: tuple[socket.socket, socket.socket] | None = attrs.field(
        default=None, init=False
    )
    #: ``struct cachestat_range`` and ``struct cachestat`` of linux/mman.h.
    _cachestat: ctypes.Array[ctypes.c_uint64] = attrs.field(
        factory=ctypes.c_uint64 * 7, init=False
    )

    def send(self, header: bytes, data: FileData) -> bool:
        """Send a header and the bytes of ``data`` as one reply.

        Returns:
          Whether the reply was sent, or the caller is gone.  Otherwise the reply is
          still to be sent.

        Source: ``fuse_dev_splice_write()`` in fs/fuse/dev.c.
        """
        if data.size > self._largest or not self._is_cached(data):
            return False
        done = False
        try:
            out, into = self._pipe or self._open_pipe()
            self._fill(into, header, data)
            os.splice(out, self._device.fd, len(header) + data.size)
            done = True
        except FileNotFoundError:
            return True
        except (BlockingIOError, EOFError):
            pass  # temporary: memory was short, or the file was truncated
        except OSError:
            self._largest = 0
        finally:
            if not done:
                self._discard()
        return done

    def close(self) -> None:
        """Close the pipe and the sockets; nothing is spliced from then on."""
        self._largest = 0
        self._discard()

    def _is_cached(self, data: FileData) -> bool:
        """Return whether all the bytes are in the page cache, by a fast check.

        cachestat(2) also counts pages that are still being read from the disk.  They
        arrive in order, so the last byte is tested with RWF_NOWAIT.  Network filesystems
        refuse RWF_NOWAIT, and files of other users may refuse cachestat(2).
        """
        last = data.offset + data.size - 1
        query = self._cachestat
        query[0], query[1] = data.offset, data.size
        address = ctypes.addressof(query)
        if _syscall(_SYS_CACHESTAT, data.fd, address, address + 16, 0):
            return False
        if query[2] <= last // _PAGE - data.offset // _PAGE:
            return False
        try:
            return os.preadv(data.fd, (bytearray(1),), last, os.RWF_NOWAIT) == 1
        except OSError:
            return False

    def _open_pipe(self) -> tuple[int, int]:
        if not stat.S_ISCHR(os.fstat(self._device.fd).st_mode):
            raise OSError(errno.EINVAL, "splice(2) to a socket splits the message")
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        return self._pipe

    def _fill(self, into: int, header: bytes, data: FileData) -> None:
        """Put a message into the pipe.

        Raises:
          EOFError: The file was truncated.
          BlockingIOError: The message does not fit.
        """
        os.write(into, header)
        offset, end = data.offset, data.offset + data.size
        if (end - 1) // _PAGE - offset // _PAGE + 2 > _SLOTS:
            self._fill_by_socket(into, os.pread(data.fd, _HEAD, offset))
            offset += _HEAD
        while offset < end:
            offset += _splice(data.fd, into, end - offset, offset)

    def _fill_by_socket(self, into: int, head: bytes) -> None:
        if self._sockets is None:
            self._sockets = socket.socketpair()
        ours, theirs = self._sockets
        ours.send(head, socket.MSG_DONTWAIT)
        left = _HEAD
        while left:
            left -= _splice(theirs.fileno(), into, left)

    def _discard(self) -> None:
        """Close the pipe and the sockets, with any bytes left in them."""
        pipe, self._pipe = self._pipe, None
        sockets, self._sockets = self._sockets, None
        for fd in pipe or ():
            os.close(fd)
        for end in sockets or ():
            end.close()


def _splice(source: int, into: int, size: int, offset: int | None = None) -> int:
    moved = os.splice(source, into, size, offset, flags=os.SPLICE_F_NONBLOCK)
    if moved == 0:
        raise EOFError
    return moved
