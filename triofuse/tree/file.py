"""Regular files."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Awaitable, Hashable
from contextlib import AbstractAsyncContextManager

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import FallocateMode
from triofuse.filesystem.replies import Buffer, FileData, FileLock
from triofuse.posix.space import PAGE
from triofuse.posix.sparse import SparseFile
from triofuse.tree.node import Node, check_type, inode_of, overrides
from triofuse.tree.stat import BLOCK, Stat

__all__ = ["File"]

#: Bytes that one copy has at most: other requests wait for so long.
_COPY_MAX = 1 << 21

_BLOCKS_OF_PAGE = PAGE // BLOCK


class File(Node, kind=True):
    """A regular file.

    As it is, it holds its contents in memory.  Override `read` for contents that come
    from elsewhere, and `write` and `truncate` to have them changed there; or `open` to
    return an object that has these methods, as long as the file is open::

        class Remote(File):
            async def read(self, size, offset):
                return await client.get(self.url, offset, size)

        Remote(stat=Stat(size=1234), valid=60)

    What a class leaves out is answered as POSIX says: EROFS, EOPNOTSUPP, ENOTTY.

    Args:
      content: What is in it: bytes, or text, which is encoded in UTF-8.
      writable: Whether clients may change it.  Default: whether `write` is
        overridden.
      key, stat, valid: As for `Node`.  Give ``stat=Stat(size=...)`` where the
        contents are elsewhere and the size is known.  Where it is not, the kernel is told to read
        until the end (direct I/O), and stat(2) shows 0.
    """

    __slots__ = ("_content", "_writable", "in_memory", "sized")

    def __init__(
        self,
        content: bytes | str = b"",
        *,
        writable: bool | None = None,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        data = content.encode() if isinstance(content, str) else content
        check_type(data, bytes, "the content of a File is bytes or str")
        self._content: bytes | SparseFile = data
        opens = overrides(self, "open") and not data
        #: Whether the contents are in memory.
        self.in_memory = not (overrides(self, "read") or opens)
        self._writable = overrides(self, "write") if writable is None else writable
        #: Whether the size is known.
        self.sized = self.in_memory or (stat is not None and stat.size is not None)
        super().__init__(key=key, stat=stat, valid=valid)
        if data and self.in_memory:
            self._inode.apply(Stat(size=len(data)))

    @property
    def writable(self) -> bool:
        """Whether clients may change it."""
        return self._writable

    @property
    def content(self) -> bytes:
        """The contents that are kept in memory.

        Set it to change them: bytes or text.  The kernel is told soon.
        """
        content = self._content
        return content if isinstance(content, bytes) else content.read(0, content.size)

    @content.setter
    def content(self, content: bytes | str) -> None:
        inode = inode_of(self)
        if inode.owner is not None:
            inode.owner.check_thread()
        data = content.encode() if isinstance(content, str) else bytes(content)
        inode.charge(len(data) - self._cost())
        while self.discard():
            pass
        self._content, self.in_memory = data, not overrides(self, "read")
        inode.apply(Stat(size=len(data)))
        inode.modified()
        if inode.owner is not None:
            inode.owner.data_changed(inode)

    def open(
        self, flags: int
    ) -> Awaitable[object] | AbstractAsyncContextManager[object]:
        """Prepare for reading and writing.

        Args:
          flags: Of open(2): ``os.O_RDONLY`` and its kin.

        Returns:
          What `read`, `write`, `truncate`, `flush` and `fsync` are asked of as long
          as the file is open, as far as it has these methods, and what has an async
          or plain ``close`` for the end.  None: the node itself.  A method decorated
          with ``@asynccontextmanager`` is entered now, in a task of its own, and left
          at the end; if it fails meanwhile, requests get EIO and the log says why.
        """
        return _nothing()

    async def read(self, size: int, offset: int) -> Buffer | FileData:
        """Return up to ``size`` bytes from ``offset``; fewer are the end of the file."""
        content = self._content
        if type(content) is bytes:
            return content[offset : offset + size]
        assert isinstance(content, SparseFile)
        return content.read(offset, size)

    async def write(self, data: memoryview, offset: int) -> int:
        """Write ``data`` at ``offset``; return the number of bytes written."""
        self._sparse().write(offset, data)
        return len(data)

    async def truncate(self, size: int) -> None:
        """Set the size: what is cut off is lost, what is added reads as zeros.

        Called for open(2) with O_TRUNC as well.
        """
        if overrides(self, "write"):
            raise FuseError(errno.EOPNOTSUPP)
        await self._sparse().truncate(size)

    async def fallocate(self, mode: int, offset: int, length: int) -> None:
        """Take or give back space: fallocate(2).

        Args:
          mode: `FallocateMode`: 0 takes space.
          offset: The first byte.
          length: How many.
        """
        content = self._stored()
        if mode & FallocateMode.PUNCH_HOLE:
            await content.punch(offset, length)
        elif mode & FallocateMode.ZERO_RANGE:
            await content.zero(offset, length)
        else:
            await content.allocate(offset, length)
        if not mode & FallocateMode.KEEP_SIZE:
            content.lengthen(offset + length)

    async def lseek(self, offset: int, whence: int) -> int:
        """Find data or a hole; a file that is elsewhere is all data, unless overridden.

        Args:
          offset: From where on; it is within the file.
          whence: ``os.SEEK_DATA`` or ``os.SEEK_HOLE``.

        Returns:
          An offset.
        """
        content, find_data = self._content, whence == os.SEEK_DATA
        if not isinstance(content, SparseFile):
            return offset if find_data else inode_of(self).attr.size
        return (
            content.seek_data(offset) if find_data else await content.seek_hole(offset)
        )

    async def copy_file_range(
        self, offset: int, target: File, target_offset: int, size: int
    ) -> int:
        """Copy some of this to another file; return the number of bytes.

        Where a store can do no better than read and write, it leaves this out: the
        kernel reads and writes then.

        Args:
          offset: From where on.
          target: The other file; may be this one.
          target_offset: The first byte to write there.
          size: At most so many bytes.
        """
        source, copy = self._stored(), target._stored()
        data = source.read(offset, min(size, _COPY_MAX))
        copy.write(target_offset, data)
        return len(data)

    async def poll(self, events: int) -> int:
        """Return which of ``select.POLLIN`` and its kin are the case.

        Call `wake_pollers` when that changes.

        Args:
          events: What the caller asks for.
        """
        raise FuseError(errno.ENOSYS)

    def wake_pollers(self) -> None:
        """Have `poll` asked again for who waits in poll(2), select(2), epoll_wait(2)."""
        inode = inode_of(self)
        if inode.owner is not None:
            inode.owner.check_thread()
            inode.owner.wake_pollers(inode)

    async def getlk(self, lock: FileLock, owner: int) -> FileLock | None:
        """Return a lock that conflicts with one that somebody would like to take.

        Without `setlk`, the kernel keeps the locks, which is enough for a store that
        nobody else uses.

        Args:
          lock: The lock.
          owner: Who asks; equal for all requests of the same owner.
        """
        return None

    async def setlk(
        self, lock: FileLock, owner: int, *, wait: bool, flock: bool
    ) -> None:
        """Take a lock, or drop one: fcntl(2), flock(2).  EAGAIN if it conflicts.

        Args:
          lock: The lock; of type ``LockType.UNLCK`` to drop what the owner has there.
          owner: Whose it is.
          wait: Whether to wait while it conflicts; any signal cancels that.
          flock: Whether it is one of flock(2), apart from those of fcntl(2).
        """
        raise FuseError(errno.ENOSYS)

    async def fsync(self, *, datasync: bool) -> None:
        """Write everything to stable storage.

        Args:
          datasync: Only what is needed to read the data again: fdatasync(2).
        """

    async def flush(self) -> None:
        """Close one descriptor; an error goes to close(2).  Comes once for each."""

    @property
    def keeps_content(self) -> bool:
        """Whether the kernel may keep what it has read until it is told otherwise."""
        return self.in_memory or self._inode.valid == math.inf

    def resized(self, size: int) -> None:
        """Note the size, and with it the space that is in use."""
        content = self._content
        blocks = None
        if isinstance(content, SparseFile):
            size, blocks = content.size, content.pages * _BLOCKS_OF_PAGE
        if self.sized:
            inode_of(self).set_size(size, blocks)

    def discard(self) -> bool:
        """Do a step on the way to no contents; return whether there is more to do."""
        content = self._content
        return isinstance(content, SparseFile) and content.discard()

    def _cost(self) -> int:
        content = self._content
        return len(content) if isinstance(content, bytes) else 0

    def _stored(self) -> SparseFile:
        """Return contents in memory; raise EOPNOTSUPP where they are elsewhere."""
        if not self.in_memory:
            raise FuseError(errno.EOPNOTSUPP)
        return self._sparse()

    def _sparse(self) -> SparseFile:
        """Return the contents in a form that can be changed."""
        content = self._content
        if isinstance(content, SparseFile):
            return content
        owner = inode_of(self).owner
        assert owner is not None  # only clients change contents piece by piece
        stored = SparseFile(owner.space)
        if content:
            stored.write(0, content)
            inode_of(self).charge(-len(content))
        self._content = stored
        return stored


async def _nothing() -> None:
    """Open nothing of its own."""
