"""The inodes that the kernel knows: what stands behind the node numbers.

The kernel may know millions, a process may open thousands.  So a node is a file
handle, from which the descriptor can be had again (open_by_handle_at(2)), and the
descriptors used last stay open.  Where there are no handles, for want of
privileges or of support below (overlayfs), each node keeps its descriptor: then the
kernel is asked to forget those nodes that it has used least lately.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.mirror import libc
from triofuse.mirror.handles import HandleNumbers, open_root
from triofuse.mirror.shares import Shares

#: The kernel's number for the root.
ROOT = 1

#: Numbers that say nothing of the inode are multiples of this: 32 bits are 0, where
#: those that do have the number of the inode, which is never 0 (handles.py).
_HALF = 1 << 32

#: A device, and what on it is never another inode while the node is known.
_Key = tuple[int, int | bytes]

#: Whose request it is, asked only where it matters.
Who = Callable[[], int]


@attrs.define(eq=False)
class _Node:
    key: _Key
    fd: int | None
    handle: bytes  # empty if there is none
    nlookup: int = 0
    #: Of one that keeps its descriptor: whose share it is, and where it was found.
    user: int | None = None
    place: tuple[int, str] = (ROOT, "")
    is_directory: bool = False


class Nodes:
    """A table of nodes, each with its lookup count.

    Args:
      root: A descriptor of the root directory, not O_PATH; closed by `close`.
      keep: How many descriptors to keep open.

    Attributes:
      is_crowded: Whether so many nodes keep their descriptor that `surplus` and
        `has_room` may matter.
      numbers: How handles are node numbers; None where they are not, and a number is
        good only while the kernel knows the node.
    """

    def __init__(self, root: int, keep: int) -> None:
        self._root = root
        self._keep = max(keep, 4)  # one request needs up to three at once
        opened = open_root(root)
        self._root_handle = opened[0] if opened else b""
        self._mount = opened[1] if opened else None
        self.numbers = HandleNumbers.of(root, self._root_handle) if opened else None
        self._generation = secrets.randbits(31) | 1
        self._unused = itertools.count(_HALF, _HALF)
        self._nodes = {ROOT: _Node((0, 0), root, b"")}
        self._nodeids: dict[_Key, int] = {}
        if opened:  # what is looked up as ".." may be the root
            self._nodeids[os.stat(root).st_dev, self._root_handle] = ROOT
        self._recent: OrderedDict[int, _Node] = OrderedDict()
        self._held: OrderedDict[int, _Node] = OrderedDict()
        self._shares = Shares(self._keep)
        self.is_crowded = False
        self._new = 0  # among the held, since they were last asked to be forgotten
        self._forgotten = trio.Event()

    def close(self) -> None:
        """Close all descriptors."""
        for node in self._nodes.values():
            if node.fd is not None:
                os.close(node.fd)
        self._nodes.clear()
        self._nodeids.clear()
        self._recent.clear()
        self._held.clear()

    def fd(self, nodeid: int) -> int:
        """Return a descriptor of a node, good until the next await: mostly O_PATH."""
        node = self._nodes[nodeid]
        if node.fd is None:
            node.fd = libc.open_handle(self._root, node.handle)
        if node.handle:
            self._used(nodeid, node)
        return node.fd

    def path(self, nodeid: int) -> str:
        """Return a path that leads to the inode itself, be it a symbolic link."""
        return f"/proc/self/fd/{self.fd(nodeid)}"

    def enter(
        self, fd: int, status: os.stat_result, place: tuple[int, str], who: Who
    ) -> int:
        """Count a lookup of the inode of ``fd``, which is O_PATH and ours now.

        Args:
          fd: The descriptor; the caller keeps it where this fails.
          status: What stat(2) says of it.
          place: The directory and the name where it was found.
          who: Says which user looks it up.

        Raises:
          FuseError: EMFILE: it would have to stay open, and the user has its share.
        """
        handle = self._handle_of(fd)
        key = status.st_dev, handle or status.st_ino
        nodeid = self._nodeids.get(key)
        if nodeid is None:
            nodeid = self._number(handle)
            self._add(nodeid, _Node(key, fd, handle), status.st_mode, who)
            self._nodeids[key] = nodeid
            node = self._nodes[nodeid]
        else:
            node = self._nodes[nodeid]
            if node.fd is None:
                node.fd = fd
            else:
                os.close(fd)
        node.nlookup += 1
        if handle:
            self._used(nodeid, node)
        elif nodeid != ROOT:
            node.place = place
            self._held.move_to_end(nodeid)
        return nodeid

    def again(self, nodeid: int) -> int:
        """Return a new descriptor of a node that the kernel perhaps forgot.

        Raises:
          OSError: ESTALE: there is none of this number, or not any more.
        """
        if nodeid in self._nodes:
            return os.dup(self.fd(nodeid))
        if self.numbers is None or not nodeid % _HALF:
            raise FuseError(errno.ESTALE)
        return libc.open_handle(self._root, self.numbers.handle(nodeid))

    def parent(self, nodeid: int) -> int:
        """Return a new descriptor of the directory that holds a directory.

        Raises:
          OSError: ESTALE: there is none in the mirror.
        """
        fd = self.fd(nodeid)
        if nodeid == ROOT or os.path.samestat(os.stat(fd), os.stat(self._root)):
            raise FuseError(errno.ESTALE)
        return os.open("..", libc.O_PATH | os.O_DIRECTORY, dir_fd=fd)

    def forget(self, nodeid: int, nlookup: int) -> bool:
        """Take lookups off a node, and let go of it when there are none left.

        Returns:
          Whether there were none left.
        """
        node = self._nodes[nodeid]
        node.nlookup -= nlookup
        if node.nlookup > 0 or nodeid == ROOT:
            return False
        del self._nodes[nodeid]
        del self._nodeids[node.key]
        self._recent.pop(nodeid, None)
        if self._held.pop(nodeid, None) is not None:
            self._shares.give(node.user)
            self._look_around()
            self._forgotten.set()
            self._forgotten = trio.Event()
        if node.fd is not None:
            os.close(node.fd)
        return True

    def generation(self, nodeid: int) -> int:
        """Return what tells a number from the same one in other lives of the mount."""
        return 0 if nodeid % _HALF else self._generation

    # --- Nodes that keep their descriptor

    def has_room(self, who: Who) -> bool:
        """Whether a user may have one more."""
        return self._shares.has_room(who)

    def surplus(self) -> list[int]:
        """Return what the kernel should be asked to forget: mostly nothing.

        Some at a time, those looked up least lately first.  They are not returned
        again at once: the kernel keeps what somebody uses.
        """
        batch = min(self._keep // 8, 500) + 1
        if len(self._held) <= self._keep // 2 or self._new < batch:
            return []
        return self.oldest(2 * batch)

    def oldest(self, count: int | None = None) -> list[int]:
        """Return that many nodes, or all of them; now they count as the latest."""
        self._new = 0
        nodeids = list(itertools.islice(self._held, count))
        for nodeid in nodeids:
            self._held.move_to_end(nodeid)
        return nodeids

    def files(self, nodeids: Iterable[int]) -> list[tuple[int, str]]:
        """Return directory and name of those that are no directories.

        To drop the name of a directory unmounts what is mounted below.
        """
        nodes = [self._nodes[n] for n in nodeids if n in self._nodes]
        return [n.place for n in nodes if not n.is_directory and n.place[1]]

    async def wait_forgotten(self) -> None:
        """Wait until the kernel forgets one of them."""
        await self._forgotten.wait()

    def _add(self, nodeid: int, node: _Node, mode: int, who: Who) -> None:
        if not node.handle:
            node.is_directory = stat.S_ISDIR(mode)
            node.user = self._shares.take(who)
            self._held[nodeid] = node
            self._new += 1
            self._look_around()
        self._nodes[nodeid] = node

    def _look_around(self) -> None:
        self.is_crowded = len(self._held) >= self._keep // 4

    def _number(self, handle: bytes) -> int:
        """Return the number of a new node."""
        nodeid = None
        if handle and self.numbers is not None:
            nodeid = self.numbers.nodeid(handle)
        return next(self._unused) if nodeid is None else nodeid

    def _used(self, nodeid: int, node: _Node) -> None:
        """Note the use of a descriptor, and close the one unused for longest."""
        if nodeid == ROOT:
            return
        self._recent[nodeid] = node
        self._recent.move_to_end(nodeid)
        if len(self._recent) > self._keep:
            _, node = self._recent.popitem(last=False)
            # No handle leads back to an inode that has no name any more.
            if node.fd is not None and os.stat(node.fd).st_nlink:
                os.close(node.fd)
                node.fd = None

    def _handle_of(self, fd: int) -> bytes:
        """Return a handle that can be opened again, or an empty one."""
        if self._mount is None:
            return b""
        try:
            handle, mount = libc.handle_of(fd)
        except OSError:  # another filesystem, which has none
            return b""
        return handle if mount == self._mount else b""
