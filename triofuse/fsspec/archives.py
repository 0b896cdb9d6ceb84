"""Stores that never change, and in which seeking is slow: archives, commits of git."""

from __future__ import annotations

import errno
from typing import Any, Final

import trio
from fsspec import AbstractFileSystem
from fsspec.archive import AbstractArchiveFileSystem

from triofuse.filesystem.errors import FuseError
from triofuse.fsspec.information import Info, is_directory
from triofuse.fsspec.spools import Spool
from triofuse.fsspec.store import Store
from triofuse.fsspec.transfers import Transfer

__all__ = ["Archive", "ReadOnlyStore"]

_CHUNK: Final = 1 << 20


class ReadOnlyStore(Store):
    """A store that never changes, and is slow to seek: an archive, a git commit."""

    writable = False
    whole = True
    constant = True
    keeps_directories = True

    async def _get(self, place: str, spool: Spool, transfer: Transfer) -> None:
        """Fetch piece by piece; readers get what is there."""
        token, out = trio.lowlevel.current_trio_token(), spool.open("r+b")

        def copy(fs: AbstractFileSystem) -> None:
            with out, self._open_member(fs, place) as file:
                while not spool.dropped and (piece := file.read(_CHUNK)):
                    out.write(piece)
                    transfer.value += len(piece)
                    token.run_sync_soon(spool.grow, transfer.value)

        await self.calls.in_thread(copy)

    def _open_member(self, fs: AbstractFileSystem, place: str) -> Any:
        return fs.open(place, "rb")


class Archive(ReadOnlyStore):
    """A zip, tar or other archive: one listing of all."""

    _directories: dict[str, dict[str, Info]] | None = None

    async def info(self, path: str) -> Info:
        """Return what the archive says of a path."""
        if path == "/":
            return {"name": "", "type": "directory", "size": 0}
        parent, _, name = path.rpartition("/")
        found = (await self._index()).get(parent or "/", {}).get(name)
        if found is None:
            raise FuseError(errno.ENOENT)
        return found

    async def list(self, path: str) -> dict[str, Info]:
        """Return what is in a directory."""
        index = await self._index()
        if path not in index:
            raise FuseError(errno.ENOTDIR)
        return index[path]

    async def _index(self) -> dict[str, dict[str, Info]]:
        if self._directories is None:

            def read(fs: AbstractArchiveFileSystem) -> dict[str, Info]:
                fs._get_dirs()  # noqa: SLF001  (ls() reads all of it for each listing)
                members: dict[str, Info] = fs.dir_cache
                return members

            async def attempt() -> dict[str, Info]:
                return await self.calls.in_thread(read)

            members = await self.calls.attempts("ls", self.root or "/", attempt)
            self._directories = _by_directory(members, self.root.strip("/"))
        return self._directories

    async def fetch(self, path: str, offset: int, size: int) -> bytes:
        """Return a range of a small file; large ones are unpacked to a spool."""
        place = self.place(path)

        def read(fs: AbstractFileSystem) -> bytes:
            with self._open_member(fs, place) as file:
                data: bytes = file.read(offset + size)
                return data[offset:] if offset else data

        async def attempt() -> bytes:
            return await self.calls.in_thread(read)

        return await self.calls.attempts("read", place, attempt)

    def _open_member(self, fs: AbstractFileSystem, place: str) -> Any:
        # fs.open() finds no member with a slash in front.
        if hasattr(fs, "zip"):
            return fs.zip.open(place)
        return fs._open(place, "rb")  # noqa: SLF001

    def place(self, path: str) -> str:
        """Return the name of a member as the archive has it."""
        index = self._directories or {}
        parent, _, name = path.rpartition("/")
        info = index.get(parent or "/", {}).get(name)
        return super().place(path) if info is None else str(info["name"])


def _by_directory(members: dict[str, Info], root: str) -> dict[str, dict[str, Info]]:
    """Return the members of an archive, by directory and name.

    Archives have entries such as ``./a`` and ``/a``, ``../a``, and files without their
    directories.
    """
    directories: dict[str, dict[str, Info]] = {"/": {}}
    prefix = f"{root}/" if root else ""
    for key, info in members.items():
        parts = [part for part in key.split("/") if part not in ("", ".")]
        path = "/".join(parts)
        if not parts or ".." in parts or not path.startswith(prefix):
            continue
        parts = [part for part in path[len(prefix) :].split("/") if part]
        above = "/"
        for part in parts[:-1]:
            implied = {"name": part, "type": "directory", "size": 0}
            directories[above].setdefault(part, implied)
            above = f"{above.rstrip('/')}/{part}"
            directories.setdefault(above, {})
        if not parts:
            continue
        known = directories[above].get(parts[-1])
        if known is None or is_directory(info) or not is_directory(known):
            directories[above][parts[-1]] = info
        if is_directory(info):
            directories.setdefault(f"{above.rstrip('/')}/{parts[-1]}", {})
    return directories
