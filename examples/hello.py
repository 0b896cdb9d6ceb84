"""The smallest useful filesystem: one directory with one file to read.

Run ``python examples/hello.py MOUNTPOINT``, read ``MOUNTPOINT/hello``, and end it with
``umount MOUNTPOINT``; with ``--debug`` see each request.  It leaves out whatever changes anything: clients
get "Read-only file system".
"""

import errno

import triofuse

TEXT = b"Hello from trio!\n"
ROOT = triofuse.FileAttr.directory(1)
HELLO = triofuse.FileAttr.file(2, size=len(TEXT), mode=0o444)


class Hello(triofuse.Filesystem):
    """A directory that holds one file."""

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        if request.name != "hello":
            raise triofuse.FuseError(errno.ENOENT)
        return triofuse.Entry(HELLO)

    async def getattr(self, request: triofuse.Getattr) -> triofuse.FileAttr:
        return ROOT if request.nodeid == ROOT.ino else HELLO

    async def readdir(self, request: triofuse.Readdir) -> list[triofuse.DirEntry]:
        return [triofuse.DirEntry("hello", HELLO.ino, HELLO.mode)]

    async def read(self, request: triofuse.Read) -> bytes:
        return TEXT[request.offset : request.offset + request.size]


if __name__ == "__main__":
    triofuse.main(Hello, foreground=True)
