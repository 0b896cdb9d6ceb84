"""The contents of files that are open: in the store, in blocks, or in a spool.

The law: all handles of a file share its contents.  What was written is in the spool
until it is sent, in one piece, at flush(), fsync() or release().

            read                  write, truncate
    STORED -------> (blocks, or   ---------------> CHANGED
       ^             a download)                      |
       +---------------- sent ------------------------+
"""

from __future__ import annotations

import errno
import os
import stat
import time

import attrs
import trio

from triofuse.backend.blocks import BlockCache, BlockReader
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import FileAttr, FileData
from triofuse.fsspec.information import Info
from triofuse.fsspec.spools import Spool, Spools
from triofuse.fsspec.store import Store

__all__ = ["UNKNOWN", "Content", "Reading"]

#: Reads that are no further than this from where the last one ended are sequential:
#: the kernel sends those of a sequential reader in any order.
_NEAR = 2 << 20

#: The size of a file whose size nobody knows.
UNKNOWN = 1 << 62


@attrs.frozen
class Reading:
    """What all contents of a mount read with.

    Attributes:
      store: The store.
      spools: Where spools are made.
      sequential: Large blocks, fetched ahead.
      random: Small blocks.
      nursery: Runs downloads.
    """

    store: Store
    spools: Spools
    sequential: BlockCache
    random: BlockCache
    nursery: trio.Nursery


@attrs.define(eq=False)
class Content:
    """The contents of a file while it is open.

    Attributes:
      path: Where it is now; empty when it was removed.
      attr: The attributes: those of the store, or of the spool once it was changed.
      info: What the store says of it; None if it is not there yet.
      spool: The contents on this machine, if they are.
      changed: Whether the spool has what the store has not.
      handles: How many are open.
      writers: How many of them write.
      key: The key of its blocks.
    """

    reading: Reading
    path: str
    attr: FileAttr
    info: Info | None
    spool: Spool | None = None
    changed: bool = False
    handles: int = 0
    writers: int = 0
    key: object = attrs.field(factory=object)
    _changes: int = attrs.field(default=0, init=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _download: trio.Event | None = attrs.field(default=None, init=False)
    _failure: OSError | None = attrs.field(default=None, init=False)
    _readers: tuple[BlockReader, BlockReader] | None = attrs.field(
        default=None, init=False
    )
    _direct: int | None = attrs.field(default=None, init=False)
    _next: int = attrs.field(default=0, init=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.attr.size

    @property
    def was_changed(self) -> bool:
        """Whether it was written to since it was opened."""
        return self._changes > 0

    # --- Reading

    async def read(self, size: int, offset: int) -> bytes | FileData:
        """Return bytes, or where they are."""
        is_large = self.size > self.reading.sequential.block
        if self.spool is None and is_large and self.reading.store.whole:
            self._start_download()
        if self.spool is not None:
            if self._download is not None and not await self._wait(offset + size):
                raise self._failure or FuseError(errno.EIO)
            return FileData(self.spool.fd, offset, size)
        if self._direct is not None:
            return FileData(self._direct, offset, size)
        if self.reading.store.immediate:
            return await self.reading.store.fetch(self.path, offset, size)
        sequential, random = self._readers or self._open_readers()
        near = abs(offset - self._next) <= _NEAR or self.size <= _NEAR
        self._next = offset + size
        return await (sequential if near else random).read(size, offset)

    def _open_readers(self) -> tuple[BlockReader, BlockReader]:
        reading = self.reading
        size = None if self.size == UNKNOWN else self.size

        async def fetch(offset: int, size: int) -> bytes:
            return await reading.store.fetch(self.path, offset, size)

        self._readers = (
            reading.sequential.reader(fetch, size, key=self.key, ahead=6),
            reading.random.reader(fetch, size, key=self.key, ahead=0),
        )
        return self._readers

    def _start_download(self) -> None:
        self.spool = self.reading.spools.make()
        self._failure, self._download = None, trio.Event()
        self.reading.nursery.start_soon(self._fetch, self.spool, self._download)

    async def _fetch(self, spool: Spool, ended: trio.Event) -> None:
        try:
            await self.reading.store.download(self.path, spool, self.size)
        except OSError as exc:
            self._failure, self.spool = exc, None
        finally:
            self._download = None
            ended.set()
            spool.grow(spool.have)
            if self.spool is not spool:
                spool.close()

    async def _wait(self, end: int) -> bool:
        """Wait until the spool has its first ``end`` bytes; return whether it has."""
        spool = self.spool
        assert spool is not None
        while self._download is not None and spool.have < min(end, self.size):
            await spool.wait_grown()
        return self.spool is spool

    def open_direct(self) -> None:
        """Open it to be read directly, if it is a file of this machine."""
        self._direct = self.reading.store.descriptor(self.path)

    async def load(self) -> Spool:
        """Fetch all of it; return the spool.

        Raises:
          OSError: The store cannot.
        """
        if self.spool is None:
            if not self.size:
                self.spool = self.reading.spools.make()
                return self.spool
            self._start_download()
        if self._download is not None:
            await self._download.wait()
        if self.spool is None:
            raise self._failure or FuseError(errno.EIO)
        return self.spool

    # --- Writing

    async def write(self, data: memoryview | bytes | bytearray, offset: int) -> int:
        """Write to the spool."""
        spool = self.spool
        if spool is None or self._download is not None:
            spool = await self.load()
        written = os.pwrite(spool.fd, data, offset)
        self.attr.size = max(self.attr.size, offset + written)
        self._touch()
        return written

    async def truncate(self, size: int) -> None:
        """Set the size of the spool."""
        if size == 0 and self.spool is None:
            self.spool = self.reading.spools.make()
        spool = await self.load()
        os.ftruncate(spool.fd, size)
        self.attr.size = size
        self._touch()

    async def touch(self) -> None:
        """Have it sent again, so that the store gives it a new time."""
        await self.load()
        self._touch()

    def _touch(self) -> None:
        self._changes += 1
        self.changed = True
        self.attr.mtime_ns = self.attr.ctime_ns = time.time_ns()
        self.attr.blocks = (self.attr.size + 511) // 512

    async def send(self) -> None:
        """Send what was changed.

        Raises:
          OSError: The store did not take it; it is sent again at the next occasion.
        """
        async with self._lock:
            if not self.changed or not self.path:
                return
            spool, changes = await self.load(), self._changes
            mode = stat.S_IMODE(self.attr.mode)
            await self.reading.store.upload(self.path, spool, mode)
            self.changed = self._changes != changes
            self.info = {"name": self.path, "type": "file", "size": spool.size}

    def close(self) -> None:
        """Drop the spool, when no handle is left."""
        if self.spool is not None:
            self.spool.dropped = True
            if self._download is None:
                self.spool.close()
        if self._direct is not None:
            os.close(self._direct)
        self.spool = self._direct = None
        self.changed = False
