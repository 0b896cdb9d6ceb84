"""System calls on names in directories, and FORGET."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Iterable
from typing import Unpack

import attrs

from triofuse.filesystem.replies import Entry, Opened
from triofuse.testing import replies as f
from triofuse.testing.awaited import os_error
from triofuse.testing.messages import (
    Caller,
    Creator,
    encode_extensions,
    encode_names,
)
from triofuse.testing.requests import Requester
from triofuse.wire import layouts
from triofuse.wire.opcodes import Opcode

__all__ = ["NameCalls"]

#: The minors since which BATCH_FORGET and RENAME2 exist.
_BATCH_FORGET_SINCE = 16
_RENAME2_SINCE = 23

#: Nodes in a BATCH_FORGET that fits the smallest buffer of a server.
_BATCH = 500


@attrs.define(eq=False)
class NameCalls(Requester):
    """System calls on names in directories.

    Every method takes ``uid``, ``gid`` and ``pid`` of the caller as keywords, and
    raises the ``OSError`` that the caller of the system call would get.
    """

    async def lookup(self, parent: int, name: str, **caller: Unpack[Caller]) -> Entry:
        """Look up a name; a negative entry (nodeid 0) is returned like any other."""
        form = f.PARENT if name in {".", ".."} else f.ENTRY
        body = encode_names(name)
        return await self._ask(Opcode.LOOKUP, form, parent, body, caller=caller)

    async def mknod(
        self,
        parent: int,
        name: str,
        mode: int,
        rdev: int = 0,
        umask: int = 0,
        **creator: Unpack[Creator],
    ) -> Entry:
        """Create a file, device, pipe or socket; the type is in ``mode``."""
        body = self.negotiated.pack(layouts.MKNOD_IN, mode, rdev, umask)
        return await self._make(Opcode.MKNOD, parent, mode, body, (name,), creator)

    async def mkdir(
        self,
        parent: int,
        name: str,
        mode: int = 0o755,
        umask: int = 0,
        **creator: Unpack[Creator],
    ) -> Entry:
        """Create a directory."""
        body = self.negotiated.pack(layouts.MKDIR_IN, mode, umask)
        kind = stat.S_IFDIR
        return await self._make(Opcode.MKDIR, parent, kind, body, (name,), creator)

    async def symlink(
        self, parent: int, name: str, target: str, **creator: Unpack[Creator]
    ) -> Entry:
        """Create a symbolic link."""
        kind, names = stat.S_IFLNK, (name, target)
        return await self._make(Opcode.SYMLINK, parent, kind, b"", names, creator)

    async def create(
        self,
        parent: int,
        name: str,
        flags: int = 0,
        mode: int = 0o644,
        umask: int = 0,
        **creator: Unpack[Creator],
    ) -> tuple[Entry, Opened]:
        """Create and open a regular file; by MKNOD and OPEN if CREATE is missing."""
        mode = stat.S_IFREG | stat.S_IMODE(mode)
        body = self.negotiated.pack(layouts.CREATE_IN, flags, mode, umask, 0)
        body += encode_names(name)
        try:
            return await self._open_new(Opcode.CREATE, parent, body, creator)
        except OSError as exc:
            if exc.errno != errno.ENOSYS:
                raise
        entry = await self.mknod(parent, name, mode, 0, umask, **creator)
        body = layouts.OPEN_IN.pack(flags, 0)
        opened = await self._ask(
            Opcode.OPEN, f.OPENED, entry.nodeid, body, caller=creator
        )
        return entry, opened

    async def tmpfile(
        self,
        parent: int,
        flags: int = 0,
        mode: int = 0o644,
        umask: int = 0,
        **creator: Unpack[Creator],
    ) -> tuple[Entry, Opened]:
        """Create and open a regular file without a name."""
        mode = stat.S_IFREG | stat.S_IMODE(mode)
        body = layouts.CREATE_IN.pack(flags, mode, umask, 0) + encode_names("/")
        return await self._open_new(Opcode.TMPFILE, parent, body, creator)

    async def link(
        self, nodeid: int, newparent: int, newname: str, **caller: Unpack[Caller]
    ) -> Entry:
        """Give an inode another name."""
        body = layouts.LINK_IN.pack(nodeid) + encode_names(newname)
        return await self._ask(Opcode.LINK, f.ENTRY, newparent, body, caller=caller)

    async def unlink(self, parent: int, name: str, **caller: Unpack[Caller]) -> None:
        """Remove the name of a file."""
        body = encode_names(name)
        await self._ask(Opcode.UNLINK, f.NOTHING, parent, body, caller=caller)

    async def rmdir(self, parent: int, name: str, **caller: Unpack[Caller]) -> None:
        """Remove an empty directory."""
        body = encode_names(name)
        await self._ask(Opcode.RMDIR, f.NOTHING, parent, body, caller=caller)

    async def rename(
        self,
        parent: int,
        name: str,
        newparent: int,
        newname: str,
        flags: int = 0,
        **caller: Unpack[Caller],
    ) -> None:
        """Rename; with flags by RENAME2, EINVAL if the protocol has none."""
        if flags and self.negotiated.minor < _RENAME2_SINCE:
            raise os_error(errno.EINVAL)
        opcode = Opcode.RENAME2 if flags else Opcode.RENAME
        body = layouts.RENAME_IN.pack(newparent)
        if flags:
            body = layouts.RENAME2_IN.pack(newparent, flags)
        body += encode_names(name, newname)
        await self._ask(opcode, f.NOTHING, parent, body, caller=caller, flags=flags)

    async def forget(self, nodeid: int, nlookup: int = 1) -> None:
        """Decrease a lookup count, as when the inode leaves the cache."""
        self.lookups[nodeid] -= nlookup
        await self._forget(nodeid, nlookup)

    async def batch_forget(self, items: Iterable[tuple[int, int]]) -> None:
        """Decrease many lookup counts: pairs of nodeid and nlookup."""
        pairs = list(items)
        if self.negotiated.minor < _BATCH_FORGET_SINCE:
            for nodeid, nlookup in pairs:
                await self.forget(nodeid, nlookup)
            return
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            for nodeid, nlookup in batch:
                self.lookups[nodeid] -= nlookup
            body = layouts.BATCH_FORGET_IN.pack(len(batch))
            body += b"".join(layouts.FORGET_ONE.pack(*pair) for pair in batch)
            await self._send_unanswered(Opcode.BATCH_FORGET, 0, body)

    async def forget_all(self) -> None:
        """Forget every node, as when memory is short: `lookups` is then empty."""
        await self.batch_forget((+self.lookups).items())
        self.lookups += Counter()  # drops zeros, keeps lookups that came meanwhile

    async def _make(
        self,
        opcode: Opcode,
        parent: int,
        mode: int,
        body: bytes,
        names: tuple[str, ...],
        creator: Creator,
    ) -> Entry:
        expected = f.made(stat.S_IFMT(mode))
        extensions = encode_extensions(self.negotiated.granted, creator)
        body += encode_names(*names)
        return await self._ask(
            opcode, expected, parent, body, extensions, caller=creator
        )

    async def _open_new(
        self, opcode: Opcode, parent: int, body: bytes, creator: Creator
    ) -> tuple[Entry, Opened]:
        extensions = encode_extensions(self.negotiated.granted, creator)
        return await self._ask(
            opcode, f.CREATED, parent, body, extensions, caller=creator
        )
