"""A filesystem in memory that does what it is told, and keeps the books."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Iterable, Iterator

import attrs
import trio

import triofuse as t
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND

__all__ = ["BUG", "NOW", "Ledger", "Plan"]

#: In place of an errno: not an OSError at all.
BUG = -1


@attrs.frozen
class Plan:
    """What happens while a request is served.

    Attributes:
      checkpoints: How often others may run.
      seconds: How long it takes.
      shielded: Whether it does not give way.
      error: What it ends with: an errno, BUG, 0 for success.
      eager: Whether a listing is made at once.
      tells: Whether the kernel is told something.
    """

    checkpoints: int = 0
    seconds: float = 0
    shielded: bool = False
    error: int = 0
    eager: bool = False
    tells: bool = False


NOW = Plan()


class Ledger(t.Filesystem):
    """Files and directories whose plans come by the ``pid`` of the caller.

    Attributes:
      plans: By ``pid``; of a RELEASE by its ``flags``.
      lookups: What was returned, less what was forgotten, by node.
      handles: The nodes of what is open, by ``fh``.
      seen: The requests that were served.
      running: Calls that have not ended.
      told: Notifications that the session took.
      wrong: What should not have happened.
    """

    def __init__(self) -> None:
        self.plans: dict[int, Plan] = {}
        self.names: dict[tuple[int, str], int] = {}
        self.kinds: dict[int, int] = {1: stat.S_IFDIR}
        self.lookups: Counter[int] = Counter()
        self.handles: dict[int, int] = {}
        self.seen: set[int] = set()
        self.running = 0
        self.told = 0
        self.destroyed = 0
        self.wrong: list[str] = []
        self._opens = 0

    async def _do(self, request: t.Request, plan: Plan) -> None:
        number = request.unique & ~FUSE_UNIQUE_RESEND
        if number in self.seen:
            self.wrong.append(f"served twice: {request}")
        if number:  # which is 0 where the session itself releases
            self.seen.add(number)
        self.running += 1
        try:
            await self._take_time(plan)
        finally:
            self.running -= 1
        if plan.error == BUG:
            raise ZeroDivisionError("a bug, as planned")
        if plan.error:
            raise OSError(plan.error, "as planned")

    async def _take_time(self, plan: Plan) -> None:
        if plan.tells:
            await self.notifier.inval_entry(1, "a")
            self.told += 1
        for _ in range(plan.checkpoints):
            await trio.lowlevel.checkpoint()
        if plan.seconds:
            with trio.CancelScope(shield=plan.shielded):
                await trio.sleep(plan.seconds)

    async def _planned(self, request: t.Request) -> Plan:
        plan = self.plans.get(request.pid, NOW)
        await self._do(request, plan)
        return plan

    def _attr(self, nodeid: int) -> t.FileAttr:
        if nodeid not in self.kinds:
            raise t.FuseError(errno.ESTALE)
        return t.FileAttr(nodeid, self.kinds[nodeid] | 0o755)

    def _found(self, nodeid: int) -> t.Entry:
        entry = t.Entry(self._attr(nodeid))
        self.lookups[nodeid] += 1
        return entry

    def _made(self, parent: int, name: str, kind: int) -> t.Entry:
        nodeid = self.names.get((parent, name))
        if nodeid is None:
            nodeid = self.names[parent, name] = len(self.kinds) + 1
            self.kinds[nodeid] = kind
        if self.kinds[nodeid] != kind:
            raise t.FuseError(errno.EEXIST)
        return self._found(nodeid)

    def _opened(self, nodeid: int) -> t.Opened:
        self._opens += 1
        self.handles[self._opens] = nodeid
        return t.Opened(self._opens)

    def _check_open(self, request: t.Read | t.Write | t.Flush) -> None:
        if self.handles.get(request.fh) != request.nodeid:
            self.wrong.append(f"not open: {request}")

    async def destroy(self) -> None:
        self.destroyed += 1

    async def lookup(self, request: t.Lookup) -> t.Entry:
        await self._planned(request)
        nodeid = self.names.get((request.nodeid, request.name))
        return t.Entry.negative() if nodeid is None else self._found(nodeid)

    def forget(self, request: t.Forget) -> None:
        self.lookups[request.nodeid] -= request.nlookup
        if self.lookups[request.nodeid] < 0:
            self.wrong.append(f"forgotten too often: {request}")

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        await self._planned(request)
        return self._attr(request.nodeid)

    async def mkdir(self, request: t.Mkdir) -> t.Entry:
        await self._planned(request)
        return self._made(request.nodeid, request.name, stat.S_IFDIR)

    async def create(self, request: t.Create) -> tuple[t.Entry, t.Opened]:
        await self._planned(request)
        entry = self._made(request.nodeid, request.name, stat.S_IFREG)
        return entry, self._opened(entry.nodeid)

    async def unlink(self, request: t.Unlink) -> None:
        await self._planned(request)
        if self.names.pop((request.nodeid, request.name), None) is None:
            raise t.FuseError(errno.ENOENT)

    async def open(self, request: t.Open) -> t.Opened:
        await self._planned(request)
        return self._opened(request.nodeid)

    async def opendir(self, request: t.Opendir) -> t.Opened:
        await self._planned(request)
        return self._opened(request.nodeid)

    async def read(self, request: t.Read) -> bytes:
        self._check_open(request)
        await self._planned(request)
        return b"x" * min(request.size, 7)

    async def write(self, request: t.Write) -> int:
        self._check_open(request)
        await self._planned(request)
        if request.data != b"x" * request.size:
            self.wrong.append(f"data changed under its reader: {request}")
        return request.size

    async def flush(self, request: t.Flush) -> None:
        self._check_open(request)
        await self._planned(request)

    async def setlkw(self, request: t.Setlkw) -> None:
        await self._planned(request)

    async def getlk(self, request: t.Getlk) -> t.FileLock:
        await self._planned(request)
        return t.FileLock()

    async def setlk(self, request: t.Setlk) -> None:
        await self._planned(request)

    async def release(self, request: t.Release) -> None:
        if self.handles.pop(request.fh, None) != request.nodeid:
            self.wrong.append(f"released, and was not open: {request}")
        await self._do(request, self.plans.get(request.flags, NOW))

    async def releasedir(self, request: t.Releasedir) -> None:
        await self.release(request)

    async def readdir(self, request: t.Readdir) -> Iterable[t.DirEntry]:
        self._check_open(request)
        await self._planned(request)
        return [
            t.DirEntry(name, nodeid)
            for (parent, name), nodeid in self.names.items()
            if parent == request.nodeid
        ]

    async def readdirplus(self, request: t.Readdirplus) -> Iterable[t.DirEntry]:
        self._check_open(request)
        plan = await self._planned(request)
        entries = self._entries(request.nodeid)
        return list(entries) if plan.eager else entries

    def _entries(self, directory: int) -> Iterator[t.DirEntry]:
        for (parent, name), nodeid in list(self.names.items()):
            if parent == directory:
                yield t.DirEntry(name, nodeid, entry=self._found(nodeid))
