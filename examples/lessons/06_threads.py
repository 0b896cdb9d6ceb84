"""A directory of .gz files, unpacked: ``python examples/lessons/06_threads.py SOURCE MOUNTPOINT``."""

import errno
import gzip
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs

from triofuse import FuseError, PathFilesystem, Stat, main


@attrs.define
class Unpacking:
    """A file that is being unpacked; threads take turns."""

    file: gzip.GzipFile
    turn: threading.Lock = attrs.Factory(threading.Lock)


@attrs.define
class Unpacked:
    """Plain methods, which may block: each call runs in a thread."""

    source: Path

    def packed(self, path: str) -> Path:
        """Return the packed file of a path in the mount."""
        return self.source / f"{path[1:]}.gz"

    def getattr(self, path: str) -> os.stat_result | Stat:
        if path == "/":
            return os.stat(self.source)
        found = os.stat(self.packed(path))  # raises FileNotFoundError: ENOENT
        # No size: to know it, all of the file would have to be unpacked.
        return Stat(mode=stat.S_IFREG | 0o444, mtime_ns=found.st_mtime_ns)

    def readdir(self, path: str) -> Iterator[str]:
        return (file.stem for file in self.source.glob("*.gz"))

    def open(self, path: str, flags: int) -> Unpacking:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise FuseError(errno.EROFS)
        return Unpacking(gzip.open(self.packed(path)))

    def read(self, path: str, size: int, offset: int, handle: Unpacking) -> bytes:
        with handle.turn:
            handle.file.seek(offset)
            return handle.file.read(size)

    def release(self, path: str, handle: Unpacking) -> None:
        handle.file.close()


def make(source: Path, *, threads: int = 4) -> PathFilesystem:
    """Show the .gz files of a directory as if they were unpacked.

    Args:
      source: The directory.
      threads: The most calls at a time.
    """
    return PathFilesystem(Unpacked(source), threads=threads)


if __name__ == "__main__":
    main(make)
