"""The inodes that the kernel knows: what stands behind the node numbers.

The kernel may know millions, a process may open thousands.  So a node is a file
handle, from which the descriptor can be had again (open_by_handle_at(2)), and the
descriptors used last stay open.  Where there are no handles, for want of
privileges or of support below, each node keeps its descriptor.
"""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict

import attrs

import libc

#: The kernel's number for the root.
ROOT = 1

#: A device, and what on it is never another inode while the node is known.
_Key = tuple[int, int | bytes]


@attrs.define(eq=False)
class _Node:
    key: _Key
    fd: int | None
    handle: bytes  # empty if there is none
    nlookup: int = 0


class Nodes:
    """A table of nodes, each with its lookup count.

    Args:
      root: A descriptor of the root directory, not O_PATH; closed by `close`.
      keep: How many descriptors to keep open, where they can be had again.
    """

    def __init__(self, root: int, keep: int) -> None:
        self._root = root
        self._keep = max(keep, 4)  # one request needs up to three at once
        self._mount = self._mount_with_handles()
        self._unused = itertools.count(ROOT + 1)
        self._nodes = {ROOT: _Node((0, 0), root, b"")}
        self._nodeids: dict[_Key, int] = {}
        self._recent: OrderedDict[int, _Node] = OrderedDict()

    def close(self) -> None:
        """Close all descriptors."""
        for node in self._nodes.values():
            if node.fd is not None:
                os.close(node.fd)
        self._nodes.clear()
        self._nodeids.clear()
        self._recent.clear()

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

    def enter(self, fd: int, status: os.stat_result) -> int:
        """Count a lookup of the inode of ``fd``, which is O_PATH and ours now."""
        handle = self._handle_of(fd)
        key = status.st_dev, handle or status.st_ino
        nodeid = self._nodeids.get(key)
        if nodeid is None:
            nodeid = self._nodeids[key] = next(self._unused)
            self._nodes[nodeid] = _Node(key, fd, handle)
        elif self._nodes[nodeid].fd is None:
            self._nodes[nodeid].fd = fd
        else:
            os.close(fd)
        node = self._nodes[nodeid]
        node.nlookup += 1
        if handle:
            self._used(nodeid, node)
        return nodeid

    def forget(self, nodeid: int, nlookup: int) -> None:
        """Take lookups off a node, and let go of it when there are none left."""
        node = self._nodes[nodeid]
        node.nlookup -= nlookup
        if node.nlookup > 0 or nodeid == ROOT:
            return
        del self._nodes[nodeid], self._nodeids[node.key]
        self._recent.pop(nodeid, None)
        if node.fd is not None:
            os.close(node.fd)

    def _used(self, nodeid: int, node: _Node) -> None:
        """Note the use of a descriptor, and close the one unused for longest."""
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

    def _mount_with_handles(self) -> int | None:
        """Return the number of the root's mount, if its handles can be opened."""
        try:
            handle, mount = libc.handle_of(self._root)
            os.close(libc.open_handle(self._root, handle))
        except OSError:
            return None
        return mount
