"""The files of a zip archive: ``zipfs.py ARCHIVE MOUNTPOINT``.

A member is unpacked while it is read, in a thread: others are served meanwhile.  What
is open is an object of its own, with the place up to which it was unpacked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import IO
from zipfile import ZipFile, ZipInfo

import trio

import triofuse
from triofuse import Directory, Stat


class Member(triofuse.File):
    """A file of the archive."""

    def __init__(self, archive: ZipFile, info: ZipInfo) -> None:
        times = int(time.mktime((*info.date_time, 0, 0, -1))) * 10**9
        super().__init__(stat=Stat(size=info.file_size, mtime_ns=times))
        self.archive, self.info = archive, info

    @asynccontextmanager
    async def open(self, flags: int) -> AsyncIterator[OpenMember]:
        with self.archive.open(self.info) as file:
            yield OpenMember(file)


class OpenMember:
    """A member that somebody reads."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.turn = file, trio.Lock()

    async def read(self, size: int, offset: int) -> bytes:
        async with self.turn:
            return await trio.to_thread.run_sync(self.unpack, size, offset)

    def unpack(self, size: int, offset: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)


def tree_of(archive: ZipFile) -> triofuse.Tree:
    """Return the members as a tree; archives need not list their directories."""
    root = Directory()
    for info in archive.infolist():
        folder, parts = root, PurePosixPath("/", info.filename).parts[1:]
        for part in parts if info.is_dir() else parts[:-1]:
            folder = folder.setdefault(part, Directory())
        if not info.is_dir():
            folder[parts[-1]] = Member(archive, info)
    return triofuse.Tree(root)


if __name__ == "__main__":
    with ZipFile(sys.argv[1]) as archive:
        triofuse.run(tree_of(archive), sys.argv[2])
