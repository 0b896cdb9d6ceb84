"""`Store`: what a filesystem needs of fsspec, with the ways of each kind of store.

The law: an upload replaces the whole file at once, where the store can do that; the
old contents are there until then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar
from uuid import uuid4

import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Statfs
from triofuse.fsspec.calls import Calls
from triofuse.fsspec.information import Info, is_directory
from triofuse.fsspec.spools import Spool
from triofuse.fsspec.transfers import Transfer

__all__ = ["Store"]

#: What other tools show for a store that does not tell its size: 1 PiB.
_UNLIMITED = Statfs(blocks=1 << 38, bfree=1 << 38, bavail=1 << 38)


class Store:
    """A store of whole files, which can be read in parts.

    Args:
      calls: How it is called.
      root: The path in it that is shown.

    Attributes:
      writable: Whether it can be written.
      whole: Whether a file is fetched whole, because seeking is slow.
      has_modes: Whether its files have permissions.
      owners: Whether its owners are those of this machine.
      keeps_directories: Whether an empty directory exists in it.
      renames: Whether it renames at once; else all is copied.
      puts_aside: Whether an upload goes to another name first, and is then renamed.
      immediate: Whether it answers at once, so that no blocks need be kept.
      constant: Whether it never changes while it is mounted.
      block: Bytes that a sequential reader asks for in one call.
    """

    writable: ClassVar[bool] = True
    whole: bool = False
    has_modes: ClassVar[bool] = False
    owners: ClassVar[bool] = False
    keeps_directories: ClassVar[bool] = True
    renames: ClassVar[bool] = False
    puts_aside: ClassVar[bool] = False
    constant: ClassVar[bool] = False
    block: ClassVar[int] = 1 << 20
    immediate: ClassVar[bool] = False
    #: Further arguments of ``put_file``.
    put_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, calls: Calls, root: str) -> None:
        self.calls = calls
        self.root = root.rstrip("/")

    def place(self, path: str) -> str:
        """Return the path in the store."""
        return self.root + path.rstrip("/") if path != "/" else self.root or "/"

    # --- Looking

    async def info(self, path: str) -> Info:
        """Return what the store says of a path."""
        info: Info = await self.calls.method("info", self.place(path))
        return info

    async def list(self, path: str) -> dict[str, Info]:
        """Return what is in a directory."""
        place = self.place(path)

        async def attempt() -> Iterable[Info]:
            self.calls.fs.invalidate_cache()
            listed: Iterable[Info] = await self.calls.once("ls", place, detail=True)
            return listed

        listed = await self.calls.attempts("ls", place, attempt)
        names = ((self.name_of(info), info) for info in listed)
        found = {name: info for name, info in names if "/" not in name}
        for name in "", ".", "..":
            found.pop(name, None)
        if len(found) == 1 and not is_directory(next(iter(found.values()))):
            ((name, info),) = found.items()
            if info["name"].strip("/") == place.strip("/"):
                raise FuseError(errno.ENOTDIR)
        if not found and path != "/" and not is_directory(await self.info(path)):
            raise FuseError(errno.ENOTDIR)
        return found

    def name_of(self, info: Info) -> str:
        """Return the last part of a name."""
        return str(info["name"]).rstrip("/").rpartition("/")[2]

    async def statfs(self) -> Statfs:
        """Return size and free space."""
        return _UNLIMITED

    # --- Reading

    def descriptor(self, path: str) -> int | None:
        """Return a descriptor to read from, if it is a file of this machine."""
        return None

    async def fetch(self, path: str, offset: int, size: int) -> bytes:
        """Return a range of a file."""
        data: bytes = await self.calls.method(
            "cat_file", self.place(path), start=offset, end=offset + size
        )
        return data

    async def download(self, path: str, spool: Spool, size: int) -> None:
        """Fetch a whole file; ``spool`` is told how much is there."""
        place = self.place(path)

        async def attempt() -> None:
            with self.calls.activity.noted("download", path, size) as transfer:
                await self._get(place, spool, transfer)

        await self.calls.attempts("get", place, attempt, size=size)
        spool.grow(spool.size)

    async def _get(self, place: str, spool: Spool, transfer: Transfer) -> None:
        os.ftruncate(spool.fd, 0)
        await self.calls.once("get_file", place, spool.path, callback=transfer)

    # --- Writing

    async def upload(self, path: str, spool: Spool, mode: int) -> None:
        """Send a whole file, which replaces what has this path."""
        place, size = self.place(path), spool.size

        async def attempt() -> None:
            with self.calls.activity.noted("upload", path, size) as transfer:
                if not self.puts_aside:
                    await self._put(place, spool, transfer)
                    return
                parent, _, name = place.rpartition("/")
                aside = f"{parent}/.{name[:200]}.triofuse-{uuid4().hex[:8]}"
                await self._put_aside(place, aside, spool, transfer, mode)

        await self.calls.attempts("put", place, attempt, size=size)

    async def _put(self, place: str, spool: Spool, transfer: Transfer) -> None:
        await self.calls.once(
            "put_file", spool.path, place, callback=transfer, **self.put_options
        )

    async def _put_aside(
        self,
        place: str,
        aside: str,
        spool: Spool,
        transfer: Transfer,
        mode: int,
    ) -> None:
        try:
            await self._put(aside, spool, transfer)
            await self.set_mode(aside, mode)
            await self.calls.once("mv", aside, place)
        except BaseException:
            with trio.move_on_after(2) as scope:
                scope.shield = True
                with suppress(Exception):  # the first error counts
                    await self.calls.once("rm_file", aside)
            raise

    async def set_mode(self, place: str, mode: int) -> None:
        """Set the permissions of a file that is not yet in its place."""

    async def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        await self.calls.method("mkdir", self.place(path), create_parents=False)

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        await self.calls.method("rmdir", self.place(path))

    async def remove(self, path: str) -> None:
        """Remove a file."""
        await self.calls.method("rm_file", self.place(path))

    async def rename(self, old: str, new: str, *, directory: bool) -> None:
        """Rename: by copies, which are there before anything is removed."""
        place, target = self.place(old), self.place(new)
        if not directory:
            await self.calls.method("cp_file", place, target)
            await self.calls.method("rm_file", place)
            return
        found = await self.calls.method("find", place, withdirs=True, detail=True)
        files = [name for name, info in found.items() if not is_directory(info)]
        start = len(place.lstrip("/"))

        def moved(name: str) -> str:
            return target + name.lstrip("/")[start:]

        folders = {place, *(found.keys() - files)} if self.keeps_directories else ()
        for name in sorted(folders):
            await self.calls.method("mkdir", moved(name), create_parents=False)
        await self._each("cp_file", [(name, moved(name)) for name in files])
        await self._each("rm_file", [(name,) for name in files])
        for name in sorted(folders, reverse=True):
            await self.calls.method("rmdir", name)

    async def _each(self, method: str, arguments: Iterable[tuple[str, ...]]) -> None:
        """Call a method with each of some arguments, several at a time."""
        left = iter(arguments)

        async def work() -> None:
            for one in left:
                await self.calls.method(method, *one)

        async with trio.open_nursery() as nursery:
            for _ in range(self.calls.limits.in_flight):
                nursery.start_soon(work)

    # --- Attributes, and links: most stores have none

    async def chmod(self, path: str, mode: int) -> None:
        """Set the permissions."""
        raise FuseError(errno.EOPNOTSUPP)

    async def chown(self, path: str, uid: int, gid: int) -> None:
        """Set owner and group."""
        raise FuseError(errno.EOPNOTSUPP)

    async def utime(self, path: str, atime_ns: int, mtime_ns: int) -> None:
        """Set the times."""
        raise FuseError(errno.EOPNOTSUPP)

    async def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""
        raise FuseError(errno.EINVAL)

    async def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        raise FuseError(errno.EPERM)
