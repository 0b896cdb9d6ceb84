"""Files whose contents come from elsewhere: from a function, from the disk."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Awaitable, Callable, Hashable

from triofuse.filesystem.flags import O_ACCMODE
from triofuse.filesystem.replies import FileData
from triofuse.tree.file import File
from triofuse.tree.node import check_type
from triofuse.tree.stat import Stat

__all__ = ["DiskFile", "Generated"]

#: Makes contents: plain or async, bytes or text.
_Make = Callable[[], bytes | str | Awaitable[bytes | str]]


async def _called(make: _Make) -> bytes:
    made: object = make()
    if inspect.isawaitable(made):
        made = await made
    if isinstance(made, str):
        return made.encode()
    name = getattr(make, "__qualname__", repr(make))
    check_type(made, bytes | str, f"{name}() is to return bytes or str")
    assert isinstance(made, bytes)
    return made


def check_callable(make: object) -> None:
    """Raise TypeError for what makes nothing."""
    if not callable(make):
        message = f"Generated takes a function that makes the contents, not {make!r}"
        raise TypeError(message)


class Generated(File):
    """A file whose contents are made anew each time it is opened.

    Args:
      make: Returns the contents: bytes or text; may be async.
      sized: Make the contents at stat(2) too, so that the size is known.  Programs
        like tar(1) and rsync(1) store nothing of a file whose size is 0.
      accept: Takes what was written, at close(2); may be async.  What it raises is
        the error of close(2).
      key, stat, valid: As for `Node`.
    """

    __slots__ = ("_accept", "_made", "_make", "_newest")

    def __init__(
        self,
        make: _Make,
        *,
        sized: bool = False,
        accept: Callable[[bytes], object] | None = None,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        check_callable(make)
        self._make, self._accept = make, accept
        self._made: bytes | None = None
        self._newest: _GeneratedContent | None = None
        if valid is None:
            valid = 0.0 if sized else math.inf
        super().__init__(writable=accept is not None, key=key, stat=stat, valid=valid)
        self.sized = False  # read until the end, whatever stat(2) has shown
        if sized:
            self._inode.fresh_until = -math.inf

    async def refresh(self) -> Stat | None:
        """Make the contents to see their size; the next open gets them."""
        if self._inode.valid == math.inf:
            return None
        if self._newest is not None:  # who has it open asks with fstat(2), too
            return Stat(size=self._newest.size)
        self._made = await _called(self._make)
        return Stat(size=len(self._made))

    async def open(self, flags: int) -> object:
        """Make the contents."""
        made, self._made = self._made, None
        if flags & os.O_TRUNC or flags & O_ACCMODE == os.O_WRONLY:
            made = b""
        elif made is None:
            made = await _called(self._make)
        self._newest = _GeneratedContent(bytearray(made), self._accept, self._forget)
        return self._newest

    def _forget(self, content: _GeneratedContent) -> None:
        if self._newest is content:
            self._newest = None

    async def truncate(self, size: int) -> None:
        """Accept any size: what counts is what is written."""


class _GeneratedContent:
    """The contents of one open file."""

    def __init__(
        self,
        content: bytearray,
        accept: Callable[[bytes], object] | None,
        forget: Callable[[_GeneratedContent], None],
    ) -> None:
        self._content, self._accept, self._forget = content, accept, forget
        self._written = False

    @property
    def size(self) -> int:
        return len(self._content)

    def close(self) -> None:
        self._forget(self)

    async def read(self, size: int, offset: int) -> bytes:
        return bytes(self._content[offset : offset + size])

    async def write(self, data: memoryview, offset: int) -> int:
        content = self._content
        content.extend(bytes(max(offset - len(content), 0)))
        content[offset : offset + len(data)] = data
        self._written = True
        return len(data)

    async def truncate(self, size: int) -> None:
        del self._content[size:]
        self._content.extend(bytes(size - len(self._content)))
        self._written = True

    async def flush(self) -> None:
        if self._written and self._accept is not None:
            self._written = False
            accepted = self._accept(bytes(self._content))
            if inspect.isawaitable(accepted):
                await accepted


class DiskFile(File):
    """A file of the disk, which is read as it is there.

    The kernel reads it by itself where it may (passthrough), else the runtime does.

    Args:
      path: Where it is.
      key, stat, valid: As for `Node`; attributes are those of the file.
    """

    __slots__ = ("_path",)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        self._path = os.fspath(path)
        super().__init__(key=key, valid=valid)
        found = Stat.from_stat(os.stat(self._path))
        self._inode.apply(found)
        self._inode.set_nlink(0)
        if stat is not None:
            self._inode.apply(stat)
        self.sized = True

    async def refresh(self) -> Stat | None:
        """Return the file's size and times."""
        found = os.stat(self._path)
        return Stat(
            size=found.st_size,
            blocks=found.st_blocks,
            mtime_ns=found.st_mtime_ns,
            ctime_ns=found.st_ctime_ns,
        )

    async def open(self, flags: int) -> object:
        """Open the file."""
        return _OpenDiskFile(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))


class _OpenDiskFile:
    def __init__(self, fd: int) -> None:
        self.backing_fd = fd

    async def read(self, size: int, offset: int) -> FileData:
        return FileData(self.backing_fd, offset, size)

    def close(self) -> None:
        os.close(self.backing_fd)
