"""Reads files into replies, in page-aligned buffers that are reused.

The device copies page by page: from an unaligned buffer it would access each twice.
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

#: Bytes in a buffer: the largest READ at the default fs.fuse.max_pages_limit.
_SIZE = 1 << 20

#: Buffers that are kept for the next reply.
_MAX_SPARES = 4

#: Threads that read for one session.  They have their own limiter: trio's default one
#: may be used up by threads that wait for this mount.
_MAX_READERS = 40

#: The data is not in the page cache (EAGAIN), or RWF_NOWAIT is not supported: tmpfs and
#: network filesystems (EOPNOTSUPP, kiocb_set_rw_flags() in linux/fs.h).
_MAY_WAIT = frozenset({errno.EAGAIN, errno.EOPNOTSUPP})


@attrs.define(eq=False, repr=False)
class FileBuffers:
    """Lends page-aligned buffers, and reuses those that are returned.

    Attributes:
      readers: Limits the threads that read files into them.
    """

    readers: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_MAX_READERS), init=False
    )
    _spares: list[mmap.mmap] = attrs.field(factory=list, init=False)

    def lend(self, size: int) -> memoryview:
        """Return a buffer of ``size`` bytes with undefined contents."""
        if size > _SIZE:  # fs.fuse.max_pages_limit was raised
            return memoryview(anonymous(size))
        buffer = self._spares.pop() if self._spares else anonymous(_SIZE)
        return memoryview(buffer)[:size]

    def take_back(self, view: memoryview) -> None:
        """Take back a buffer that was lent and is no longer used."""
        buffer = view.obj
        if (
            isinstance(buffer, mmap.mmap)
            and len(buffer) == _SIZE
            and len(self._spares) < _MAX_SPARES
        ):
            self._spares.append(buffer)


def anonymous(size: int) -> mmap.mmap:
    """Return a new anonymous mapping; a page takes memory once it is written."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


async def read_file(
    data: FileData, view: memoryview, readers: trio.CapacityLimiter
) -> int:
    """Read the bytes that ``data`` names into ``view``, which has ``data.size`` bytes.

    Data in the page cache is read at once.  Other data, which may wait for a disk or a
    server, is read in a thread; ``readers`` limits how many.  A read that runs in a
    thread is not cancelled: it writes to the buffer.  If no thread can be started, the
    event loop blocks for the read.

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
