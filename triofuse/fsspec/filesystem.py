"""`FsspecFilesystem`: a store of fsspec as a filesystem."""

from __future__ import annotations

import errno
import os

import trio
from fsspec import AbstractFileSystem

from triofuse.backend.blocks import open_block_cache
from triofuse.fsspec.calls import Limits
from triofuse.fsspec.changes import Changes
from triofuse.fsspec.contents import Reading
from triofuse.fsspec.information import Shown, is_directory
from triofuse.fsspec.operations import Operations
from triofuse.fsspec.progress import show_transfers
from triofuse.fsspec.spools import Spools
from triofuse.fsspec.stores import store_of
from triofuse.fsspec.transfers import Activity
from triofuse.paths.filesystem import PathFilesystem

__all__ = ["FsspecFilesystem"]

#: Bytes of the blocks of random readers.
_SMALL = 64 << 10

#: Some blocks of each kind.
_LEAST = 8 << 20

_LONG = 86400.0


class FsspecFilesystem(PathFilesystem):
    """A store of fsspec, to read and write.

    ::

        fs = fsspec.filesystem("s3", anon=True)
        triofuse.run(FsspecFilesystem(fs, "bucket/prefix"), "/mnt/s3")

    Reads are answered from blocks in memory, which are fetched ahead of sequential
    readers; of archives, whole files are unpacked to a file without a name.  What is
    written goes to such a file, and is sent in one piece by close(2) and fsync(2),
    which return the store's error.

    Many machines may mount one store.  Who opens a file after another machine has
    closed it gets the new contents, if at least ``ttl`` seconds lie between; with
    ``ttl=0`` always.

    Args:
      fs: A filesystem of fsspec.
      root: The path in it that is shown.
      ttl: Seconds for which names and attributes are valid; None: 5, or a day for an
        archive, which does not change.
      cache: Bytes of memory for blocks.
      spool: A directory for files that are being written or unpacked.
      in_flight: The most calls of the store at a time.
      timeout: Seconds for an answer of the store; then ETIMEDOUT.
      retries: Further attempts after a failure that may pass.
      read_only: Refuse all changes with EROFS.
    """

    def __init__(
        self,
        fs: AbstractFileSystem,
        root: str = "",
        *,
        ttl: float | None = None,
        cache: int = 128 << 20,
        spool: str | os.PathLike[str] | None = None,
        in_flight: int = 16,
        timeout: float = 60.0,
        retries: int = 3,
        read_only: bool = False,
    ) -> None:
        if cache < _LEAST:
            message = f"cache takes {_LEAST} bytes or more, not {cache}"
            raise ValueError(message)
        limits = Limits(in_flight, timeout, retries)
        self.stored = store_of(fs, root, limits)
        writable = self.stored.writable and not read_only
        if ttl is None:
            ttl = _LONG if self.stored.constant else 5.0
        self._cache = cache
        self._spools = Spools() if spool is None else Spools(os.fspath(spool))
        shown = Shown(writable, self.stored.owners, ttl)
        kind = Changes if writable else Operations
        self.operations = kind(self.stored, shown)
        if not writable:
            self.mount_options = "ro"
        super().__init__(self.operations, valid=ttl, hard_remove=True)

    @property
    def activity(self) -> Activity:
        """What the store is being asked for, for `triofuse list` and progress bars."""
        return self.stored.calls.activity

    async def show_transfers(self) -> None:
        """Show long transfers as progress bars, where stderr is a terminal."""
        await show_transfers(self.activity)

    async def check(self, url: str) -> None:
        """Ask the store for the root.

        Args:
          url: What it is called in messages.

        Raises:
          OSError: There is none, it is no directory, or the store cannot be reached.
        """
        try:
            info = await self.stored.info("/")
        except FileNotFoundError as exc:
            if not self.stored.keeps_directories and "/" in self.stored.root:
                return  # a prefix of which there is nothing yet
            message = f"{url}: there is no such directory in the store"
            raise FileNotFoundError(errno.ENOENT, message) from exc
        except OSError as exc:
            raise OSError(exc.errno, f"{url}: {exc.strerror}") from exc
        if not is_directory(info):
            message = f"{url} is a file; what is in an archive is zip::{url}, tar::..."
            raise NotADirectoryError(errno.ENOTDIR, message)

    async def run(self) -> None:
        """Run what outlives its request."""
        quarter = self._cache // 4
        async with (
            open_block_cache(self._cache - quarter, self.stored.block) as large,
            open_block_cache(quarter, _SMALL) as small,
            trio.open_nursery() as nursery,
        ):
            self.operations.start(
                Reading(self.stored, self._spools, large, small, nursery)
            )
            await super().run()

    async def destroy(self) -> None:
        """Send what is left, and end."""
        await self.operations.end()
        await super().destroy()
