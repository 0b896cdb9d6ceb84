"""Bytes of files on their way into replies, in buffers that are used again.

A buffer begins with a page of its own, for the device copies page by page: from
anywhere else it would look at each page twice.
"""

from __future__ import annotations

import errno
import functools
import logging
import mmap
import os

import attrs
import trio

from triofuse.filesystem.replies import FileData

__all__ = ["FileBuffers", "anonymous", "read_file"]

_log = logging.getLogger("triofuse")

#: Bytes in a buffer: the largest READ, where fs.fuse.max_pages_limit is as ever.
_SIZE = 1 << 20

#: Buffers that are kept for the next reply.
_MAX_SPARES = 4

#: Threads that read for one session.  It is a limit of its own: the program's common
#: one may be used up by threads that wait for this very mount.
_MAX_READERS = 40

#: The page cache has not got it (EAGAIN), or its filesystem does not tell: tmpfs,
#: and those that ask a server (EOPNOTSUPP, kiocb_set_rw_flags() in linux/fs.h).
_MAY_WAIT = frozenset({errno.EAGAIN, errno.EOPNOTSUPP})


@attrs.define(eq=False, repr=False)
class FileBuffers:
    """Lends page-aligned buffers; those that come back it lends again.

    Attributes:
      readers: Bounds the threads that fill them.
    """

    readers: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_MAX_READERS), init=False
    )
    _spares: list[mmap.mmap] = attrs.field(factory=list, init=False)

    def lend(self, size: int) -> memoryview:
        """Return a buffer of ``size`` bytes, whatever is in it."""
        if size > _SIZE:  # somebody has raised fs.fuse.max_pages_limit
            return memoryview(anonymous(size))
        buffer = self._spares.pop() if self._spares else anonymous(_SIZE)
        return memoryview(buffer)[:size]

    def take_back(self, view: memoryview) -> None:
        """Take back what was lent, and nobody uses any more."""
        buffer = view.obj
        if (
            isinstance(buffer, mmap.mmap)
            and len(buffer) == _SIZE
            and len(self._spares) < _MAX_SPARES
        ):
            self._spares.append(buffer)


def anonymous(size: int) -> mmap.mmap:
    """Return a new buffer; a page of it takes memory once something is in it."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


async def read_file(
    data: FileData, view: memoryview, readers: trio.CapacityLimiter
) -> int:
    """Read what ``data`` names into ``view``, which is as large.

    What the page cache has is read here and now; what may have to wait for a disk
    or a server is read in a thread, one of as many as ``readers`` has room for; the
    others wait for these.  A read that has begun there is not cancelled: it writes to
    the buffer.  Where no thread can be started, the loop waits for the disk.

    Returns:
      The number of bytes; less than ``data.size`` at the end of the file.

    Raises:
      OSError: As of preadv(2): EBADF, EIO, EINVAL, ESPIPE.
    """
    done, rest = 0, view
    while True:
        offset = data.offset + done
        try:
            size = os.preadv(data.fd, (rest,), offset, os.RWF_NOWAIT)
        except OSError as exc:
            if exc.errno not in _MAY_WAIT:
                raise
            size = await _read_in_thread(data.fd, rest, offset, readers)
        done += size
        if size == 0 or done == data.size:
            return done
        rest = view[done:]


async def _read_in_thread(
    fd: int, view: memoryview, offset: int, readers: trio.CapacityLimiter
) -> int:
    read = functools.partial(os.preadv, fd, (view,), offset)
    try:
        return await trio.to_thread.run_sync(read, limiter=readers)
    except RuntimeError as exc:  # can't start new thread: RLIMIT_NPROC, pids.max
        _log.warning("a file is read in the loop: %s", exc)
        return read()
