"""Regular files."""

from __future__ import annotations

import errno
import math
from collections.abc import Hashable

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Buffer, FileData
from triofuse.posix.sparse import SparseFile
from triofuse.tree.node import Node, check_type, inode_of, overrides
from triofuse.tree.stat import Stat, apply

__all__ = ["File"]


class File(Node):
    """A regular file.

    As it is, it holds its contents in memory.  Override `read` for contents that come
    from elsewhere, and `write` and `truncate` to have them changed there.

    Args:
      content: What is in it: bytes, or text, which is encoded in UTF-8.
      writable: Whether clients may change it.  Default: whether `write` is
        overridden.
      key, stat, valid: As for `Node`.  Give ``stat=Stat(size=...)`` where `read` is
        overridden and the size is known.  Where it is not, the kernel is told to read
        until the end (direct I/O), and stat(2) shows 0.
    """

    __slots__ = ("_content", "_writable", "sized")

    def __init__(
        self,
        content: bytes | str = b"",
        *,
        writable: bool | None = None,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        check_type(content, bytes | str, "the content of a File is bytes or str")
        data = content.encode() if isinstance(content, str) else content
        self._content: bytes | SparseFile = data
        own = overrides(self, "read", File)
        self._writable = (
            overrides(self, "write", File) if writable is None else writable
        )
        #: Whether the size is known.
        self.sized = not own or (stat is not None and stat.size is not None)
        super().__init__(key=key, stat=stat, valid=valid)
        if not own:
            apply(self._inode.attr, Stat(size=len(data)))

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
        if isinstance(self._content, SparseFile):
            while self._content.discard():
                pass
        self._content = data
        apply(inode.attr, Stat(size=len(data)))
        inode.modified()
        if inode.owner is not None:
            inode.owner.data_changed(inode)

    async def open(self, flags: int) -> object:
        """Prepare for reading and writing.

        Args:
          flags: Of open(2): ``os.O_RDONLY`` and its kin.

        Returns:
          What `read`, `write`, `truncate`, `flush` and `fsync` are asked of as long
          as the file is open, as far as it has these methods, and what has an async
          or plain ``close`` for the end.  None: the node itself.  A method decorated
          with ``@asynccontextmanager`` is entered now and left at the end.
        """
        return None

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
        if overrides(self, "write", File):
            raise FuseError(errno.EOPNOTSUPP)
        await self._sparse().truncate(size)

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
        return not overrides(self, "read", File) or self._inode.valid == math.inf

    def stored(self) -> SparseFile | None:
        """Return the contents in memory; None where they are elsewhere."""
        return None if overrides(self, "read", File) else self._sparse()

    def resized(self, size: int) -> None:
        """Note the size, and with it the space that is in use."""
        content = self._content
        blocks = content.pages * 8 if isinstance(content, SparseFile) else None
        if self.sized:
            apply(inode_of(self).attr, Stat(size=size, blocks=blocks))

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
        self._content = stored
        return stored
