"""A filesystem that does everything right, but for what a fault makes of it."""

from __future__ import annotations

import errno
import itertools
import select
import stat
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import triofuse as t

#: What the others use, who are to notice nothing: a node and its handle.
OTHER = 99
OTHER_FH = 990

#: What the victim uses.
NODE = 2
FH = 7

FINE = b"fine"

#: What a method does in place of what it should; it gets filesystem and request.
Wrong = Callable[["Victim", Any], Awaitable[Any]]


class Victim(t.Filesystem):
    """Keeps count of lookups and handles, and of what it was asked.

    Attributes:
      wrong: What goes wrong, by method.
      calls: How often each method was called.
      lookups: What the kernel was told, less what it forgot.
      handles: What is open, files and directories.
      arrived: Set when a handler waits for ``go``.
      ended: How those that waited have ended.
      locks: For SETLK and its kin.
    """

    def __init__(self) -> None:
        self.wrong: dict[str, Wrong] = {}
        self.calls: Counter[str] = Counter()
        self.lookups: Counter[int] = Counter()
        self.handles: Counter[int] = Counter()
        self.arrived = trio.Event()
        self.go = trio.Event()
        self.ended: list[str] = []
        self.locks = t.LockTable()
        self._numbers = itertools.count(1000)

    def attr(self, nodeid: int) -> t.FileAttr:
        kind = stat.S_IFDIR | 0o755 if nodeid == 1 else stat.S_IFREG | 0o644
        return t.FileAttr(nodeid, kind, size=len(FINE), attr_valid=0)

    def found(self, nodeid: int, kind: int = stat.S_IFREG) -> t.Entry:
        """Return an entry, which the kernel will have to forget."""
        self.lookups[nodeid] += 1
        attr = self.attr(nodeid)
        attr.mode = kind | 0o644
        return t.Entry(attr, entry_valid=0)

    def opened(self) -> t.Opened:
        """Return a handle, which is to be released."""
        fh = next(self._numbers)
        self.handles[fh] += 1
        return t.Opened(fh, t.OpenFlags.DIRECT_IO)

    async def hold(self, *, shield: bool = False) -> None:
        """Wait until the test lets go."""
        self.arrived.set()
        how = "cancelled"
        try:
            with trio.CancelScope(shield=shield):
                await self.go.wait()
            how = "let go"
        finally:
            self.ended.append(how)

    async def healthy(self, method: str, request: Any) -> Any:
        """Do what is right; faults that wait call it afterwards."""
        return await _HEALTHY[method](self, request)

    def forget(self, request: t.Forget) -> None:
        self.calls["forget"] += 1
        self.lookups[request.nodeid] -= request.nlookup

    async def destroy(self) -> None:
        self.calls["destroy"] += 1
        if "destroy" in self.wrong:
            await self.wrong["destroy"](self, None)

    async def init(self, config: t.KernelConfig) -> None:
        if "init" in self.wrong:
            await self.wrong["init"](self, None)


async def _lookup(self: Victim, request: t.Lookup) -> t.Entry:
    if request.name in ("absent", "new"):
        raise t.FuseError(errno.ENOENT)
    return self.found(OTHER if request.name == "other" else NODE)


async def _create(self: Victim, request: t.Create) -> tuple[t.Entry, t.Opened]:
    return self.found(next(self._numbers)), self.opened()


async def _mknod(self: Victim, request: t.Mknod) -> t.Entry:
    return self.found(next(self._numbers), stat.S_IFMT(request.mode))


async def _mkdir(self: Victim, request: t.Mkdir) -> t.Entry:
    return self.found(next(self._numbers), stat.S_IFDIR)


async def _symlink(self: Victim, request: t.Symlink) -> t.Entry:
    return self.found(next(self._numbers), stat.S_IFLNK)


async def _link(self: Victim, request: t.Link) -> t.Entry:
    return self.found(request.oldnodeid)


async def _attr(self: Victim, request: t.Request) -> t.FileAttr:
    return self.attr(request.nodeid)


async def _open(self: Victim, request: t.Open) -> t.Opened:
    return self.opened()


async def _release(self: Victim, request: t.Release) -> None:
    if request.fh not in (FH, OTHER_FH):
        self.handles[request.fh] -= 1


async def _read(self: Victim, request: t.Read) -> bytes:
    return FINE[request.offset : request.offset + request.size]


async def _readdir(self: Victim, request: t.Readdir) -> list[t.DirEntry]:
    return [t.DirEntry("name", NODE, stat.S_IFREG), t.DirEntry("other", OTHER)]


async def _readdirplus(self: Victim, request: t.Readdirplus) -> list[t.DirEntry]:
    return [t.DirEntry("name", NODE, stat.S_IFREG, entry=self.found(NODE))]


async def _lock(self: Victim, request: t.Getlk) -> t.FileLock:
    return t.FileLock(0, 0, t.LockType.UNLCK, 0)


async def _setlk(self: Victim, request: t.Setlk) -> None:
    self.locks.setlk(request)


async def _setlkw(self: Victim, request: t.Setlkw) -> None:
    await self.locks.setlkw(request)


async def _flush(self: Victim, request: t.Flush) -> None:
    self.locks.flush(request)


async def _poll(self: Victim, request: t.Poll) -> int:
    return request.events & select.POLLIN


async def _nothing(self: Victim, request: t.Request) -> None:
    return None


def _returns(value: object) -> Wrong:
    async def method(self: Victim, request: t.Request) -> object:
        return value

    return method


async def _size(self: Victim, request: t.Write) -> int:
    return request.size


_HEALTHY: dict[str, Wrong] = {
    "lookup": _lookup,
    "create": _create,
    "tmpfile": _create,
    "mknod": _mknod,
    "mkdir": _mkdir,
    "symlink": _symlink,
    "link": _link,
    "unlink": _nothing,
    "rmdir": _nothing,
    "rename": _nothing,
    "rename2": _nothing,
    "getattr": _attr,
    "statx": _attr,
    "setattr": _attr,
    "access": _nothing,
    "readlink": _returns("target"),
    "statfs": _returns(t.Statfs()),
    "syncfs": _nothing,
    "setxattr": _nothing,
    "getxattr": _returns(b"value"),
    "listxattr": _returns(["user.x"]),
    "removexattr": _nothing,
    "open": _open,
    "read": _read,
    "write": _size,
    "flush": _flush,
    "release": _release,
    "fsync": _nothing,
    "fallocate": _nothing,
    "lseek": _returns(4),
    "copy_file_range": _returns(4),
    "getlk": _lock,
    "setlk": _setlk,
    "setlkw": _setlkw,
    "ioctl": _returns(t.IoctlReply(0, b"")),
    "poll": _poll,
    "bmap": _returns(5),
    "opendir": _open,
    "readdir": _readdir,
    "readdirplus": _readdirplus,
    "releasedir": _release,
    "fsyncdir": _nothing,
}

METHODS = tuple(_HEALTHY)


def _method(name: str) -> Any:
    async def method(self: Victim, request: t.Request) -> Any:
        if request.unique:  # else the session looks at the root
            self.calls[name] += 1
        wrong = self.wrong.get(name) if request.nodeid != OTHER else None
        return await (wrong or _HEALTHY[name])(self, request)

    return method


for _name in METHODS:
    setattr(Victim, _name, _method(_name))
