"""The operations on open files and directories."""

from __future__ import annotations

import errno
import functools
import logging
import os

import trio

import triofuse as t
from triofuse.compat.pyfuse3.listing import begin, entries_of
from triofuse.compat.pyfuse3.translation import (
    Translated,
    caller,
    opened_as,
    translating,
)
from triofuse.compat.pyfuse3.values import FUSEError, PollHandle, ReaddirToken

__all__ = ["FileHandlers"]

_log = logging.getLogger("triofuse.compat.pyfuse3")


class FileHandlers(Translated):
    """Calls the handlers that take a file handle."""

    @translating
    async def open(self, request: t.Open) -> t.Opened:
        """Open a file."""
        ctx = caller(request)
        return opened_as(
            await self._operations.open(request.nodeid, request.flags, ctx)
        )

    async def read(self, request: t.Read) -> t.Buffer:
        """Read from a file."""
        try:
            return await self._operations.read(  # type: ignore[no-any-return]
                request.fh, request.offset, request.size
            )
        except FUSEError as exc:
            raise t.FuseError(exc.errno) from None

    async def write(self, request: t.Write) -> int:
        """Write to a file."""
        data = bytes(request.data)
        try:
            return await self._operations.write(  # type: ignore[no-any-return]
                request.fh, request.offset, data
            )
        except FUSEError as exc:
            raise t.FuseError(exc.errno) from None

    @translating
    async def flush(self, request: t.Flush) -> None:
        """Handle close(2)."""
        await self._operations.flush(request.fh)

    @translating
    async def release(self, request: t.Release) -> None:
        """Release a handle; nobody gets an error of it."""
        try:
            await self._operations.release(request.fh)
        except FUSEError as exc:
            _log.debug("release(%d): %s", request.fh, exc)

    @translating
    async def fsync(self, request: t.Fsync) -> None:
        """Write a file to stable storage."""
        await self._operations.fsync(request.fh, _only_data(request))

    @translating
    async def poll(self, request: t.Poll) -> int:
        """Return the events that are ready."""
        handle = None
        if request.flags & t.PollFlags.SCHEDULE_NOTIFY:
            handle = PollHandle._made(functools.partial(self._wake, request.kh))
        events = await self._operations.poll(
            request.nodeid, request.fh, handle, caller(request)
        )
        return events or 0

    def _wake(self, kh: int) -> None:
        try:
            self.notifier.from_thread.poll(kh)
        except (trio.EndOfChannel, trio.ClosedResourceError):
            number = errno.ENODEV
            raise OSError(number, os.strerror(number)) from None

    @translating
    async def opendir(self, request: t.Opendir) -> t.Opened:
        """Open a directory."""
        handle = await self._operations.opendir(request.nodeid, caller(request))
        return t.Opened(handle)

    async def readdirplus(self, request: t.Readdirplus) -> list[t.DirEntry]:
        """List a directory."""
        token = begin(request.size)
        try:
            await self._operations.readdir(request.fh, request.offset, token)
        except FUSEError as exc:
            self._forget_listed(token)
            raise t.FuseError(exc.errno) from None
        except BaseException:
            self._forget_listed(token)
            raise
        return entries_of(token)

    def _forget_listed(self, token: ReaddirToken) -> None:
        """Forget what was listed before a handler failed: the kernel does not get it."""
        for listed in entries_of(token):
            if listed.entry and listed.entry.nodeid and listed.name not in (".", ".."):
                self.forget(t.Forget(0, listed.entry.nodeid, 0, 0, 0, 1))

    @translating
    async def releasedir(self, request: t.Releasedir) -> None:
        """Release a directory's handle; nobody gets an error of it."""
        try:
            await self._operations.releasedir(request.fh)
        except FUSEError as exc:
            _log.debug("releasedir(%d): %s", request.fh, exc)

    @translating
    async def fsyncdir(self, request: t.Fsyncdir) -> None:
        """Write a directory to stable storage."""
        await self._operations.fsyncdir(request.fh, _only_data(request))


def _only_data(request: t.Fsync) -> bool:
    return bool(request.fsync_flags & t.FsyncFlags.FDATASYNC)
