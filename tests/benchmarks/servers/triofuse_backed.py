"""The files of a directory, with triofuse; ``source`` in `Shape` says which."""

from __future__ import annotations

import os

import triofuse
from tests.benchmarks.shape import Shape
from triofuse import Entry, FileAttr, FileData, Opened, OpenFlags


class Backed(triofuse.Filesystem):
    """Opens, reads and writes what lies in one directory; flat."""

    def __init__(self, shape: Shape) -> None:
        self._source = os.open(shape.source, os.O_RDONLY | os.O_DIRECTORY)
        self._valid = shape.valid
        self._flags = OpenFlags.DIRECT_IO if shape.io == "direct" else 0
        self._names = {1: "."}

    def _attr(self, nodeid: int) -> FileAttr:
        status = os.stat(self._names[nodeid], dir_fd=self._source)
        return FileAttr.from_stat(status, ino=nodeid, attr_valid=self._valid)

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        status = os.stat(request.name, dir_fd=self._source)
        self._names[status.st_ino] = request.name
        return Entry(self._attr(status.st_ino), entry_valid=self._valid)

    async def getattr(self, request: triofuse.Getattr) -> FileAttr:
        return self._attr(request.nodeid)

    async def open(self, request: triofuse.Open) -> Opened:
        name, flags = self._names[request.nodeid], request.flags & os.O_ACCMODE
        return Opened(os.open(name, flags, dir_fd=self._source), self._flags)

    async def read(self, request: triofuse.Read) -> FileData:
        return FileData(request.fh, request.offset, request.size)

    async def write(self, request: triofuse.Write) -> int:
        return os.pwrite(request.fh, request.data, request.offset)

    async def release(self, request: triofuse.Release) -> None:
        os.close(request.fh)


def main() -> None:
    mountpoint, shape = Shape.read()
    triofuse.run(Backed(shape), mountpoint)


if __name__ == "__main__":
    main()
