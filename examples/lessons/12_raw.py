"""The protocol by hand, without triofuse: ``python examples/lessons/12_raw.py MOUNTPOINT``."""

import errno
import os
import socket
import stat
import subprocess
import sys
from struct import Struct, pack

import trio

VALID = 60  # seconds for which the kernel need not ask again
TEXT = b"Hello from bytes!\n"
IN_HEADER = Struct("=IIQQIIII")  # length opcode unique nodeid uid gid pid ...
OUT_HEADER = Struct("=IiQ")  # length, -errno, unique
ATTR = Struct("=6Q10I")  # ino size blocks 3*time 3*nsec mode nlink uid gid rdev ...
NAMES = {1: "LOOKUP", 3: "GETATTR", 14: "OPEN", 15: "READ", 18: "RELEASE", 26: "INIT"}
NAMES |= {17: "STATFS", 25: "FLUSH", 27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR"}
NO_REPLY = (2, 36, 38, 42)  # FORGET, INTERRUPT, DESTROY, BATCH_FORGET


def mount(mountpoint: str) -> int:
    """Have fusermount3, which is set-uid root, mount; return the open /dev/fuse."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run(
            ["fusermount3", "-o", "fsname=raw", "--", mountpoint],
            env={"_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            check=True,
        )
        return socket.recv_fds(ours, 1, 1)[1][0]


def attr(nodeid: int) -> bytes:
    """Return struct fuse_attr: node 1 is the root, node 2 the file."""
    mode = stat.S_IFDIR | 0o755 if nodeid == 1 else stat.S_IFREG | 0o444
    size = len(TEXT) if nodeid == 2 else 0
    owner = os.getuid(), os.getgid()
    return ATTR.pack(nodeid, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, *owner, 0, 4096, 0)


def answer(name: str, nodeid: int, body: bytes) -> bytes:
    """Return the body of a reply.  ``body`` is that of the request."""
    if name == "INIT":  # version 7.31, reads ahead 128 KiB, writes of 128 KiB
        return pack("=IIIIHHIIHH32x", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0)
    if name == "LOOKUP" and body == b"hello\0":
        return pack("=QQQQII", 2, 0, VALID, VALID, 0, 0) + attr(2)
    if name == "GETATTR":
        return pack("=QII", VALID, 0, 0) + attr(nodeid)
    if name == "STATFS":
        return bytes(80)
    if name in ("OPEN", "OPENDIR"):
        return pack("=QII", 0, 0, 0)  # a handle, flags
    if name in ("READ", "READDIR"):
        _, offset, size = Struct("=QQI").unpack_from(body)
        if name == "READ":
            return TEXT[offset : offset + size]
        entry = pack("=QQII8s", 2, 1, 5, stat.S_IFREG >> 12, b"hello")
        return b"" if offset else entry  # 1 is the place behind this entry
    if name in ("RELEASE", "RELEASEDIR"):
        return b""
    raise OSError(errno.ENOENT if name == "LOOKUP" else errno.ENOSYS, "")


async def serve(device: int) -> None:
    """Answer requests, one at a time, until the filesystem is unmounted."""
    os.set_blocking(device, False)
    while True:
        await trio.lowlevel.wait_readable(device)
        try:
            request = os.read(device, (1 << 17) + 4096)  # one read is one request
        except BlockingIOError:
            continue
        except OSError:  # ENODEV: unmounted
            return
        _, opcode, unique, nodeid, *_ = IN_HEADER.unpack_from(request)
        if opcode in NO_REPLY:
            continue
        name, error, reply = NAMES.get(opcode, str(opcode)), 0, b""
        try:
            reply = answer(name, nodeid, request[IN_HEADER.size :])
        except OSError as exc:
            error = -(exc.errno or errno.EIO)
        print(
            name, f"node {nodeid}", request[IN_HEADER.size :].hex(" ", -4), flush=True
        )
        header = OUT_HEADER.pack(OUT_HEADER.size + len(reply), error, unique)
        os.write(device, header + reply)


if __name__ == "__main__":
    trio.run(serve, mount(sys.argv[1]))
