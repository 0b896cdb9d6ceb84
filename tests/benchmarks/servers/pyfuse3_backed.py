"""The files of a directory, with pyfuse3; ``source`` in `Shape` says which."""

from __future__ import annotations

import os

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext

from tests.benchmarks.servers.pyfuse3_server import serve
from tests.benchmarks.shape import Shape


class Backed(pyfuse3.Operations):
    """Opens, reads and writes what lies in one directory; flat."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._source = os.open(shape.source, os.O_RDONLY | os.O_DIRECTORY)
        self._valid = shape.valid
        self._direct = shape.io == "direct"
        self._names = {1: b"."}

    def _attr(self, inode: int) -> EntryAttributes:
        status = os.stat(self._names[inode], dir_fd=self._source)
        attr = EntryAttributes()
        attr.st_ino = inode
        attr.st_mode = status.st_mode
        attr.st_nlink = status.st_nlink
        attr.st_uid, attr.st_gid = status.st_uid, status.st_gid
        attr.st_size = status.st_size
        attr.st_blksize, attr.st_blocks = status.st_blksize, status.st_blocks
        attr.st_atime_ns = status.st_atime_ns
        attr.st_mtime_ns = status.st_mtime_ns
        attr.st_ctime_ns = status.st_ctime_ns
        attr.attr_timeout = attr.entry_timeout = self._valid
        return attr

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        try:
            status = os.stat(name, dir_fd=self._source)
        except OSError as exc:
            raise FUSEError(exc.errno or 0) from None
        self._names[status.st_ino] = name
        return self._attr(status.st_ino)

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._attr(inode)

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        fd = os.open(self._names[inode], flags & os.O_ACCMODE, dir_fd=self._source)
        return FileInfo(fh=fd, direct_io=self._direct, keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return os.pread(fh, size, off)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return os.pwrite(fh, buf, off)

    async def release(self, fh: int) -> None:
        os.close(fh)


def main() -> None:
    mountpoint, shape = Shape.read()
    serve(Backed(shape), mountpoint)


if __name__ == "__main__":
    main()
