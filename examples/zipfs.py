"""The files of a zip archive: ``zipfs.py ARCHIVE MOUNTPOINT``.

A member is unpacked while it is read, in a thread: other requests are served meanwhile.
What is open is an object of its own, with the place up to which it was unpacked.
"""

import time
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from triofuse import Directory, File, Stat, Threads, Tree, blocking, main


class OpenMember:
    """A member that somebody reads."""

    def __init__(self, archive: ZipFile, info: ZipInfo) -> None:
        self.file = archive.open(info)
        self.close = self.file.close  # called when nobody has it open any more

    @blocking(threads=Threads(1))
    def read(self, size: int, offset: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)


class Member(File):
    """A file of the archive."""

    def __init__(self, archive: ZipFile, info: ZipInfo) -> None:
        seconds = int(time.mktime((*info.date_time, 0, 0, -1)))
        super().__init__(stat=Stat(size=info.file_size, mtime_ns=seconds * 10**9))
        self.archive, self.info = archive, info

    async def open(self, flags: int) -> OpenMember:
        return OpenMember(self.archive, self.info)


def make(source: Path) -> Tree:
    """Show the files of a zip archive."""
    archive, root = ZipFile(source), Directory()
    for info in archive.infolist():
        *parents, name = PurePosixPath(info.filename.lstrip("/")).parts
        folder = root.makedirs(*parents)  # an archive need not list them
        node = Directory() if info.is_dir() else Member(archive, info)
        folder.setdefault(name, node)
    return Tree(root)


if __name__ == "__main__":
    main(make)
