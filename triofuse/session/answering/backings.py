"""Passthrough: the backing file of each open inode, and its backing id.

The law is the kernel's: all opens of an inode use the same backing file, or none of
them uses one (``fuse_file_io_open()`` in fs/fuse/iomode.c).  So the first open of a
node decides until the last is released.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import nullcontext

import attrs

from triofuse.device.backing import BackingId
from triofuse.device.dev_fuse import DeviceError
from triofuse.filesystem.flags import OpenFlags
from triofuse.filesystem.replies import Opened

__all__ = ["Backings"]

_log = logging.getLogger("triofuse")

#: The flags allowed with PASSTHROUGH: FOPEN_PASSTHROUGH_MASK of fs/fuse/iomode.c.
_BESIDE = int(
    OpenFlags.DIRECT_IO | OpenFlags.PARALLEL_DIRECT_WRITES | OpenFlags.NOFLUSH
)
_BACKED = int(OpenFlags.PASSTHROUGH)
_SERVED = int(OpenFlags.PASSTHROUGH | OpenFlags.DIRECT_IO)
_KEEP_CACHE = int(OpenFlags.KEEP_CACHE)

_NOT = "no passthrough, the filesystem reads and writes: %s"

#: Errors that every later attempt would get too: no CAP_SYS_ADMIN, or a device without
#: this ioctl(2).
_FOR_GOOD = frozenset({errno.EPERM, errno.ENOTTY, errno.EOPNOTSUPP})

#: Errors that are no bug: the above, and filesystems that are stacked too deep.
_EXPECTED = _FOR_GOOD | {errno.ELOOP}


@attrs.define(eq=False, repr=False)
class _Node:
    """An open inode: its number of opens, and its backing file, if any."""

    backing: BackingId | None
    opens: int = 0


@attrs.define(eq=False, repr=False)
class Backings:
    """Keeps one backing id for each open inode.

    If passthrough is not possible, files are opened without it.  It is logged once that
    passthrough works, and once why it does not.
    """

    _register: Callable[[int], BackingId]
    _granted: bool
    _nodes: dict[int, _Node] = attrs.field(factory=dict, init=False)
    #: Whether every later attempt would fail too.
    _refused: bool = attrs.field(default=False, init=False)
    _told: set[str] = attrs.field(factory=set, init=False)

    def opened(self, nodeid: int, opened: Opened) -> Opened:
        """Count an open; return the reply with flags and id for passthrough, if any.

        Args:
          nodeid: The node that was opened.
          opened: The filesystem's reply.

        Returns:
          The same reply, or one with passthrough.
        """
        if not self._granted:
            if opened.backing_fd is not None:
                self._tell(logging.INFO, _NOT, "it was not agreed on with the kernel")
            return opened
        node = self._nodes.get(nodeid)
        if node is None:
            node = self._nodes[nodeid] = _Node(self._backing(opened))
        elif node.backing is None and opened.backing_fd is not None:
            self._tell(logging.INFO, _NOT, f"node {nodeid} is open without it")
        node.opens += 1
        if opened.flags & _BACKED:  # the filesystem manages its backing ids itself
            return opened
        return _answer(opened, node.backing)

    def released(self, nodeid: int) -> None:
        """Count a release; the last one closes the backing id."""
        node = self._nodes.get(nodeid)
        if node is None:
            return
        node.opens -= 1
        if node.opens:
            return
        del self._nodes[nodeid]
        if node.backing is not None:
            try:
                node.backing.close()
            except DeviceError as exc:
                _log.warning("a backing id stays open: %s", exc)

    def _backing(self, opened: Opened) -> BackingId | None:
        """Register the backing file; None if there is none or it is refused."""
        if opened.backing_fd is None or self._refused:
            return None
        try:
            with opened.backing_as or nullcontext():
                backing = self._register(opened.backing_fd)
        except DeviceError as exc:
            level = logging.INFO if exc.errno in _EXPECTED else logging.WARNING
            self._tell(level, _NOT, exc.strerror or str(exc))
            self._refused = exc.errno in _FOR_GOOD
            return None
        self._tell(
            logging.INFO, "passthrough: %s", "the kernel reads and writes itself"
        )
        return backing

    def _tell(self, level: int, message: str, what: str) -> None:
        """Log a message once."""
        if message not in self._told:
            self._told.add(message)
            _log.log(level, message, what)


def _answer(opened: Opened, backing: BackingId | None) -> Opened:
    """Return the reply for a node with this backing id, or without one."""
    flags = opened.flags & _BESIDE
    if backing is not None:
        # Without a backing_fd in this reply the filesystem serves reads and writes:
        # DIRECT_IO sends them to it, and only mmap(2) uses the backing file.
        flags |= _SERVED if opened.backing_fd is None else _BACKED
        return Opened(opened.fh, flags, backing.number)
    if opened.backing_fd is None:
        return opened
    # The page cache of such a node may be older than the backing file.
    return Opened(opened.fh, opened.flags & ~_KEEP_CACHE)
