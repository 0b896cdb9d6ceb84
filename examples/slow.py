"""Files that take their time: interrupts, deadlines, and what must not be cut short.

Run ``python examples/slow.py MOUNTPOINT`` and, in another terminal:

- ``cat MOUNTPOINT/5`` takes five seconds, any number does.  Ctrl-C ends it at once: the
  kernel sends INTERRUPT, triofuse cancels the handler, and ``finally`` runs.
- ``echo 10 > MOUNTPOINT/transfer`` moves money from left to right, which takes a while.
  Ctrl-C comes too late: a shielded section ends first, and ``cat MOUNTPOINT/accounts``
  never finds money missing.
- ``cat MOUNTPOINT/upstream`` asks somebody who does not answer.  The handler gives up
  after ``-o patience=SECONDS`` and says "Connection timed out".
- ``timeout`` in the last line limits every read, without a line in the handlers.

tests/examples/test_slow.py tests all of it within milliseconds, on a virtual clock.
"""

import errno
import math
import re
import stat

import trio

import triofuse

ACCOUNTS, TRANSFER, UPSTREAM = 2, 3, 4
NAMES = {"accounts": ACCOUNTS, "transfer": TRANSFER, "upstream": UPSTREAM}
#: The node of a number of seconds is this and its milliseconds: nothing to remember.
SECONDS = 1000
NUMBER = re.compile(r"\d{1,6}(\.\d{1,3})?")


class Slow(triofuse.Filesystem):
    """A bank that is slow, beside files that are.

    Args:
      pause: Seconds between taking money and giving it.
      patience: Seconds to wait for upstream.
      latency: Seconds that upstream takes to answer.
    """

    def __init__(
        self, pause: float = 3, patience: float = 2, latency: float = math.inf
    ) -> None:
        self.pause = pause
        self.patience = patience
        self.latency = latency
        self.left, self.right = 100, 0
        self.sleepers = 0
        self._transferring = trio.Lock()

    def _attr(self, nodeid: int) -> triofuse.FileAttr:
        if nodeid == 1:
            mode = stat.S_IFDIR | 0o755
            return triofuse.FileAttr(ino=1, mode=mode, nlink=2)
        mode = stat.S_IFREG | (0o200 if nodeid == TRANSFER else 0o444)
        return triofuse.FileAttr(ino=nodeid, mode=mode)

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        nodeid = NAMES.get(request.name)
        if nodeid is None and NUMBER.fullmatch(request.name):
            nodeid = SECONDS + round(float(request.name) * 1000)
        if nodeid is None:
            raise triofuse.FuseError(errno.ENOENT)
        return triofuse.Entry(self._attr(nodeid))

    async def getattr(self, request: triofuse.Getattr) -> triofuse.FileAttr:
        return self._attr(request.nodeid)

    async def setattr(self, request: triofuse.Setattr) -> triofuse.FileAttr:
        return self._attr(request.nodeid)  # the truncation of "echo 10 > transfer"

    async def readdir(self, request: triofuse.Readdir) -> list[triofuse.DirEntry]:
        return [triofuse.DirEntry(name, nodeid) for name, nodeid in NAMES.items()]

    async def open(self, request: triofuse.Open) -> triofuse.Opened:
        # Without the page cache each read(2) is one request, and any signal ends it.
        return triofuse.Opened(flags=triofuse.OpenFlags.DIRECT_IO)

    async def read(self, request: triofuse.Read) -> bytes:
        if request.offset:
            return b""  # each text is read at once; this is its end
        match request.nodeid:
            case n if n == ACCOUNTS:
                async with self._transferring:
                    return b"left %d, right %d\n" % (self.left, self.right)
            case n if n == UPSTREAM:
                return await self._ask_patiently()
        return await self._sleep((request.nodeid - SECONDS) / 1000)

    async def _sleep(self, seconds: float) -> bytes:
        """Sleep.  When the reader gets any signal, ``Cancelled`` comes out of it.

        Let it pass: the reader has EINTR as soon as this method has ended.
        """
        self.sleepers += 1
        try:
            await trio.sleep(seconds)
        finally:
            self.sleepers -= 1  # however it ended
        return b"slept for %g s\n" % seconds

    async def _ask_patiently(self) -> bytes:
        """Ask upstream with a deadline of our own.

        A ``trio.TooSlowError`` that nobody catches would be a bug: EIO, and a
        traceback in the log.
        """
        try:
            with trio.fail_after(self.patience):
                await trio.sleep(self.latency)
                return b"upstream is well\n"
        except trio.TooSlowError:
            raise triofuse.FuseError(errno.ETIMEDOUT) from None

    async def write(self, request: triofuse.Write) -> int:
        """Transfer an amount: wholly, or not at all."""
        try:
            amount = int(bytes(request.data))
        except ValueError:
            raise triofuse.FuseError(errno.EINVAL) from None
        async with self._transferring:  # who still waits here may be killed
            with trio.CancelScope(shield=True):
                self.left -= amount
                await trio.sleep(self.pause)  # a disk, a server, a second opinion
                self.right += amount
        return request.size  # even if a signal came: it is done


if __name__ == "__main__":
    # By the method's name: a number alone would limit transfers as well.
    triofuse.main(Slow, timeout={"read": 60}, foreground=True)
