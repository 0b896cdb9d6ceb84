"""What memfs.py keeps in memory: nodes, and the contents of files.

Contents are cut into chunks of 64 KiB.  A chunk that nobody wrote to does not exist;
one that does is as long as what was written to it, and what is missing at its end
reads as zeros.  So a small file costs a small chunk, a large write is a handful of
copies, and a hole is a chunk that is missing or short.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

import attrs

from triofuse import FileAttr, FuseError, Statfs

#: The longest name, bytes.
NAME_MAX = 255
#: The most names of one node, as in ext4.
LINK_MAX = 65000
#: The longest file, bytes: what is beyond is a mistake of the caller's.
MAX_SIZE = 1 << 50
#: The unit in which space is counted, bytes.
PAGE = 1 << 12
CHUNK = 1 << 16
#: How old a time of access may get, as with the mount option ``relatime``.
DAY_NS = 86400 * 10**9
#: The extended attribute of capabilities(7).
CAPABILITIES = "security.capability"


@attrs.define(eq=False)
class Space:
    """A number of pages, shared by all files of a filesystem.

    Attributes:
      total: How many there are.  There are as many nodes: else nodes without
        contents could fill the memory.
      used: How many are taken.
    """

    total: int
    used: int = 0

    @classmethod
    def of(cls, size: int | None) -> Space:
        """Return a space of so many bytes, by default half of the machine's memory."""
        if size is None:
            size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return cls(size // PAGE)

    def take(self, pages: int) -> None:
        """Take pages; a negative number gives them back.

        Raises:
          FuseError: ENOSPC: there are not so many left.
        """
        if pages > 0 and self.used + pages > self.total:
            raise FuseError(errno.ENOSPC)
        self.used += pages

    def statfs(self, nodes: int) -> Statfs:
        """Return what df(1) shows, with so many nodes in use."""
        free = self.total - self.used
        ffree = self.total - nodes
        return Statfs(self.total, free, free, self.total, ffree, PAGE, NAME_MAX, PAGE)


@attrs.define(eq=False)
class SparseFile:
    """Bytes with holes.

    Attributes:
      size: The length, holes included.  Nothing but zeros is stored behind it.
      pages: What is taken of the space.
    """

    _space: Space
    size: int = 0
    pages: int = 0
    _chunks: dict[int, bytearray] = attrs.Factory(dict)

    def read(self, offset: int, size: int) -> bytes:
        """Return a copy of up to ``size`` bytes; fewer are the end of the file."""
        pieces: list[bytes | memoryview] = []
        for number, start, stop in _spans(offset, min(size, self.size - offset)):
            piece = memoryview(self._chunks.get(number, b""))[start:stop]
            missing = stop - start - len(piece)
            pieces += (piece, bytes(missing)) if missing else (piece,)
        return b"".join(pieces)

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of ``data``, or nothing if there is no space for it."""
        if not data:
            return
        self._reserve(offset, len(data))
        self.lengthen(offset + len(data))
        for number, start, stop in _spans(offset, len(data)):
            piece, data = data[: stop - start], data[stop - start :]
            chunk = self._chunks.setdefault(number, bytearray())
            _lengthen(chunk, start)
            if len(chunk) == start:
                chunk += piece
            else:
                # Not chunk[start:stop] = piece, which would copy the piece twice.
                _lengthen(chunk, stop)
                memoryview(chunk)[start:stop] = piece

    def truncate(self, size: int) -> None:
        """Set the size: what is cut off is lost, what is added is a hole."""
        if size > MAX_SIZE:
            raise FuseError(errno.EFBIG)
        if size <= self.size:
            self.punch(size, MAX_SIZE)  # with what was allocated beyond the end
        self.size = size

    def allocate(self, offset: int, size: int) -> None:
        """Take the space for bytes to come, which leaves the size alone."""
        self._reserve(offset, size)
        for number, _, stop in _spans(offset, size):
            _lengthen(self._chunks.setdefault(number, bytearray()), stop)

    def lengthen(self, size: int) -> None:
        """Set the size, if that is more."""
        self.size = max(self.size, size)

    def punch(self, offset: int, size: int) -> None:
        """Make bytes zero, and give back the space of chunks that end there."""
        end = min(offset + size, MAX_SIZE)
        for number in self._present(offset // CHUNK, -(-end // CHUNK)):
            start = max(offset - number * CHUNK, 0)
            stop = min(end - number * CHUNK, CHUNK)
            chunk = self._chunks[number]
            if stop < len(chunk):
                memoryview(chunk)[start:stop] = bytes(stop - start)
                continue
            self._take(_pages(min(start, len(chunk))) - _pages(len(chunk)))
            del chunk[start:]
            if not chunk:
                del self._chunks[number]

    def zero(self, offset: int, size: int) -> None:
        """Make bytes zero and keep the space for them, which leaves the size alone."""
        self.allocate(offset, size)
        for number, start, stop in _spans(offset, size):
            memoryview(self._chunks[number])[start:stop] = bytes(stop - start)

    def seek_data(self, offset: int) -> int:
        """Return where data is, from ``offset`` on, else raise ENXIO."""
        for number in self._present(offset // CHUNK, -(-self.size // CHUNK)):
            start = max(number * CHUNK, offset)
            if start < min(number * CHUNK + len(self._chunks[number]), self.size):
                return start
        raise FuseError(errno.ENXIO)

    def seek_hole(self, offset: int) -> int:
        """Return where a hole is, from ``offset`` on; the end of the file is one."""
        if offset >= self.size:
            raise FuseError(errno.ENXIO)
        number, start = divmod(offset, CHUNK)
        while (stored := len(self._chunks.get(number, b""))) > start:
            offset = number * CHUNK + stored
            if stored < CHUNK:
                break
            number, start = number + 1, 0
        return min(offset, self.size)

    def _reserve(self, offset: int, size: int) -> None:
        """Take the pages that ``size`` bytes at ``offset`` need and do not have."""
        if offset + size > MAX_SIZE:
            raise FuseError(errno.EFBIG)
        if size > self._space.total * PAGE:
            raise FuseError(errno.ENOSPC)
        get = self._chunks.get
        wanted = 0
        for number, _, stop in _spans(offset, size):
            wanted += max(_pages(stop) - _pages(len(get(number, b""))), 0)
        self._take(wanted)

    def _take(self, pages: int) -> None:
        self._space.take(pages)
        self.pages += pages

    def _present(self, first: int, last: int) -> list[int]:
        """Return the chunks there are from ``first`` to before ``last``, in order.

        Whichever is less work: a hole may be larger than all that is stored.
        """
        if last - first < len(self._chunks):
            return [number for number in range(first, last) if number in self._chunks]
        return sorted(number for number in self._chunks if first <= number < last)


@attrs.define(eq=False)
class Node:
    """An inode: a device, pipe or socket, or one of the kinds below.

    Attributes:
      attr: What stat(2) shows; ``attr.ino`` is the ``nodeid`` and never used twice.
      xattrs: Extended attributes.
      lookups: How often the kernel was told of it and has not forgotten it.
      opens: How many handles are open.
    """

    attr: FileAttr
    xattrs: dict[str, bytes] = attrs.Factory(dict)
    lookups: int = 0
    opens: int = 0

    def changed(self) -> None:
        """Note a change of the inode."""
        self.attr.ctime_ns = time.time_ns()

    def modified(self) -> None:
        """Note a change of the contents."""
        self.attr.mtime_ns = self.attr.ctime_ns = time.time_ns()

    def accessed(self) -> None:
        """Note an access, if it is the first after a change or after a day."""
        attr, now = self.attr, time.time_ns()
        if attr.atime_ns <= max(attr.mtime_ns, attr.ctime_ns, now - DAY_NS):
            attr.atime_ns = now

    def drop_privileges(self) -> None:
        """Take away what running the file gives: set-id bits, capabilities.

        Setgid without execute permission gives nothing, and stays.
        """
        mode = self.attr.mode & ~stat.S_ISUID
        if mode & stat.S_IXGRP:
            mode &= ~stat.S_ISGID
        if mode != self.attr.mode:
            self.attr.mode = mode
            self.changed()
        self.xattrs.pop(CAPABILITIES, None)

    def check_link(self) -> None:
        """Check that this may get one more name, as link(2) says."""
        if self.attr.nlink >= LINK_MAX:
            raise FuseError(errno.EMLINK)

    def check_replace(self, old: Node) -> None:
        """Check that this may take a name from ``old``, as rename(2) says."""
        if isinstance(old, Directory):
            raise FuseError(errno.EISDIR)

    def check_move(self, target: Directory) -> None:
        """Check that this may get a name in ``target``: not if that was removed."""
        if not target.attr.nlink:
            raise FuseError(errno.ENOENT)


class Link(NamedTuple):
    """A name in a directory; ``cookie`` is its place in the listing."""

    cookie: int
    name: str
    node: Node


@attrs.define(eq=False)
class Directory(Node):
    """A directory.

    Attributes:
      parent: The directory that it is in; the root is in itself.
      links: The names in it, in the order of their cookies.
    """

    parent: Directory = attrs.Factory(lambda self: self, takes_self=True)
    links: dict[str, Link] = attrs.Factory(dict)
    _cookies: Iterator[int] = attrs.Factory(lambda: itertools.count(3))

    def get(self, name: str) -> Node | None:
        """Return the node of a name, or None.

        Raises:
          FuseError: ENAMETOOLONG: there can be no such name.
        """
        if len(os.fsencode(name)) > NAME_MAX:
            raise FuseError(errno.ENAMETOOLONG)
        link = self.links.get(name)
        return link.node if link else None

    def find(self, name: str) -> Node:
        """Return the node of a name that must be there."""
        node = self.get(name)
        if node is None:
            raise FuseError(errno.ENOENT)
        return node

    def link(self, name: str, node: Node) -> None:
        """Give a name to a node, in place of the node that has it."""
        old = self.links.get(name)
        if old:
            self._count(old.node, -1)
            old.node.changed()
        # What replaces keeps the place, or a listing could show the name twice.
        cookie = old.cookie if old else next(self._cookies)
        self.links[name] = Link(cookie, name, node)
        self._count(node, +1)
        if isinstance(node, Directory):
            node.parent = self
        self.modified()
        node.changed()

    def unlink(self, name: str) -> None:
        """Take a name away."""
        node = self.links.pop(name).node
        self._count(node, -1)
        self.modified()
        node.changed()

    def listing(self, offset: int) -> list[Link]:
        """Return the links behind a cookie; the first are "." and ".."."""
        links = [Link(1, ".", self), Link(2, "..", self.parent), *self.links.values()]
        return links[bisect_right(links, offset, key=attrgetter("cookie")) :]

    def drop_privileges(self) -> None:
        """Keep the bits: here setgid makes new names inherit the group."""

    def check_link(self) -> None:
        """Refuse: a directory has one name."""
        raise FuseError(errno.EPERM)

    def check_replace(self, old: Node) -> None:
        """Check that this may take the name of ``old``: an empty directory."""
        if not isinstance(old, Directory):
            raise FuseError(errno.ENOTDIR)
        if old.links:
            raise FuseError(errno.ENOTEMPTY)

    def check_move(self, target: Directory) -> None:
        """Check that ``target`` is not within this, and has room for its ".."."""
        Node.check_move(self, target)
        if target is not self.parent and target.attr.nlink >= LINK_MAX:
            raise FuseError(errno.EMLINK)
        above = target
        while above is not self and above.parent is not above:
            above = above.parent
        if above is self:
            raise FuseError(errno.EINVAL)

    def _count(self, node: Node, by: int) -> None:
        node.attr.nlink += by
        if isinstance(node, Directory):
            node.attr.nlink += by  # its "."
            self.attr.nlink += by  # its ".."


@attrs.define(eq=False)
class File(Node):
    """A regular file."""

    content: SparseFile = attrs.field(kw_only=True)

    def modified(self) -> None:
        """Note a change of the contents."""
        Node.modified(self)
        self.attr.size = self.content.size
        self.attr.blocks = self.content.pages * (PAGE // 512)
        self.xattrs.pop(CAPABILITIES, None)  # set-id bits only if we are told


@attrs.define(eq=False)
class Symlink(Node):
    """A symbolic link."""

    target: str = attrs.field(kw_only=True)


def _spans(offset: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Cut a range of bytes into chunk number, start and stop within the chunk."""
    while size > 0:
        number, start = divmod(offset, CHUNK)
        stop = min(start + size, CHUNK)
        yield number, start, stop
        offset += stop - start
        size -= stop - start


def _lengthen(chunk: bytearray, size: int) -> None:
    """Append zeros up to ``size`` bytes."""
    if len(chunk) < size:
        chunk += bytes(size - len(chunk))


def _pages(size: int) -> int:
    return -(-size // PAGE)
