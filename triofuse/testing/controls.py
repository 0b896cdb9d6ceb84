"""Locks, poll, ioctl and bmap; and requests that no system call makes."""

from __future__ import annotations

import errno
import select
from contextlib import suppress
from typing import Unpack

import attrs

from triofuse.filesystem.flags import IoctlFlags
from triofuse.filesystem.replies import FileLock, IoctlReply
from triofuse.testing import replies as f
from triofuse.testing.awaited import os_error
from triofuse.testing.messages import Caller
from triofuse.testing.notifications import Notification
from triofuse.testing.requests import Requester
from triofuse.wire import layouts
from triofuse.wire.opcodes import Opcode

__all__ = ["ControlCalls"]

#: Directories have ioctl since this minor.
_IOCTL_DIR_SINCE = 18

#: poll(2) reports these even if they are not asked for.
_ALWAYS = select.POLLERR | select.POLLHUP


@attrs.define(eq=False)
class ControlCalls(Requester):
    """System calls on open files beside reading and writing, by node and handle."""

    async def getlk(
        self,
        nodeid: int,
        fh: int,
        lock: FileLock,
        owner: int = 0,
        **caller: Unpack[Caller],
    ) -> FileLock:
        """Return a lock that conflicts with a lock, or UNLCK, as F_GETLK does."""
        body = _lock(fh, owner, lock, 0)
        return await self._ask(Opcode.GETLK, f.LOCK, nodeid, body, caller=caller)

    async def setlk(
        self,
        nodeid: int,
        fh: int,
        lock: FileLock,
        owner: int = 0,
        lk_flags: int = 0,
        **caller: Unpack[Caller],
    ) -> None:
        """Acquire or release a lock; BlockingIOError if a lock conflicts."""
        body = _lock(fh, owner, lock, lk_flags)
        await self._ask(Opcode.SETLK, f.NOTHING, nodeid, body, caller=caller)

    async def setlkw(
        self,
        nodeid: int,
        fh: int,
        lock: FileLock,
        owner: int = 0,
        lk_flags: int = 0,
        **caller: Unpack[Caller],
    ) -> None:
        """Acquire or release a lock; blocks while a lock conflicts."""
        body = _lock(fh, owner, lock, lk_flags)
        await self._ask(Opcode.SETLKW, f.NOTHING, nodeid, body, caller=caller)

    async def poll(
        self,
        nodeid: int,
        fh: int,
        events: int,
        kh: int = 0,
        flags: int = 0,
        **caller: Unpack[Caller],
    ) -> int:
        """Return which ``events`` are ready; with SCHEDULE_NOTIFY, ``kh`` wakes later."""
        body = layouts.POLL_IN.pack(fh, kh, flags, events)
        try:
            ready = await self._ask(Opcode.POLL, f.REVENTS, nodeid, body, caller=caller)
        except OSError:
            return select.POLLERR
        return ready & (events | _ALWAYS)

    async def ioctl(
        self,
        nodeid: int,
        fh: int,
        cmd: int,
        data: bytes = b"",
        out_size: int = 0,
        *,
        arg: int = 0,
        flags: int = 0,
        **caller: Unpack[Caller],
    ) -> IoctlReply:
        """Call ioctl(2); ENOTTY if the filesystem has none."""
        if flags & IoctlFlags.DIR and self.negotiated.minor < _IOCTL_DIR_SINCE:
            raise os_error(errno.ENOTTY)
        body = layouts.IOCTL_IN.pack(fh, flags, cmd, arg, len(data), out_size) + data
        try:
            return await self._ask(
                Opcode.IOCTL, f.IOCTL, nodeid, body, room=out_size, caller=caller
            )
        except OSError as exc:
            if exc.errno == errno.ENOSYS:
                raise os_error(errno.ENOTTY) from None
            raise

    async def bmap(
        self, nodeid: int, block: int, blocksize: int, **caller: Unpack[Caller]
    ) -> int:
        """Return a block number of the device; 0 on any error (``fuse_bmap()``)."""
        body = layouts.BMAP_IN.pack(block, blocksize)
        try:
            return await self._ask(Opcode.BMAP, f.BLOCK, nodeid, body, caller=caller)
        except OSError:
            return 0

    async def notify_reply(self, retrieve: Notification, data: bytes) -> None:
        """Answer a RETRIEVE with data from the cache."""
        asked = retrieve.fields
        body = layouts.NOTIFY_RETRIEVE_IN.pack(asked["offset"], len(data)) + data
        unique = asked["notify_unique"]
        await self._send_unanswered(
            Opcode.NOTIFY_REPLY, asked["nodeid"], body, unique=unique
        )

    async def destroy(self) -> None:
        """Send DESTROY, as the unmount of a block device does."""
        with suppress(OSError):
            await self._ask(Opcode.DESTROY, f.NOTHING, 0)


def _lock(fh: int, owner: int, lock: FileLock, lk_flags: int) -> bytes:
    wanted = (lock.start, lock.end, lock.type, lock.pid)
    return layouts.LK_IN.pack(fh, owner, *wanted, lk_flags)
