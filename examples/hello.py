"""The smallest useful filesystem: one directory with one file to read.

Run ``python examples/hello.py MOUNTPOINT``, read ``MOUNTPOINT/hello`` from another
terminal, and end with Ctrl-C.  It leaves out whatever changes anything: clients
get "Read-only file system".
"""

import argparse
import errno
import logging
import stat

import triofuse

TEXT = b"Hello from trio!\n"
ROOT = triofuse.FileAttr(ino=1, mode=stat.S_IFDIR | 0o755, nlink=2)
HELLO = triofuse.FileAttr(ino=2, mode=stat.S_IFREG | 0o444, size=len(TEXT))


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


def main() -> None:
    """Mount where the command line says, and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("mountpoint")
    parser.add_argument("-o", metavar="OPTIONS", default="", help="as of mount(8)")
    parser.add_argument("--debug", action="store_true", help="log every request")
    args = parser.parse_args()
    if args.debug:
        logging.basicConfig(level=logging.DEBUG)
    options = triofuse.MountOptions.parse(args.o)
    triofuse.run(Hello(), args.mountpoint, options)


if __name__ == "__main__":
    main()
