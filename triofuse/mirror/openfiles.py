"""What is open in the mirror: each handle is a descriptor of SOURCE's file.

Descriptors are shared out by user, so that nobody can use up all of them.  And a file
behind an open one is given to the kernel with the rights of who writes: the kernel
writes with them for all that have the file open, and root's share of a full disk is
for nobody else.  Where root and others write to one file at a time, those that came
later write through the mirror.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import attrs

from triofuse.filesystem.replies import Opened
from triofuse.filesystem.requests import Request
from triofuse.mirror import libc
from triofuse.mirror.credentials import ids_of, writing_as
from triofuse.mirror.shares import Shares

_AS_WE_ARE = nullcontext()


@attrs.define(eq=False)
class _OpenFile:
    user: int | None  # whose share it is
    nodeid: int = 0
    writer: tuple[int, int] | None = None  # uid and gid


@attrs.define(eq=False)
class _Behind:
    """With whose rights the kernel writes to an inode, while it is open."""

    is_root: bool
    opens: int = 0


class OpenFiles:
    """A table of open files and directories.

    Args:
      size: How many descriptors they may take.
      backed: Whether the kernel may read and write by itself.
    """

    def __init__(self, size: int, *, backed: bool) -> None:
        self._shares = Shares(max(size, 4))
        self._backed = backed
        self._files: dict[int, _OpenFile] = {}
        self._behind: dict[int, _Behind] = {}

    def open(self, request: Request, act: Callable[[], int]) -> int:
        """Open something for the caller, and return its handle.

        Raises:
          OSError: EMFILE: this user has its share open; or what ``act`` raises.
        """
        user = self._shares.take(lambda: ids_of(request)[0])
        try:
            fd = act()
        except BaseException:
            self._shares.give(user)
            raise
        self._files[fd] = _OpenFile(user)
        return fd

    def close(self, fd: int) -> None:
        """Close what was opened; its number may be another's the moment after."""
        file = self._files.pop(fd)
        self._shares.give(file.user)
        behind = self._behind.get(file.nodeid)
        if behind is not None:
            behind.opens -= 1
            if not behind.opens:
                del self._behind[file.nodeid]
        os.close(fd)

    def answer(self, request: Request, nodeid: int, fd: int, flags: int) -> Opened:
        """Return the answer for a regular file that was opened with ``flags``."""
        if flags & os.O_DIRECT:  # it wants aligned memory, which we have not
            kept = os.O_NOATIME | os.O_APPEND
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & kept)
        file = self._files[fd]
        file.nodeid = nodeid
        if flags & libc.O_ACCMODE:
            file.writer = ids_of(request)
        return self._backed_answer(file, fd) if self._backed else Opened(fd)

    def has_writer(self, nodeid: int) -> bool:
        """Whether somebody has an inode open for writing."""
        return any(f.nodeid == nodeid and f.writer for f in self._files.values())

    def as_writer(self, fd: int) -> AbstractContextManager[None]:
        """Act as who has opened a file for writing: not as root, unless it was root.

        Later writes are those of the file's, whoever makes them: the kernel itself
        writes what was changed in a mapping.
        """
        writer = self._files[fd].writer
        if writer is None or not writer[0]:
            return _AS_WE_ARE
        return writing_as(*writer)

    def _backed_answer(self, file: _OpenFile, fd: int) -> Opened:
        behind = self._behind.get(file.nodeid)
        ids = file.writer
        if ids is None:
            # Who reads leaves it to the owner, who is the likeliest to write.
            status = os.fstat(fd)
            ids = status.st_uid, status.st_gid
        if behind is None:
            behind = self._behind[file.nodeid] = _Behind(is_root=not ids[0])
        behind.opens += 1
        if file.writer is not None and behind.is_root != (not ids[0]):
            return Opened(fd)
        backing_as = writing_as(*ids) if any(ids) else None
        return Opened(fd, backing_fd=fd, backing_as=backing_as)
