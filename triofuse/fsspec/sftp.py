"""SFTP, by fsspec's paramiko client: a pool of connections, and many reads in flight.

A paramiko client waits for ever when two threads use it, so each has its own.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from fsspec import AbstractFileSystem

from triofuse.filesystem.errors import FuseError
from triofuse.fsspec.calls import Limits, Pool
from triofuse.fsspec.information import Info
from triofuse.fsspec.spools import Spool
from triofuse.fsspec.store import Store
from triofuse.fsspec.transfers import Transfer

__all__ = ["Sftp", "connections"]

#: What a server surely answers in one reply; OpenSSH has up to 256 KiB.
_PIECE: Final = 32 << 10

_CONNECTIONS: Final = 4


def connections(fs: AbstractFileSystem, limits: Limits) -> Pool:
    """Return a pool of connections to the same server."""
    _set_timeout(fs, limits.timeout)

    def another(first: AbstractFileSystem) -> AbstractFileSystem:
        options = {**first.storage_options, "skip_instance_cache": True}
        made = type(first)(*first.storage_args, **options)
        _set_timeout(made, limits.timeout)
        return made

    return Pool(fs, min(_CONNECTIONS, limits.in_flight), breaks=_breaks, make=another)


def _set_timeout(fs: Any, seconds: float) -> None:
    fs.ftp.get_channel().settimeout(seconds)
    fs.client.get_transport().set_keepalive(15)


def _breaks(exc: Exception) -> bool:
    """Whether a connection is of no use after an exception."""
    if isinstance(exc, OSError):
        return exc.errno is None and not isinstance(
            exc, FileNotFoundError | PermissionError | FileExistsError
        )
    return True


class Sftp(Store):
    """A directory of an SSH server."""

    owners = True
    renames = True
    puts_aside = True
    has_modes = True

    async def _ftp(
        self, verb: str, path: str, function: Callable[[Any, str], Any]
    ) -> Any:
        """Call a function with paramiko's client and the place of a path."""
        place = self.place(path)

        async def attempt() -> Any:
            return await self.calls.in_thread(lambda fs: function(fs.ftp, place))

        return await self.calls.attempts(verb, place, attempt)

    async def info(self, path: str) -> Info:
        """Return attributes; of a link, its own."""
        found = await self._ftp("lstat", path, lambda ftp, place: ftp.lstat(place))
        return _info(found)

    async def list(self, path: str) -> dict[str, Info]:
        """Return what is in a directory."""

        def entries(ftp: Any, place: str) -> list[Any]:
            return list(ftp.listdir_iter(place, read_aheads=8))

        listed: Iterable[Any] = await self._ftp("ls", path, entries)
        return {one.filename: _info(one) for one in listed}

    async def fetch(self, path: str, offset: int, size: int) -> bytes:
        """Return a range of a file."""
        pieces = [
            (offset + done, min(_PIECE, size - done)) for done in range(0, size, _PIECE)
        ]

        def read(ftp: Any, place: str) -> bytes:
            with ftp.open(place, "rb", bufsize=0) as file:
                if len(pieces) == 1:
                    file.seek(offset)
                    return bytes(file.read(size))
                return b"".join(file.readv(pieces))

        data: bytes = await self._ftp("read", path, read)
        return data

    async def _get(self, place: str, spool: Spool, transfer: Transfer) -> None:
        out = spool.open("wb")

        def get(fs: Any) -> None:
            with out as file:
                fs.ftp.getfo(place, file, callback=lambda done, _: _set(transfer, done))

        await self._with(out, get)

    async def _put(self, place: str, spool: Spool, transfer: Transfer) -> None:
        source, size = spool.open("rb"), spool.size

        def put(fs: Any) -> None:
            with source as file:
                fs.ftp.putfo(
                    file, place, size, callback=lambda done, _: _set(transfer, done)
                )

        await self._with(source, put)

    async def _with(self, file: BinaryIO, function: Callable[[Any], None]) -> None:
        """Call a function, which closes a file; it may end after its caller."""
        try:
            await self.calls.in_thread(function)
        except Exception:
            file.close()  # it was not called: there is no connection
            raise

    async def set_mode(self, place: str, mode: int) -> None:
        """Set the permissions of a file that is not yet in its place."""
        await self.calls.in_thread(lambda fs: fs.ftp.chmod(place, mode))

    async def rename(self, old: str, new: str, *, directory: bool) -> None:
        """Rename, by the extension posix-rename@openssh.com."""
        target = self.place(new)
        await self._ftp("mv", old, lambda ftp, place: ftp.posix_rename(place, target))

    async def remove(self, path: str) -> None:
        """Remove a file."""
        await self._ftp("rm", path, lambda ftp, place: ftp.remove(place))

    async def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        await self._ftp("mkdir", path, lambda ftp, place: ftp.mkdir(place, mode))

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        await self._ftp("rmdir", path, lambda ftp, place: ftp.rmdir(place))

    async def chmod(self, path: str, mode: int) -> None:
        """Set the permissions."""
        bits = stat.S_IMODE(mode)
        await self._ftp("chmod", path, lambda ftp, place: ftp.chmod(place, bits))

    async def chown(self, path: str, uid: int, gid: int) -> None:
        """Set owner and group."""

        def change(ftp: Any, place: str) -> None:
            now = ftp.lstat(place)
            ftp.chown(
                place,
                now.st_uid if uid == -1 else uid,
                now.st_gid if gid == -1 else gid,
            )

        await self._ftp("chown", path, change)

    async def utime(self, path: str, atime_ns: int, mtime_ns: int) -> None:
        """Set the times; the protocol has whole seconds."""
        times = atime_ns // 10**9, mtime_ns // 10**9
        await self._ftp("utime", path, lambda ftp, place: ftp.utime(place, times))

    async def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""
        target = await self._ftp(
            "readlink", path, lambda ftp, place: ftp.readlink(place)
        )
        if target is None:
            raise FuseError(errno.EINVAL)
        return str(target)

    async def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        await self._ftp("ln", path, lambda ftp, place: ftp.symlink(target, place))


def _set(transfer: Transfer, done: int) -> None:
    transfer.value = done


def _info(found: Any) -> Info:
    mode = found.st_mode or 0
    kind = "file"
    if stat.S_ISDIR(mode):
        kind = "directory"
    elif stat.S_ISLNK(mode):
        kind = "link"
    return {
        "name": getattr(found, "filename", ""),
        "type": kind,
        "size": found.st_size,
        "mode": mode,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime": datetime.fromtimestamp(found.st_mtime or 0, tz=UTC),
    }
