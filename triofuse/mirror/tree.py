"""The tree of inodes as the kernel sees it: what a LOOKUP and a GETATTR answer."""

from __future__ import annotations

import os
from collections.abc import Callable

from triofuse.filesystem.attributes import FileAttr
from triofuse.filesystem.notifier import Notifier
from triofuse.filesystem.replies import Entry
from triofuse.filesystem.requests import Forget, Request
from triofuse.mirror import libc
from triofuse.mirror.credentials import ids_of
from triofuse.mirror.nodes import Nodes
from triofuse.mirror.room import Room

#: Extended attributes that a security module wants a new inode to have.
Labels = tuple[tuple[str, bytes], ...]


class Tree:
    """All that is below a directory.

    Args:
      root: A descriptor of the directory, not O_PATH; closed by `close`.
      keep: How many descriptors to keep open for inodes.
      valid: Seconds for which the kernel may use names and attributes unasked.
      notifier: Returns what tells the kernel of changes.

    Attributes:
      nodes: The table of what the kernel knows.
      has_handles: Whether file handles find an inode that the kernel has forgotten.
    """

    def __init__(
        self, root: int, keep: int, valid: float, notifier: Callable[[], Notifier]
    ) -> None:
        self.nodes = Nodes(root, keep)
        self.has_handles = self.nodes.numbers is not None
        self._room = Room(self.nodes, notifier)
        self._valid = valid
        self._notifier = notifier
        self._mapped: set[int] = set()
        self.fd = self.nodes.fd
        self.path = self.nodes.path
        self.close = self.nodes.close

    async def make_room(self, request: Request) -> None:
        """See to it that one more inode can be looked up, where nodes are crowded.

        Raises:
          FuseError: EMFILE: the caller's user has too many in use.
        """
        await self._room.make(request)

    def find(self, request: Request, name: str, labels: Labels = ()) -> Entry:
        """Look up a name in the directory of a request, which counts."""
        if name == ".":  # of a node that the kernel has forgotten, as is the next
            fd = self.nodes.again(request.nodeid)
        elif name == "..":
            fd = self.nodes.parent(request.nodeid)
        else:
            parent = self.nodes.fd(request.nodeid)
            fd = os.open(name, libc.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
        return self.enter(request, fd, name, labels)

    def enter(self, request: Request, fd: int, name: str, labels: Labels = ()) -> Entry:
        """Count a lookup of the inode of an O_PATH descriptor, which is ours now.

        Args:
          request: What it is for; ``name`` is in the directory of it.
          fd: The descriptor.
          name: Where it was found.
          labels: To be set at once.
        """
        place = request.nodeid, name
        try:
            for label, value in labels:
                os.setxattr(f"/proc/self/fd/{fd}", label, value)
            status = os.stat(fd)
            nodeid = self.nodes.enter(fd, status, place, lambda: ids_of(request)[0])
        except OSError:
            os.close(fd)
            raise
        generation = self.nodes.generation(nodeid)
        return Entry(self._shown(nodeid, status), nodeid, generation, self._valid)

    def attr(self, nodeid: int) -> FileAttr:
        """Return the attributes of an inode."""
        return self._shown(nodeid, os.stat(self.nodes.fd(nodeid)))

    def forget(self, request: Forget) -> None:
        """Take lookups off an inode."""
        if self.nodes.forget(request.nodeid, request.nlookup):
            self._mapped.discard(request.nodeid)

    # --- Inodes that change unseen

    async def may_be_mapped(self, nodeid: int) -> None:
        """Have attributes asked for anew each time: a mapping changes them unseen.

        It may do so when the file is long closed, until the inode is forgotten.
        """
        if nodeid not in self._mapped:
            self._mapped.add(nodeid)
            await self._notifier().inval_inode(nodeid, -1)

    def is_new_and_may_be_mapped(self, entry: Entry) -> None:
        """Likewise of a file that was just made: of that the kernel knows nothing."""
        self._mapped.add(entry.nodeid)
        entry.attr.attr_valid = 0.0

    def is_read_here(self, nodeid: int) -> None:
        """Know that the kernel asks for the data, and sees what mappings change."""
        if self._mapped:
            self._mapped.discard(nodeid)

    def _shown(self, nodeid: int, status: os.stat_result) -> FileAttr:
        valid = 0.0 if nodeid in self._mapped else self._valid
        return FileAttr.from_stat(status, attr_valid=valid)
