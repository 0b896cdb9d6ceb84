"""Files that select(2), poll(2) and epoll(7) can wait for.

Run ``python examples/poll.py MOUNTPOINT``.  ``MOUNTPOINT/tick`` has something to read
once in a while, ``MOUNTPOINT/queue`` when somebody has written to it: read them with
``cat``, or wait for them with whatever polls; write with ``echo hello >
MOUNTPOINT/queue``.  It leaves out any limit to what the queue takes, and what is not
about waiting.
"""

import errno
import os
import select
import stat
from collections import deque

import trio

import triofuse

ROOT = triofuse.FileAttr(ino=1, mode=stat.S_IFDIR | 0o755, nlink=2)
TICK = triofuse.FileAttr(ino=2, mode=stat.S_IFREG | 0o444)
QUEUE = triofuse.FileAttr(ino=3, mode=stat.S_IFREG | 0o666)
FILES = {"tick": TICK, "queue": QUEUE}


class Stream:
    """What was put in and not read yet; each message is read once, whole."""

    def __init__(self, filesystem: triofuse.Filesystem) -> None:
        self.messages: deque[bytes] = deque()
        self.ready = triofuse.Readiness(filesystem)

    async def put(self, message: bytes) -> None:
        """Put a message in, and wake who polls or waits."""
        self.messages.append(message)
        await self.ready.set(select.POLLIN)

    async def take(self, size: int, *, wait: bool) -> bytes:
        """Take a message out, or as much of it as is wanted."""
        while not self.messages:
            if not wait:
                raise triofuse.FuseError(errno.EAGAIN)
            await self.ready.wait(select.POLLIN)
        message = self.messages.popleft()
        if len(message) > size:
            self.messages.appendleft(message[size:])
        if not self.messages:
            self.ready.clear(select.POLLIN)
        return message[:size]


class PollFS(triofuse.Filesystem):
    """A directory of two streams.

    Args:
      every: Seconds of a tick.
    """

    def __init__(self, every: float = 1.0) -> None:
        self.every = every
        self.streams = {attr.ino: Stream(self) for attr in FILES.values()}

    async def run(self) -> None:
        """Put a line into ``tick`` again and again, beside the requests."""
        number = 0
        while True:
            await trio.sleep(self.every)
            number += 1
            await self.streams[TICK.ino].put(b"tick %d\n" % number)

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        if request.name not in FILES:
            raise triofuse.FuseError(errno.ENOENT)
        return triofuse.Entry(FILES[request.name])

    async def getattr(self, request: triofuse.Getattr) -> triofuse.FileAttr:
        by_number = {attr.ino: attr for attr in (ROOT, *FILES.values())}
        return by_number[request.nodeid]

    async def setattr(self, request: triofuse.Setattr) -> triofuse.FileAttr:
        return QUEUE  # for the shell's "> queue", which truncates

    async def readdir(self, request: triofuse.Readdir) -> list[triofuse.DirEntry]:
        return [triofuse.DirEntry(name, a.ino, a.mode) for name, a in FILES.items()]

    async def open(self, request: triofuse.Open) -> triofuse.Opened:
        # A stream: nothing of it is cached, it has no positions, and no size.
        flags = triofuse.OpenFlags
        return triofuse.Opened(flags=flags.DIRECT_IO | flags.STREAM)

    async def read(self, request: triofuse.Read) -> bytes:
        stream = self.streams[request.nodeid]
        wait = not request.flags & os.O_NONBLOCK
        return await stream.take(request.size, wait=wait)

    async def write(self, request: triofuse.Write) -> int:
        await self.streams[request.nodeid].put(bytes(request.data))
        return len(request.data)

    async def poll(self, request: triofuse.Poll) -> int:
        writable = select.POLLOUT if request.nodeid == QUEUE.ino else 0
        ready = self.streams[request.nodeid].ready.poll(request)
        return ready | writable & request.events


if __name__ == "__main__":
    triofuse.main(PollFS, foreground=True)
