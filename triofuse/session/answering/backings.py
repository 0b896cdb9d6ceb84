"""Passthrough: which open files have another file behind them, and its id.

The law is the kernel's: an inode is open with a file behind it or without one, never
both at a time, and there is one such file (``fuse_file_io_open()`` in
fs/fuse/iomode.c).  So the first open of a node decides until the last is released.
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

#: FOPEN_PASSTHROUGH_MASK of fs/fuse/iomode.c: what may stand beside PASSTHROUGH.
_BESIDE = int(
    OpenFlags.DIRECT_IO | OpenFlags.PARALLEL_DIRECT_WRITES | OpenFlags.NOFLUSH
)
_BACKED = int(OpenFlags.PASSTHROUGH)
_SERVED = int(OpenFlags.PASSTHROUGH | OpenFlags.DIRECT_IO)
_KEEP_CACHE = int(OpenFlags.KEEP_CACHE)

_NOT = "no passthrough, the filesystem reads and writes: %s"

#: What the first attempt says about all that would follow: no CAP_SYS_ADMIN, or a
#: device that has no such ioctl(2).
_FOR_GOOD = frozenset({errno.EPERM, errno.ENOTTY, errno.EOPNOTSUPP})

#: What is nobody's mistake: the above, and files on a filesystem stacked too deep.
_EXPECTED = _FOR_GOOD | {errno.ELOOP}


@attrs.define(eq=False, repr=False)
class _Node:
    """An inode that is open: how often, and the file behind it, if there is one."""

    backing: BackingId | None
    opens: int = 0


@attrs.define(eq=False, repr=False)
class Backings:
    """Keeps the ids of the files behind open files, one an inode.

    Where passthrough cannot be had, files are opened without it.  The log says once
    that it can be had, and once why it cannot.
    """

    _register: Callable[[int], BackingId]
    _granted: bool
    _nodes: dict[int, _Node] = attrs.field(factory=dict, init=False)
    #: Whether trying again is in vain.
    _refused: bool = attrs.field(default=False, init=False)
    _told: set[str] = attrs.field(factory=set, init=False)

    def opened(self, nodeid: int, opened: Opened) -> Opened:
        """Return what is to be answered, and count the open.

        Args:
          nodeid: What was opened.
          opened: What the filesystem answers.

        Returns:
          The same, or with flags and id for passthrough.
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
        if opened.flags & _BACKED:  # the filesystem does it by hand
            return opened
        return _answer(opened, node.backing)

    def released(self, nodeid: int) -> None:
        """Take one open off; the last one gives the id back."""
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
        """Register a file, if there is one and the kernel wants it."""
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
        """Log something, unless it was said before."""
        if message not in self._told:
            self._told.add(message)
            _log.log(level, message, what)


def _answer(opened: Opened, backing: BackingId | None) -> Opened:
    """Return an answer as the file behind its node demands, if there is one."""
    flags = opened.flags & _BESIDE
    if backing is not None:
        # Without a file of its own the filesystem wants to serve reads and writes:
        # they still come, and only mmap(2) goes to the file behind.
        flags |= _SERVED if opened.backing_fd is None else _BACKED
        return Opened(opened.fh, flags, backing.number)
    if opened.backing_fd is None:
        return opened
    # What the page cache holds of such a node may be older than the file behind.
    return Opened(opened.fh, opened.flags & ~_KEEP_CACHE)
