"""System calls on open files."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Unpack

import attrs

from triofuse.filesystem.flags import WriteFlags
from triofuse.filesystem.replies import Buffer, Opened
from triofuse.testing import replies as f
from triofuse.testing.awaited import os_error
from triofuse.testing.inodes import InodeCalls
from triofuse.testing.messages import Caller
from triofuse.wire import layouts
from triofuse.wire.opcodes import Opcode

__all__ = ["FileCalls"]

_SEEK_DATA = 3  # PyPy has no name for it

_WRITEBACK = Caller(uid=0, gid=0, pid=0)

#: The opcodes that copy, in the order of trial; each with its most bytes.
_COPYING = [
    (Opcode.COPY_FILE_RANGE_64, f.COPIED, 2**64 - 1),
    (Opcode.COPY_FILE_RANGE, f.COPIED_32, 0xFFFFF000),
]


@attrs.define(eq=False)
class FileCalls(InodeCalls):
    """System calls on open files, by node and handle."""

    async def open(
        self,
        nodeid: int,
        flags: int = os.O_RDONLY,
        open_flags: int = 0,
        **caller: Unpack[Caller],
    ) -> Opened:
        """Open a file; by default for reading."""
        body = layouts.OPEN_IN.pack(flags, open_flags)
        return await self._ask(Opcode.OPEN, f.OPENED, nodeid, body, caller=caller)

    async def read(
        self,
        nodeid: int,
        fh: int,
        offset: int = 0,
        size: int = 131072,
        *,
        read_flags: int = 0,
        lock_owner: int = 0,
        flags: int = 0,
        **caller: Unpack[Caller],
    ) -> bytes:
        """Read ``size`` bytes with one or more READs; a short READ ends it."""
        data = b""
        while len(data) < size:
            wanted = min(size - len(data), self.negotiated.max_read)
            place = (fh, offset + len(data), wanted)
            body = layouts.READ_IN.pack(*place, read_flags, lock_owner, flags)
            got = await self._ask(
                Opcode.READ, f.BYTES, nodeid, body, room=wanted, caller=caller
            )
            data += got
            if len(got) < wanted:
                break
        return data

    async def write(
        self,
        nodeid: int,
        fh: int,
        offset: int,
        data: Buffer,
        *,
        write_flags: int = 0,
        lock_owner: int = 0,
        flags: int = 0,
        **caller: Unpack[Caller],
    ) -> int:
        """Write ``data`` with one or more WRITEs; a short WRITE ends it."""
        caller = _WRITEBACK if write_flags & WriteFlags.CACHE else caller
        written = 0
        while written < len(data):
            part = bytes(data[written : written + self.negotiated.max_write])
            place = (fh, offset + written, len(part))
            body = self.negotiated.pack(
                layouts.WRITE_IN, *place, write_flags, lock_owner, flags
            )
            expected = f.written(len(part))
            size = await self._ask(
                Opcode.WRITE, expected, nodeid, body + part, caller=caller
            )
            written += size
            if size < len(part):
                break
        return written

    async def flush(
        self, nodeid: int, fh: int, lock_owner: int = 0, **caller: Unpack[Caller]
    ) -> None:
        """Close one descriptor of a file."""
        body = layouts.FLUSH_IN.pack(fh, lock_owner)
        await self._ask(Opcode.FLUSH, f.NOTHING, nodeid, body, caller=caller)

    async def release(
        self,
        nodeid: int,
        fh: int,
        flags: int = 0,
        release_flags: int = 0,
        lock_owner: int = 0,
    ) -> None:
        """Close the last descriptor of a file; errors are ignored."""
        if Opcode.OPEN in self.unsupported:
            return
        body = layouts.RELEASE_IN.pack(fh, flags, release_flags, lock_owner)
        with suppress(OSError):
            await self._ask(Opcode.RELEASE, f.NOTHING, nodeid, body)

    async def fsync(
        self, nodeid: int, fh: int, fsync_flags: int = 0, **caller: Unpack[Caller]
    ) -> None:
        """Write a file to stable storage."""
        body = layouts.FSYNC_IN.pack(fh, fsync_flags)
        await self._ask(Opcode.FSYNC, f.NOTHING, nodeid, body, caller=caller)

    async def fallocate(
        self,
        nodeid: int,
        fh: int,
        offset: int,
        length: int,
        mode: int = 0,
        **caller: Unpack[Caller],
    ) -> None:
        """Allocate or free space of a file."""
        body = layouts.FALLOCATE_IN.pack(fh, offset, length, mode)
        await self._ask(Opcode.FALLOCATE, f.NOTHING, nodeid, body, caller=caller)

    async def lseek(
        self, nodeid: int, fh: int, offset: int, whence: int, **caller: Unpack[Caller]
    ) -> int:
        """Find data or a hole; without LSEEK the whole file counts as data."""
        body = layouts.LSEEK_IN.pack(fh, offset, whence)
        try:
            return await self._ask(Opcode.LSEEK, f.OFFSET, nodeid, body, caller=caller)
        except OSError as exc:
            if exc.errno != errno.ENOSYS:
                raise
        attr = await self.getattr(nodeid, **caller)
        if not 0 <= offset < attr.size:
            raise os_error(errno.ENXIO)
        return offset if whence == _SEEK_DATA else attr.size

    async def copy_file_range(
        self,
        nodeid: int,
        fh_in: int,
        off_in: int,
        nodeid_out: int,
        fh_out: int,
        off_out: int,
        length: int,
        flags: int = 0,
        **caller: Unpack[Caller],
    ) -> int:
        """Copy between two files; by READ and WRITE if that is not supported."""
        place = (fh_in, off_in, nodeid_out, fh_out, off_out)
        for opcode, expected, most in _COPYING:
            body = layouts.COPY_FILE_RANGE_IN.pack(*place, min(length, most), flags)
            try:
                return await self._ask(opcode, expected, nodeid, body, caller=caller)
            except OSError as exc:
                if exc.errno != errno.ENOSYS:
                    raise
        data = await self.read(nodeid, fh_in, off_in, length, **caller)
        return await self.write(nodeid_out, fh_out, off_out, data, **caller)
