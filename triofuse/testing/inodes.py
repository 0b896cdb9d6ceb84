"""System calls on inodes: attributes, permissions, extended attributes."""

from __future__ import annotations

import errno
from typing import Unpack

import attrs

from triofuse.filesystem.flags import GetattrFlags, SetattrValid, StatxMask
from triofuse.filesystem.replies import FileAttr, Statfs
from triofuse.testing import replies as f
from triofuse.testing.messages import Caller, encode_names
from triofuse.testing.requests import Requester
from triofuse.wire import layouts
from triofuse.wire.opcodes import FUSE_ROOT_ID, Opcode

__all__ = ["InodeCalls"]

_NS = 1_000_000_000

#: fuse_readlink_folio(): a page less the NUL.
_TARGET_MAX = 4095


@attrs.define(eq=False)
class InodeCalls(Requester):
    """System calls on an inode, by its nodeid."""

    async def getattr(
        self, nodeid: int, fh: int | None = None, **caller: Unpack[Caller]
    ) -> FileAttr:
        """Return the attributes of an inode, by an open file if ``fh`` is given."""
        body = layouts.GETATTR_IN.pack(*_by_handle(fh))
        return await self._ask(Opcode.GETATTR, f.ATTR, nodeid, body, caller=caller)

    async def statx(
        self,
        nodeid: int,
        fh: int | None = None,
        *,
        mask: int = StatxMask.BASIC_STATS | StatxMask.BTIME,
        **caller: Unpack[Caller],
    ) -> FileAttr:
        """Return the attributes with the birth time; without it if STATX is missing."""
        body = layouts.STATX_IN.pack(*_by_handle(fh), 0, mask)
        try:
            return await self._ask(Opcode.STATX, f.STATX, nodeid, body, caller=caller)
        except OSError as exc:
            if exc.errno != errno.ENOSYS:
                raise
        return await self.getattr(nodeid, fh, **caller)

    async def setattr(
        self,
        nodeid: int,
        valid: int = 0,
        *,
        fh: int | None = None,
        size: int | None = None,
        lock_owner: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        ctime_ns: int | None = None,
        mode: int | None = None,
        new_uid: int | None = None,
        new_gid: int | None = None,
        **caller: Unpack[Caller],
    ) -> FileAttr:
        """Set the attributes that are given; ``valid`` adds flags like ATIME_NOW."""
        v = SetattrValid
        values = {
            v.FH: fh,
            v.SIZE: size,
            v.LOCKOWNER: lock_owner,
            v.ATIME: atime_ns,
            v.MTIME: mtime_ns,
            v.CTIME: ctime_ns,
            v.MODE: mode,
            v.UID: new_uid,
            v.GID: new_gid,
        }
        valid |= sum(flag for flag, value in values.items() if value is not None)
        atime, atimensec = divmod(atime_ns or 0, _NS)
        mtime, mtimensec = divmod(mtime_ns or 0, _NS)
        ctime, ctimensec = divmod(ctime_ns or 0, _NS)
        times = (atime, mtime, ctime, atimensec, mtimensec, ctimensec)
        owner = (mode or 0, new_uid or 0, new_gid or 0)
        body = layouts.SETATTR_IN.pack(
            valid, fh or 0, size or 0, lock_owner or 0, *times, *owner
        )
        return await self._ask(Opcode.SETATTR, f.ATTR, nodeid, body, caller=caller)

    async def access(self, nodeid: int, mask: int, **caller: Unpack[Caller]) -> None:
        """Check permissions: ``os.R_OK``, ``os.W_OK``, ``os.X_OK``."""
        body = layouts.ACCESS_IN.pack(mask)
        await self._ask(Opcode.ACCESS, f.NOTHING, nodeid, body, caller=caller)

    async def readlink(self, nodeid: int, **caller: Unpack[Caller]) -> str:
        """Return the target of a symbolic link."""
        return await self._ask(
            Opcode.READLINK, f.TARGET, nodeid, room=_TARGET_MAX, caller=caller
        )

    async def statfs(
        self, nodeid: int = FUSE_ROOT_ID, **caller: Unpack[Caller]
    ) -> Statfs:
        """Return the state of the filesystem."""
        return await self._ask(Opcode.STATFS, f.STATFS, nodeid, caller=caller)

    async def syncfs(self, **caller: Unpack[Caller]) -> None:
        """Write the whole filesystem to stable storage."""
        body = layouts.SYNCFS_IN.pack()
        await self._ask(Opcode.SYNCFS, f.NOTHING, FUSE_ROOT_ID, body, caller=caller)

    async def setxattr(
        self,
        nodeid: int,
        name: str,
        value: bytes,
        flags: int = 0,
        setxattr_flags: int = 0,
        **caller: Unpack[Caller],
    ) -> None:
        """Set an extended attribute."""
        sizes = (len(value), flags, setxattr_flags)
        body = self.negotiated.pack(layouts.SETXATTR_IN, *sizes)
        body += encode_names(name) + value
        await self._ask(Opcode.SETXATTR, f.NOTHING, nodeid, body, caller=caller)

    async def getxattr(
        self, nodeid: int, name: str, size: int | None = None, **caller: Unpack[Caller]
    ) -> bytes:
        """Return an extended attribute; without ``size`` its size is requested first."""
        if size is None:
            size = await self.getxattr_size(nodeid, name, **caller)
            if size == 0:  # a request with size 0 returns the size again
                return b""
        body = layouts.GETXATTR_IN.pack(size) + encode_names(name)
        expected = f.BYTES
        return await self._ask(
            Opcode.GETXATTR, expected, nodeid, body, room=size, caller=caller
        )

    async def getxattr_size(
        self, nodeid: int, name: str, **caller: Unpack[Caller]
    ) -> int:
        """Return the size of an extended attribute."""
        body = layouts.GETXATTR_IN.pack(0) + encode_names(name)
        return await self._ask(Opcode.GETXATTR, f.SIZE, nodeid, body, caller=caller)

    async def listxattr(
        self, nodeid: int, size: int | None = None, **caller: Unpack[Caller]
    ) -> list[str]:
        """Return the names of all extended attributes; ``size`` as in ``getxattr``."""
        if size is None:
            size = await self.listxattr_size(nodeid, **caller)
            if size == 0:
                return []
        body = layouts.GETXATTR_IN.pack(size)
        expected = f.NAMES
        return await self._ask(
            Opcode.LISTXATTR, expected, nodeid, body, room=size, caller=caller
        )

    async def listxattr_size(self, nodeid: int, **caller: Unpack[Caller]) -> int:
        """Return the size of the names of all extended attributes."""
        body = layouts.GETXATTR_IN.pack(0)
        return await self._ask(Opcode.LISTXATTR, f.SIZE, nodeid, body, caller=caller)

    async def removexattr(
        self, nodeid: int, name: str, **caller: Unpack[Caller]
    ) -> None:
        """Remove an extended attribute."""
        body = encode_names(name)
        await self._ask(Opcode.REMOVEXATTR, f.NOTHING, nodeid, body, caller=caller)


def _by_handle(fh: int | None) -> tuple[int, int]:
    """Return getattr_flags and fh."""
    return (0, 0) if fh is None else (GetattrFlags.FH, fh)
