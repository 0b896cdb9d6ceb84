"""Owners of locks, as the kernel would ask on their behalf."""

from __future__ import annotations

import errno
from typing import TypeVar

import attrs

import triofuse as t

RD, WR, UN = (int(kind) for kind in t.LockType)

#: The last byte of any file.
END = 2**63 - 1

R = TypeVar("R", bound=t.Getlk)


@attrs.frozen
class Owner:
    """A process, or with ``flock`` an open file, that locks one file.

    Attributes:
      number: The kernel's number for the owner.
      fh: The handle that the requests come through.
    """

    table: t.LockTable
    number: int
    fh: int = 1
    nodeid: int = 5
    flock: bool = False

    @property
    def pid(self) -> int:
        return 1000 + self.number

    def request(self, kind: type[R], type_: int, start: int = 0, end: int = END) -> R:
        """Return a request for a lock."""
        lock = t.FileLock(start, end, type_, self.pid)
        flags = t.LockFlags.FLOCK if self.flock else 0
        header = (0, self.nodeid, 0, 0, self.pid)
        return kind(*header, self.fh, self.number, lock, flags)

    def getlk(self, type_: int, start: int = 0, end: int = END) -> t.FileLock:
        return self.table.getlk(self.request(t.Getlk, type_, start, end))

    def setlk(self, type_: int, start: int = 0, end: int = END) -> bool:
        """Take or drop a lock; return whether that was possible."""
        try:
            self.table.setlk(self.request(t.Setlk, type_, start, end))
        except t.FuseError as exc:
            if exc.errno != errno.EAGAIN:
                raise
            return False
        return True

    async def setlkw(self, type_: int, start: int = 0, end: int = END) -> None:
        await self.table.setlkw(self.request(t.Setlkw, type_, start, end))

    def flush(self) -> None:
        """Close a descriptor."""
        self.table.flush(t.Flush(0, self.nodeid, 0, 0, 0, self.fh, self.number))

    def release(self, fh: int | None = None) -> None:
        """Close the last descriptor."""
        flags = t.ReleaseFlags.FLOCK_UNLOCK if self.flock else 0
        owner = self.number if self.flock else 0
        fh = self.fh if fh is None else fh
        self.table.release(t.Release(0, self.nodeid, 0, 0, 0, fh, 0, flags, owner))
