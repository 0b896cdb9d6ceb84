"""Files that change under readers whose kernel caches them for ever.

Run ``python examples/notify.py MOUNTPOINT``.  The kernel may keep names, attributes
and data for an hour, so ``cat MOUNTPOINT/clock`` asks us nothing; yet it shows the
time, for each change is told to the kernel: the clock's data is stored into its cache,
and ``odd``, which is there in odd seconds only, comes and goes.  It leaves out what
does not change.
"""

import errno
import stat
import time

import trio

import triofuse

HOUR = 3600.0
FORMAT = "%H:%M:%S\n"
CLOCK, ODD = 2, 3


class ClockFS(triofuse.Filesystem):
    """A clock, and a file that is there every other second."""

    def __init__(self) -> None:
        self.second = int(time.time())

    @property
    def text(self) -> bytes:
        """What the clock shows."""
        return time.strftime(FORMAT, time.localtime(self.second)).encode()

    @property
    def names(self) -> dict[str, int]:
        """What there is at the moment."""
        return {"clock": CLOCK, **({"odd": ODD} if self.second % 2 else {})}

    def attr(self, nodeid: int) -> triofuse.FileAttr:
        """Return attributes that the kernel need not ask for again."""
        mode = stat.S_IFREG | 0o444 if nodeid != 1 else stat.S_IFDIR | 0o555
        size = len(self.text) if nodeid == CLOCK else 0
        return triofuse.FileAttr(nodeid, mode, size=size, attr_valid=HOUR)

    async def run(self) -> None:
        """Go on beside the requests, and tell the kernel what changes."""
        while True:
            await trio.sleep(1 - time.time() % 1)
            await self.go_to(int(time.time()))

    async def go_to(self, second: int) -> None:
        """Show another time.

        Change first and tell then: what the kernel asks in between is new already.
        """
        was_there = "odd" in self.names
        self.second = second
        await self.notifier.store(CLOCK, 0, self.text)
        if was_there and "odd" not in self.names:
            await self.notifier.delete(1, ODD, "odd")
        elif not was_there and "odd" in self.names:
            await self.notifier.inval_entry(1, "odd")  # that it was absent
        await self.notifier.inval_inode(1)  # the directory as it was listed

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        nodeid = self.names.get(request.name)
        if nodeid is None:
            return triofuse.Entry.negative(HOUR)
        return triofuse.Entry(self.attr(nodeid), entry_valid=HOUR)

    async def getattr(self, request: triofuse.Getattr) -> triofuse.FileAttr:
        return self.attr(request.nodeid)

    async def opendir(self, request: triofuse.Opendir) -> triofuse.Opened:
        flags = triofuse.OpenFlags
        return triofuse.Opened(flags=flags.CACHE_DIR | flags.KEEP_CACHE)

    async def readdir(self, request: triofuse.Readdir) -> list[triofuse.DirEntry]:
        return [triofuse.DirEntry(name, ino) for name, ino in self.names.items()]

    async def open(self, request: triofuse.Open) -> triofuse.Opened:
        if request.nodeid not in self.names.values():
            raise triofuse.FuseError(errno.ESTALE)
        return triofuse.Opened(flags=triofuse.OpenFlags.KEEP_CACHE)

    async def read(self, request: triofuse.Read) -> bytes:
        text = self.text if request.nodeid == CLOCK else b""
        return text[request.offset : request.offset + request.size]


if __name__ == "__main__":
    triofuse.main(ClockFS, foreground=True)
