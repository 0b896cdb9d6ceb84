"""The kinds of store: object stores, HTTP, memory, local directories; which is which."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import quote, unquote

from fsspec import AbstractFileSystem
from fsspec.archive import AbstractArchiveFileSystem

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import Statfs
from triofuse.fsspec.archives import Archive, ReadOnlyStore
from triofuse.fsspec.calls import Calls, Limits, Pool
from triofuse.fsspec.information import Info, is_directory
from triofuse.fsspec.store import Store

__all__ = ["store_of"]


class ObjectStore(Store):
    """S3 and its kin: names with slashes, no directories; a put is atomic."""

    keeps_directories = False
    block = 4 << 20  # a request takes long, however small it is

    async def info(self, path: str) -> Info:
        """Return what the store says of a path."""
        place = self.place(path)

        async def attempt() -> Info:
            self.calls.fs.invalidate_cache()
            info: Info = await self.calls.once("info", place)
            return info

        return await self.calls.attempts("info", place, attempt)

    async def rmdir(self, path: str) -> None:
        """Remove what stands for a directory, if something does."""
        place = self.place(path)
        for marker in f"{place}/", f"{place}_$folder$":
            if await self.calls.method("exists", marker):
                await self.calls.method("rm_file", marker)


class S3(ObjectStore):
    """S3: few and small parts at a time, for they are in memory."""

    put_options: ClassVar[dict[str, Any]] = {"chunksize": 8 << 20, "max_concurrency": 4}

    def __init__(self, calls: Calls, root: str) -> None:
        super().__init__(calls, root)
        calls.fs.retries = 1  # Calls tries again, and waits less


class Http(Store):
    """A web server: files by HEAD and GET, directories by the links of their page."""

    writable = False
    whole: bool = False

    def __init__(self, calls: Calls, root: str) -> None:
        super().__init__(calls, root)
        self._directories = {"/"}

    def place(self, path: str) -> str:
        """Return a URL."""
        return self.root + quote(path) if path != "/" else f"{self.root}/"

    def name_of(self, info: Info) -> str:
        """Return the last part of a URL."""
        name = super().name_of(info)
        return "" if "?" in name or "#" in name else unquote(name)

    async def list(self, path: str) -> dict[str, Info]:
        """Return the links of a page."""
        self._directories.add(path)
        found = await super().list(f"{path}/" if path != "/" else path)
        above = path.rstrip("/")
        for name, info in found.items():
            if is_directory(info):
                self._directories.add(f"{above}/{name}")
        return found

    async def info(self, path: str) -> Info:
        """Return what HEAD says."""
        path = path.rstrip("/") or "/"
        if path in self._directories:
            return {"name": path, "type": "directory", "size": 0}
        info = await super().info(path)
        if str(info.get("url", "")).endswith("/"):  # redirected: a directory
            self._directories.add(path)
            return {"name": path, "type": "directory", "size": 0}
        return info

    async def fetch(self, path: str, offset: int, size: int) -> bytes:
        """Return a range; a server without ranges sends all, and is asked once."""
        data = await super().fetch(path, offset, size)
        if len(data) <= size:
            return data
        self.whole = True
        return data[offset : offset + size]


class Memory(Store):
    """``memory://``: never blocks, so it needs no thread."""

    immediate = True

    async def utime(self, path: str, atime_ns: int, mtime_ns: int) -> None:
        """Set the time of the last change."""
        file = self.calls.fs.store.get(self.place(path))
        if file is None:
            raise FuseError(errno.EOPNOTSUPP)
        file.created = file.modified = datetime.fromtimestamp(mtime_ns / 1e9, tz=UTC)


class Local(Store):
    """A directory of this machine."""

    owners = True
    renames = True
    puts_aside = True
    has_modes = True

    def descriptor(self, path: str) -> int:
        """Return a descriptor to read from."""
        return os.open(self.place(path), os.O_RDONLY | os.O_NONBLOCK)

    async def statfs(self) -> Statfs:
        """Return size and free space."""
        return Statfs.from_statvfs(os.statvfs(self.root or "/"))

    async def _do(self, function: Callable[..., Any], path: str, *rest: Any) -> Any:
        place = self.place(path)

        async def attempt() -> Any:
            return await self.calls.in_thread(lambda _: function(place, *rest))

        return await self.calls.attempts(function.__name__, place, attempt)

    async def info(self, path: str) -> Info:
        """Return what the store says of a path."""
        info: dict[str, Any] = dict(await super().info(path))
        return _unfollowed(info)

    async def list(self, path: str) -> dict[str, Info]:
        """Return what is in a directory."""
        found = await super().list(path)
        return {name: _unfollowed(dict(info)) for name, info in found.items()}

    async def set_mode(self, place: str, mode: int) -> None:
        """Set the permissions of a file that is not yet in its place."""
        os.chmod(place, mode)

    async def rename(self, old: str, new: str, *, directory: bool) -> None:
        """Rename."""
        await self._do(os.rename, old, self.place(new))

    async def remove(self, path: str) -> None:
        """Remove a file."""
        await self._do(os.unlink, path)

    async def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        await self._do(os.mkdir, path, mode)

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        await self._do(os.rmdir, path)

    async def chmod(self, path: str, mode: int) -> None:
        """Set the permissions."""
        await self._do(os.chmod, path, mode & 0o7777)

    async def chown(self, path: str, uid: int, gid: int) -> None:
        """Set owner and group."""
        await self._do(os.chown, path, uid, gid)

    async def utime(self, path: str, atime_ns: int, mtime_ns: int) -> None:
        """Set the times."""

        def set_times(place: str) -> None:
            os.utime(place, ns=(atime_ns, mtime_ns), follow_symlinks=False)

        await self._do(set_times, path)

    async def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""
        target: str = await self._do(os.readlink, path)
        return target

    async def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        await self._do(lambda place: os.symlink(target, place), path)


def _unfollowed(info: dict[str, Any]) -> Info:
    """Show a symbolic link as one: fsspec follows it."""
    if info.get("islink"):
        info["type"] = "link"
        info["size"] = len(os.fsencode(info.get("destination") or ""))
    return info


#: The kind of each protocol.
_KINDS: Final[dict[str, type[Store]]] = {
    "s3": S3,
    "s3a": S3,
    "gs": ObjectStore,
    "gcs": ObjectStore,
    "abfs": ObjectStore,
    "az": ObjectStore,
    "oss": ObjectStore,
    "oci": ObjectStore,
    "http": Http,
    "https": Http,
    "memory": Memory,
    "file": Local,
    "local": Local,
    "git": ReadOnlyStore,
    "github": ReadOnlyStore,
    "reference": ReadOnlyStore,
}


def store_of(fs: AbstractFileSystem, root: str, limits: Limits) -> Store:
    """Return the store for a filesystem of fsspec."""
    from triofuse.fsspec.sftp import Sftp, connections

    names = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    if isinstance(fs, AbstractArchiveFileSystem):
        return Archive(Calls(Pool(fs), limits), root)
    if "sftp" in names and hasattr(fs, "ftp"):
        return Sftp(Calls(connections(fs, limits), limits), root)
    kind = next((_KINDS[name] for name in names if name in _KINDS), Store)
    shared = kind in (Local, Memory) or bool(fs.async_impl)
    pool = Pool(fs, shared=shared, blocks=not kind.immediate)
    return kind(Calls(pool, limits), root)
