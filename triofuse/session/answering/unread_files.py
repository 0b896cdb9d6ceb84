"""Warns of files that the kernel never reads because their size is 0.

The kernel reads nothing from a file of size 0: generic_file_read_iter() ends at i_size,
so ``read`` is never called and no error is shown.  With FOPEN_DIRECT_IO it is called.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Awaitable, Callable

import attrs
import trio

from triofuse.filesystem.filesystem import Filesystem, implements
from triofuse.filesystem.flags import O_ACCMODE
from triofuse.filesystem.requests import Getattr, Release
from triofuse.session.answering.statistics import Tally

__all__ = ["UnreadFiles"]

_log = logging.getLogger("triofuse")

#: Releases after which the size is checked, while nothing was read.
_CHECKS = 8

#: Seconds that one check may take.
_MAX_WAIT = 1.0


@attrs.define(eq=False, repr=False)
class UnreadFiles:
    """Wraps RELEASE, and checks sizes until a file has been read.

    A filesystem with a ``write`` is not checked: its files may well be empty.
    """

    _filesystem: Filesystem
    _release: Callable[[Release], Awaitable[None]]
    _reads: Tally
    _left: int = attrs.field(default=_CHECKS, init=False)

    @staticmethod
    def apply_to(filesystem: Filesystem) -> bool:
        """Whether a filesystem has a ``read`` that might never be called."""
        has = {name: implements(filesystem, name) for name in ("read", "write")}
        return has["read"] and not has["write"]

    async def release(self, request: Release) -> None:
        """Release a file; if none was ever read, check whether its size is 0."""
        await self._release(request)
        if self._reads.handled:
            self._left = 0
        if self._left and request.flags & O_ACCMODE != os.O_WRONLY:
            self._left -= 1
            with trio.move_on_after(_MAX_WAIT):
                await self._check_size(request.nodeid)

    async def _check_size(self, nodeid: int) -> None:
        try:
            attr = await self._filesystem.getattr(
                Getattr(0, nodeid, 0, 0, os.getpid(), 0, None)
            )
        except Exception:  # noqa: BLE001  (a caller of stat(2) gets the error)
            return
        if attr.size or not stat.S_ISREG(attr.mode):
            return
        self._left = 0
        name = type(self._filesystem).__name__
        _log.warning(
            "%s: node %d was opened, but has size 0, so that the kernel never calls "
            "%s.read().  Unless it is empty, give its FileAttr.size; if the size is "
            "unknown, return Opened(flags=OpenFlags.DIRECT_IO) from open()",
            name,
            nodeid,
            name,
        )
