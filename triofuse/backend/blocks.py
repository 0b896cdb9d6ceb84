"""Blocks of files in memory, for stores that are slow to answer.

The law: a block is fetched once, whoever waits for it.  An error goes to those who
asked and is not kept; a cancelled reader takes nothing from others.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TypeAlias

import attrs
import trio

from triofuse.filesystem.errors import FuseError

__all__ = ["BlockCache", "BlockReader", "open_block_cache"]

#: Takes an offset and a size in bytes; returns so many, fewer at the end of the file.
Fetch: TypeAlias = Callable[[int, int], Awaitable[bytes]]

#: What identifies a file, and the number of a block in it.
Place: TypeAlias = tuple[Hashable, int]


@attrs.frozen
class Size:
    """What a fetch is asked for.

    Attributes:
      most: Bytes.
      exact: Whether fewer are an error.
    """

    most: int
    exact: bool

    def checked(self, data: object) -> bytes:
        """Return what was fetched, if it can be."""
        if not isinstance(data, bytes | bytearray | memoryview):
            message = f"fetch() returned {data!r:.80}; bytes are due"
            raise TypeError(message)
        if len(data) > self.most:
            message = f"fetch() returned {len(data)} bytes, more than {self.most}"
            raise ValueError(message)
        if self.exact and len(data) < self.most:
            message = f"fetch() returned {len(data)} bytes of {self.most}"
            raise FuseError(errno.EIO, message)
        return bytes(data)


@attrs.define(eq=False, repr=False)
class Block:
    """A block, or its fetch.

    Attributes:
      place: Which block.
      ahead: Whether nobody has asked for it yet.
      data: The bytes, when they are there.
      error: What the fetch raised.
      waiting: The number of readers that wait for it.
      fetched: Set at the end of the fetch.
      scope: Cancels the fetch.
    """

    place: Place
    ahead: bool
    data: bytes | None = None
    error: Exception | None = None
    waiting: int = 0
    fetched: trio.Event = attrs.Factory(trio.Event)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    @property
    def is_idle(self) -> bool:
        """Whether it can be dropped."""
        return self.data is not None and not self.waiting

    @property
    def content(self) -> bytes:
        """The bytes; raises what the fetch raised."""
        if self.error is not None:
            raise self.error
        if self.data is None:
            raise FuseError(errno.EIO, "the fetch was cancelled with its cache")
        return self.data


@asynccontextmanager
async def open_block_cache(
    limit: int = 64 << 20, block: int = 1 << 20
) -> AsyncIterator[BlockCache]:
    """Open a `BlockCache` for the length of a block of code, one for a whole mount.

    On exit, fetches are cancelled::

        async with triofuse.open_block_cache(64 << 20) as cache:
            reader = cache.reader(fetch, size)
            data = await reader.read(4096, offset)

    Args:
      limit: Bytes to keep in memory; the least recently used blocks go first.
      block: Bytes of a block: what one fetch asks for.
    """
    if not 0 < block <= limit:
        message = f"a block has 1..limit bytes, not {block} with a limit of {limit}"
        raise ValueError(message)
    async with trio.open_nursery() as nursery:
        yield BlockCache(limit, block, nursery)
        nursery.cancel_scope.cancel()


@attrs.define(eq=False, repr=False)
class BlockCache:
    """Blocks of files, up to a number of bytes; made by `open_block_cache`.

    Attributes:
      limit: Bytes in memory, together with those that are being fetched.  What readers
        wait for is fetched even beyond it.
      block: Bytes of a block.
      used: Bytes in memory or being fetched.
    """

    limit: int
    block: int
    _nursery: trio.Nursery
    used: int = attrs.field(default=0, init=False)
    #: In the order of use.
    _blocks: dict[Place, Block] = attrs.field(factory=dict, init=False)

    def reader(
        self,
        fetch: Fetch,
        size: int | None = None,
        *,
        key: Hashable = None,
        ahead: int = 4,
    ) -> BlockReader:
        """Return a reader of one file.

        Args:
          fetch: ``await fetch(offset, size)`` returns bytes of the file: as many as
            asked for, fewer only at its end.
          size: Size of the file, bytes; None if it is unknown.
          key: What identifies the contents: path and ETag, for instance.  Readers of
            the same key share blocks.  None: the blocks are the reader's own.
          ahead: How many blocks to fetch ahead of a sequential reader; 0 for none.
        """
        return BlockReader(self, fetch, size, object() if key is None else key, ahead)

    def drop(self, key: Hashable) -> None:
        """Drop the blocks of a key; fetches that nobody waits for are cancelled."""
        for place in [place for place in self._blocks if place[0] == key]:
            block = self._blocks[place]
            self._remove(block)
            if not block.waiting:
                block.scope.cancel()

    # --- For readers

    def find(self, place: Place) -> Block | None:
        """Return a block, which is then the most recently used."""
        block = self._blocks.pop(place, None)
        if block is not None:
            self._blocks[place] = block
        return block

    def make_room(self) -> bool:
        """Drop blocks for one more; return whether there is room for it."""
        while self.used + self.block > self.limit:
            idle = next((b for b in self._blocks.values() if b.is_idle), None)
            if idle is None:
                return False
            self._remove(idle)
        return True

    def start(self, place: Place, fetch: Fetch, size: Size, *, ahead: bool) -> Block:
        """Start to fetch a block."""
        block = self._blocks[place] = Block(place, ahead)
        self.used += self.block
        self._nursery.start_soon(self._fetch, block, fetch, size)
        return block

    def leave(self, block: Block) -> None:
        """Note that a reader waits no more; cancel a fetch that nobody wants."""
        block.waiting -= 1
        if not block.waiting and not block.ahead and not block.fetched.is_set():
            self._remove(block)
            block.scope.cancel()

    def _remove(self, block: Block) -> None:
        if self._blocks.get(block.place) is block:
            del self._blocks[block.place]
            self.used -= self.block

    async def _fetch(self, block: Block, fetch: Fetch, size: Size) -> None:
        try:
            with block.scope:
                data = await fetch(block.place[1] * self.block, size.most)
                block.data = size.checked(data)
        except Exception as exc:  # noqa: BLE001  (raised in the readers)
            block.error = exc
        finally:
            if block.data is None:
                self._remove(block)
            block.fetched.set()


@attrs.define(eq=False, repr=False)
class BlockReader:
    """Reads one file by blocks; made by `BlockCache.reader`."""

    _cache: BlockCache
    _fetch: Fetch
    _size: int | None
    _key: Hashable
    _ahead: int
    #: The block that a sequential reader reads next.
    _next: int = attrs.field(default=0, init=False)
    #: How many blocks to fetch ahead: it grows while reads are sequential.
    _window: int = attrs.field(default=0, init=False)

    async def read(self, size: int, offset: int) -> bytes:
        """Return ``size`` bytes from ``offset``; fewer at the end of the file.

        Raises:
          FuseError: EIO: the store returned fewer bytes than the file has.
          Exception: What ``fetch`` raised.
        """
        end = offset + size if self._size is None else min(offset + size, self._size)
        if end <= offset:
            await trio.lowlevel.checkpoint()
            return b""
        unit = self._cache.block
        first, last = offset // unit, (end - 1) // unit
        blocks = [self._block(number, ahead=False) for number in range(first, last + 1)]
        self._read_ahead(first, last)
        pieces = await self._all(blocks)
        start = offset - first * unit
        if len(pieces) == 1:
            return pieces[0][start : start + end - offset]
        return b"".join(pieces)[start : start + end - offset]

    def close(self) -> None:
        """Cancel fetches that nobody waits for, and drop blocks of the reader's own."""
        if type(self._key) is object:
            self._cache.drop(self._key)

    def _block(self, number: int, *, ahead: bool) -> Block:
        """Return a block, and start to fetch it if need be."""
        place = (self._key, number)
        block = self._cache.find(place)
        if block is not None:
            block.ahead = block.ahead and ahead
            return block
        self._cache.make_room()
        most = self._cache.block
        if self._size is not None:
            most = min(most, self._size - number * most)
        size = Size(most, exact=self._size is not None)
        return self._cache.start(place, self._fetch, size, ahead=ahead)

    def _read_ahead(self, first: int, last: int) -> None:
        """Fetch what a sequential reader will ask for next.

        The kernel sends reads of a sequential reader in any order, so the block before
        the next one counts as sequential, too.
        """
        if not self._next - 1 <= first <= self._next:
            self._next, self._window = last + 1, 0
            return
        if last >= self._next or not self._window:
            self._window = min(max(2 * self._window, 1), self._ahead)
        self._next = max(self._next, last + 1)
        stop = self._next + self._window
        if self._size is not None:
            stop = min(stop, -(-self._size // self._cache.block))
        for number in range(self._next, stop):
            if self._cache.find((self._key, number)) is None:
                if not self._cache.make_room():
                    return
                self._block(number, ahead=True)

    async def _all(self, blocks: list[Block]) -> list[bytes]:
        """Wait for blocks; return their bytes up to the end of the file."""
        for block in blocks:
            block.waiting += 1
        try:
            for block in blocks:
                await block.fetched.wait()
        finally:
            for block in blocks:
                self._cache.leave(block)
        pieces = []
        for block in blocks:
            pieces.append(block.content)
            if len(pieces[-1]) < self._cache.block:
                break
        return pieces
