"""System calls beside the data: locks, poll, ioctl; and what no call makes."""

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

#: Before this minor a directory has no ioctl.
_IOCTL_DIR_SINCE = 18

#: poll(2) says these unasked.
_ALWAYS = select.POLLERR | select.POLLHUP


@attrs.define(eq=False)
class ControlCalls(Requester):
    """What is done to open files beside reading and writing, by node and handle."""

    async def getlk(
        self,
        nodeid: int,
        fh: int,
        lock: FileLock,
        owner: int = 0,
        **caller: Unpack[Caller],
    ) -> FileLock:
        """Ask what stands in the way of a lock."""
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
        """Take or drop a lock; BlockingIOError if it is taken."""
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
        """Take or drop a lock, waiting for it."""
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
        """Ask what of ``events`` is ready; with SCHEDULE_NOTIFY, be woken by ``kh``."""
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
        """Do an ioctl(2); ENOTTY where there are none."""
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
        """Find a block on the device; whatever the error, 0 (``fuse_bmap()``)."""
        body = layouts.BMAP_IN.pack(block, blocksize)
        try:
            return await self._ask(Opcode.BMAP, f.BLOCK, nodeid, body, caller=caller)
        except OSError:
            return 0

    async def notify_reply(self, retrieve: Notification, data: bytes) -> None:
        """Answer a RETRIEVE with what the cache holds."""
        asked = retrieve.fields
        body = layouts.NOTIFY_RETRIEVE_IN.pack(asked["offset"], len(data)) + data
        unique = asked["notify_unique"]
        await self._tell(Opcode.NOTIFY_REPLY, asked["nodeid"], body, unique=unique)

    async def destroy(self) -> None:
        """Say that the filesystem is unmounted, as for a block device."""
        with suppress(OSError):
            await self._ask(Opcode.DESTROY, f.NOTHING, 0)


def _lock(fh: int, owner: int, lock: FileLock, lk_flags: int) -> bytes:
    wanted = (lock.start, lock.end, lock.type, lock.pid)
    return layouts.LK_IN.pack(fh, owner, *wanted, lk_flags)
