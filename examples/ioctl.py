"""Commands of ioctl(2): on a file and on a directory, in both directions, of any size.

Run ``python examples/ioctl.py MOUNTPOINT``, and ``python examples/ioctl.py
--client MOUNTPOINT``: it calls every command and says what came back.

The number of a command says which way its data goes and how many bytes they are; the
kernel copies exactly these, and the filesystem never sees an address of the caller's.
The other way, where the filesystem asks for memory of the caller's by address, is for
character devices (CUSE) only.  It leaves out writing: ``text`` changes by ioctl alone.
"""

import errno
import fcntl
import os
import stat
import struct
import sys

import triofuse

_WRITE, _READ = 1, 2  # as the caller sees it: _IOW passes data in, _IOR gets some
_UINT64 = struct.Struct("=Q")
_LABEL = struct.Struct("=16s")
_MAX_SIZE = 1 << 20


def _ioc(direction: int, number: int, size: int) -> int:
    """Return a command as ``_IOC`` of asm-generic/ioctl.h does: 2, 14, 8, 8 bits."""
    return direction << 30 | size << 16 | ord("t") << 8 | number


def _kind(command: int) -> int:
    """Return a command without its size."""
    return command & ~(0x3FFF << 16)


# Of the file
GET_SIZE = _ioc(_READ, 1, _UINT64.size)
SET_SIZE = _ioc(_WRITE, 2, _UINT64.size)
UPPER = _ioc(_READ | _WRITE, 3, 0)  # and as many bytes as there are
# Of the directory
GET_LABEL = _ioc(_READ, 16, _LABEL.size)
SET_LABEL = _ioc(_WRITE, 17, _LABEL.size)
SWAP_LABEL = _ioc(_READ | _WRITE, 18, _LABEL.size)


class Commands(triofuse.Filesystem):
    """A directory that has a label, and one file that grows and shrinks by command."""

    def __init__(self) -> None:
        self.text = b"some text\n"
        self.label = b"unnamed"

    def _attr(self, nodeid: int) -> triofuse.FileAttr:
        if nodeid == 1:
            mode = stat.S_IFDIR | 0o755
            return triofuse.FileAttr(ino=1, mode=mode, nlink=2)
        mode, size = stat.S_IFREG | 0o444, len(self.text)
        # The size changes behind the kernel's back: it is to ask each time.
        return triofuse.FileAttr(ino=2, mode=mode, size=size, attr_valid=0)

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        if request.name != "text":
            raise triofuse.FuseError(errno.ENOENT)
        return triofuse.Entry(self._attr(2))

    async def getattr(self, request: triofuse.Getattr) -> triofuse.FileAttr:
        return self._attr(request.nodeid)

    async def readdir(self, request: triofuse.Readdir) -> list[triofuse.DirEntry]:
        return [triofuse.DirEntry("text", ino=2, mode=stat.S_IFREG)]

    async def read(self, request: triofuse.Read) -> bytes:
        return self.text[request.offset : request.offset + request.size]

    async def ioctl(self, request: triofuse.Ioctl) -> triofuse.IoctlReply:
        if request.flags & triofuse.IoctlFlags.DIR:
            return self._of_directory(request)
        return self._of_file(request)

    def _of_file(self, request: triofuse.Ioctl) -> triofuse.IoctlReply:
        match request.cmd:
            case c if c == GET_SIZE:
                return triofuse.IoctlReply(data=_UINT64.pack(len(self.text)))
            case c if c == SET_SIZE:
                (size,) = _UINT64.unpack(request.data)
                if size > _MAX_SIZE:
                    raise triofuse.FuseError(errno.EFBIG)
                self.text = self.text[:size].ljust(size, b"\0")
                return triofuse.IoctlReply()
            case c if _kind(c) == UPPER:
                text = bytes(request.data).upper()
                changed = sum(map(int.__ne__, text, request.data))
                # What ioctl(2) itself returns: a number not below 0, of your choice.
                return triofuse.IoctlReply(result=changed, data=text)
        raise triofuse.FuseError(errno.ENOTTY)

    def _of_directory(self, request: triofuse.Ioctl) -> triofuse.IoctlReply:
        if request.cmd not in {GET_LABEL, SET_LABEL, SWAP_LABEL}:
            raise triofuse.FuseError(errno.ENOTTY)
        answer = _LABEL.pack(self.label)
        if request.in_size:
            self.label = bytes(request.data).rstrip(b"\0")
        return triofuse.IoctlReply(data=answer if request.out_size else b"")


# --- What a program calls.  fcntl.ioctl changes a bytearray in place.


def get_size(fd: int) -> int:
    """Return the size of the file."""
    buffer = bytearray(_UINT64.size)
    fcntl.ioctl(fd, GET_SIZE, buffer)
    (size,) = _UINT64.unpack(buffer)
    return int(size)


def set_size(fd: int, size: int) -> None:
    """Cut the file off, or let it grow."""
    fcntl.ioctl(fd, SET_SIZE, _UINT64.pack(size))


def upper(fd: int, text: bytes) -> tuple[int, bytes]:
    """Return how many letters changed, and the text in capitals."""
    buffer = bytearray(text)
    changed = fcntl.ioctl(fd, UPPER | len(buffer) << 16, buffer)
    return changed, bytes(buffer)


def get_label(fd: int) -> bytes:
    """Return the label of the directory."""
    buffer = bytearray(_LABEL.size)
    fcntl.ioctl(fd, GET_LABEL, buffer)
    return bytes(buffer).rstrip(b"\0")


def set_label(fd: int, label: bytes) -> None:
    """Give the directory a label of up to 16 bytes."""
    fcntl.ioctl(fd, SET_LABEL, _LABEL.pack(label))


def swap_label(fd: int, label: bytes) -> bytes:
    """Give the directory a label and return the one it had."""
    buffer = bytearray(_LABEL.pack(label))
    fcntl.ioctl(fd, SWAP_LABEL, buffer)
    return bytes(buffer).rstrip(b"\0")


def client(mountpoint: str) -> None:
    """Call every command."""
    file = os.open(os.path.join(mountpoint, "text"), os.O_RDONLY)
    directory = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    print("size:", get_size(file))
    set_size(file, 4)
    print("cut to:", os.read(file, 100))
    print("in capitals:", upper(file, b"any number of bytes"))
    print("label:", get_label(directory))
    set_label(directory, b"first")
    print("label before:", swap_label(directory, b"second"))
    print("label now:", get_label(directory))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        client(sys.argv[2])
    else:
        triofuse.main(Commands, foreground=True)
