"""A filesystem in memory with the little that clients of the kernel tests need."""

from __future__ import annotations

import errno
import stat
import time
from collections import Counter
from collections.abc import Iterable

import attrs

import triofuse as t

_Maker = t.Create | t.Mkdir | t.Mknod | t.Symlink


@attrs.define(eq=False)
class Node:
    """An inode, of whatever type."""

    attr: t.FileAttr
    data: bytearray = attrs.Factory(bytearray)
    names: dict[str, int] = attrs.Factory(dict)
    target: str = ""
    xattrs: dict[str, bytes] = attrs.Factory(dict)


class Store(t.Filesystem):
    """Keeps nodes for ever, and counts how often the kernel has looked up each.

    Attributes:
      valid: Seconds for which names and attributes may be kept.
      nodes: By nodeid; 1 is the root.
      lookups: How often each was handed over and not yet forgotten.
      forgotten: How often each was forgotten.
    """

    def __init__(self, valid: float = 0) -> None:
        self.valid = valid
        self.nodes: dict[int, Node] = {}
        self.lookups: Counter[int] = Counter()
        self.forgotten: Counter[int] = Counter()
        self._born(stat.S_IFDIR | 0o755, 0, 0)

    def put(self, name: str, data: bytes = b"", mode: int = 0o100644) -> int:
        """Make a file in the root behind the kernel's back; return its number."""
        node = self._born(mode, 0, 0)
        node.data[:] = data
        node.attr.size = len(data)
        self.nodes[1].names[name] = node.attr.ino
        return node.attr.ino

    def rewrite(self, nodeid: int, data: bytes) -> None:
        """Change a file behind the kernel's back, and not its time."""
        self.nodes[nodeid].data[:] = data
        self.attr(nodeid).size = len(data)

    def attr(self, nodeid: int) -> t.FileAttr:
        """Return the attributes of a node, to look at or to change."""
        return self.nodes[nodeid].attr

    def content(self, nodeid: int) -> bytes:
        """Return what has been written to a file."""
        return bytes(self.nodes[nodeid].data)

    def entry(self, nodeid: int) -> t.Entry:
        """Return an entry for the kernel: one lookup."""
        self.lookups[nodeid] += 1
        return t.Entry(self.attr(nodeid), entry_valid=self.valid)

    def _born(self, mode: int, uid: int, gid: int) -> Node:
        ino = len(self.nodes) + 1
        node = self.nodes[ino] = Node(t.FileAttr(ino, mode, uid=uid, gid=gid))
        node.attr.mtime_ns = node.attr.ctime_ns = node.attr.btime_ns = time.time_ns()
        node.attr.attr_valid = self.valid
        return node

    def _make(self, request: _Maker, mode: int) -> t.Entry:
        node = self._born(mode, request.uid, request.gid)
        if request.name != "/":  # of a TMPFILE
            self._names(request.nodeid)[request.name] = node.attr.ino
        return self.entry(node.attr.ino)

    def _take_away(self, request: t.Unlink | t.Rmdir | t.Rename) -> int:
        nodeid = self._names(request.nodeid).pop(request.name, None)
        if nodeid is None:
            raise t.FuseError(errno.ENOENT)
        return nodeid

    def _names(self, nodeid: int) -> dict[str, int]:
        self.attr(nodeid).mtime_ns = time.time_ns()  # it is going to be changed
        return self.nodes[nodeid].names

    # --- Names

    async def lookup(self, request: t.Lookup) -> t.Entry:
        nodeid = self.nodes[request.nodeid].names.get(request.name)
        return self.entry(nodeid) if nodeid else t.Entry.negative(self.valid)

    def forget(self, request: t.Forget) -> None:
        self.lookups[request.nodeid] -= request.nlookup
        self.forgotten[request.nodeid] += request.nlookup
        assert self.lookups[request.nodeid] >= 0

    async def create(self, request: t.Create) -> tuple[t.Entry, t.Opened]:
        return self._make(request, request.mode), t.Opened()

    async def tmpfile(self, request: t.Tmpfile) -> tuple[t.Entry, t.Opened]:
        return self._make(request, request.mode), t.Opened()

    async def mknod(self, request: t.Mknod) -> t.Entry:
        return self._make(request, request.mode)

    async def mkdir(self, request: t.Mkdir) -> t.Entry:
        return self._make(request, stat.S_IFDIR | request.mode)

    async def symlink(self, request: t.Symlink) -> t.Entry:
        entry = self._make(request, stat.S_IFLNK | 0o777)
        self.nodes[entry.nodeid].target = request.target
        return entry

    async def unlink(self, request: t.Unlink) -> None:
        self._take_away(request)

    async def rmdir(self, request: t.Rmdir) -> None:
        self._take_away(request)

    async def rename(self, request: t.Rename) -> None:
        nodeid = self._take_away(request)
        self._names(request.newdir)[request.newname] = nodeid

    async def rename2(self, request: t.Rename) -> None:
        names = self._names(request.nodeid)
        if request.flags & t.RenameFlags.EXCHANGE:
            self._names(request.newdir)[request.newname], names[request.name] = (
                names[request.name],
                self._names(request.newdir)[request.newname],
            )
        else:
            await Store.rename(self, request)  # not an operation of its own
        if request.flags & t.RenameFlags.WHITEOUT:
            names[request.name] = self._born(stat.S_IFCHR, 0, 0).attr.ino

    # --- Inodes

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        return self.attr(request.nodeid)

    async def statx(self, request: t.Statx) -> t.FileAttr:
        return self.attr(request.nodeid)

    async def setattr(self, request: t.Setattr) -> t.FileAttr:
        node = self.nodes[request.nodeid]
        if request.size is not None:
            node.data[:] = node.data[: request.size].ljust(request.size, b"\0")
            node.attr.size = request.size
        if request.mode is not None:
            node.attr.mode = stat.S_IFMT(node.attr.mode) | stat.S_IMODE(request.mode)
        elif not request.valid or request.valid & t.SetattrValid.KILL_SUIDGID:
            self._drop_privileges(node)
        if request.mtime_ns is not None:
            node.attr.mtime_ns = request.mtime_ns
        return node.attr

    def _drop_privileges(self, node: Node) -> None:
        node.attr.mode &= ~(stat.S_ISUID | stat.S_ISGID)

    async def readlink(self, request: t.Readlink) -> str:
        return self.nodes[request.nodeid].target

    async def setxattr(self, request: t.Setxattr) -> None:
        xattrs = self.nodes[request.nodeid].xattrs
        if request.flags & t.SetxattrFlags.CREATE and request.name in xattrs:
            raise t.FuseError(errno.EEXIST)
        if request.flags & t.SetxattrFlags.REPLACE and request.name not in xattrs:
            raise t.FuseError(errno.ENODATA)
        xattrs[request.name] = bytes(request.value)

    async def getxattr(self, request: t.Getxattr) -> bytes:
        value = self.nodes[request.nodeid].xattrs.get(request.name)
        if value is None:
            raise t.FuseError(errno.ENODATA)
        return value

    # --- Files and directories

    async def open(self, request: t.Open) -> t.Opened:
        return t.Opened()

    async def release(self, request: t.Release) -> None:
        """Nothing is kept of what is open."""

    async def read(self, request: t.Read) -> bytes:
        node = self.nodes[request.nodeid]
        return bytes(node.data[request.offset : request.offset + request.size])

    async def write(self, request: t.Write) -> int:
        node = self.nodes[request.nodeid]
        missing = request.offset - len(node.data)
        node.data.extend(bytes(max(missing, 0)))
        node.data[request.offset : request.offset + request.size] = request.data
        node.attr.size = len(node.data)
        if request.write_flags & t.WriteFlags.KILL_SUIDGID:
            self._drop_privileges(node)
        return request.size

    async def fallocate(self, request: t.Fallocate) -> None:
        """There is always room."""

    async def readdir(self, request: t.Readdir) -> list[t.DirEntry]:
        names = self.nodes[request.nodeid].names
        return [
            t.DirEntry(name, ino, self.attr(ino).mode) for name, ino in names.items()
        ]

    async def readdirplus(self, request: t.Readdirplus) -> Iterable[t.DirEntry]:
        names = self.nodes[request.nodeid].names
        return (
            t.DirEntry(name, ino, self.attr(ino).mode, entry=self.entry(ino))
            for name, ino in list(names.items())
        )
