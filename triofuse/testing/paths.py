"""System calls of the fake kernel by path, with the methods of `trio.Path`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs

from triofuse.filesystem.flags import InitFlags, OpenFlags, SetattrValid
from triofuse.filesystem.replies import Buffer, FileAttr, Opened
from triofuse.testing.awaited import os_error
from triofuse.testing.calls import SystemCalls
from triofuse.testing.messages import Caller
from triofuse.testing.walk import Place, Walk, parts_of

__all__ = ["KernelPath"]

_NOW: Final = SetattrValid.ATIME_NOW | SetattrValid.MTIME_NOW

#: Names that are no children.
_DOTS: Final = (".", "..")


@attrs.frozen(repr=False)
class KernelPath:
    """A path of a filesystem that is served to a fake kernel.

    ``kernel.path("/a") / "b"`` has the methods of `trio.Path`, with the same results and
    the same errors: each is an ``OSError``, with the path as its ``filename``.  Symbolic
    links are followed, absolute ones from the root of the filesystem.  Each call looks
    up every name again, and forgets the nodes at its end.

    Nobody checks permissions here: with ``default_permissions`` the kernel would.
    """

    _calls: SystemCalls
    _caller: Caller
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/" + "/".join(self.parts)

    def __repr__(self) -> str:
        return f"KernelPath({str(self)!r})"

    def __truediv__(self, name: str) -> KernelPath:
        parts = parts_of(name)
        if not name.startswith("/"):
            parts = [*self.parts, *parts]
        return attrs.evolve(self, parts=tuple(parts))

    @property
    def name(self) -> str:
        """The last name; empty for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> KernelPath:
        """The directory; the root is its own."""
        return attrs.evolve(self, parts=self.parts[:-1])

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return what stat(2) says."""
        async with self._walk() as walk:
            place = await walk.resolve(self.parts, follow=follow_symlinks)
            place.check()
            attr = await self._calls.getattr(place.nodeid, **self._caller)
            return _stat_result(attr)

    async def lstat(self) -> os.stat_result:
        """Return what lstat(2) says."""
        return await self.stat(follow_symlinks=False)

    async def exists(self) -> bool:
        """Whether there is something, at the end of links."""
        return await self._mode() != 0

    async def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(await self._mode())

    async def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(await self._mode())

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(await self._mode(follow=False))

    async def iterdir(self) -> list[KernelPath]:
        """Return the children of a directory, in its order."""
        async with self._walk() as walk:
            place = await walk.resolve(self.parts)
            if not place.found.is_dir:
                raise os_error(errno.ENOTDIR)
            opened = await self._calls.opendir(place.nodeid, **self._caller)
            try:
                listed = await self._calls.readdir(
                    place.nodeid, opened.fh, **self._caller
                )
            finally:
                await self._calls.releasedir(place.nodeid, opened.fh)
        return [self / entry.name for entry in listed if entry.name not in _DOTS]

    async def read_bytes(self) -> bytes:
        """Return the contents of a file.

        Without DIRECT_IO the kernel reads no more than ``size`` says, so neither does
        this.
        """
        async with self._open(os.O_RDONLY) as (place, opened):
            size = 2**63
            if not opened.flags & OpenFlags.DIRECT_IO:
                attr = await self._calls.getattr(place.nodeid, **self._caller)
                size = attr.size
            return await self._calls.read(
                place.nodeid, opened.fh, 0, size, flags=os.O_RDONLY, **self._caller
            )

    async def read_text(self, encoding: str = "utf-8") -> str:
        """Return the contents of a file as text."""
        return (await self.read_bytes()).decode(encoding)

    async def write_bytes(self, data: Buffer) -> int:
        """Replace the contents of a file, which is made if there is none.

        Returns:
          The number of bytes.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        async with self._open(flags) as (place, opened):
            written = 0
            while written < len(data):
                written += await self._calls.write(
                    place.nodeid,
                    opened.fh,
                    written,
                    data[written:],
                    flags=os.O_WRONLY,
                    **self._caller,
                )
        return len(data)

    async def write_text(self, text: str, encoding: str = "utf-8") -> int:
        """Replace the contents of a file by a text; return its characters."""
        await self.write_bytes(text.encode(encoding))
        return len(text)

    async def touch(self, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make an empty file, or set its times to now if there is one."""
        async with self._walk() as walk:
            place = await walk.resolve(self.parts)
            if place.attr is not None:
                if not exist_ok:
                    raise os_error(errno.EEXIST)
                await self._calls.setattr(place.nodeid, _NOW, **self._caller)
                return
        async with self._open(os.O_WRONLY | os.O_CREAT, mode):
            pass

    async def mkdir(
        self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False
    ) -> None:
        """Make a directory."""
        if parents and self.parts and not await self.parent.exists():
            await self.parent.mkdir(parents=True, exist_ok=True)
        async with self._walk() as walk:
            place = await walk.resolve(self.parts, follow=False)
            if place.attr is None:
                entry = await self._calls.mkdir(
                    place.parent, place.name, mode, **self._caller
                )
                walk.hold(entry)
                return
        if not (exist_ok and await self.is_dir()):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))

    async def rmdir(self) -> None:
        """Remove an empty directory."""
        async with self._walk() as walk:
            place = await self._removable(walk)
            if not place.found.is_dir:
                raise os_error(errno.ENOTDIR)
            await self._calls.rmdir(place.parent, place.name, **self._caller)

    async def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the name of a file."""
        async with self._walk() as walk:
            place = await self._removable(walk)
            if place.attr is None and missing_ok:
                return
            if place.found.is_dir:
                raise os_error(errno.EISDIR)
            await self._calls.unlink(place.parent, place.name, **self._caller)

    async def rename(self, target: KernelPath | str) -> KernelPath:
        """Rename, and replace what has the new name; return the new path."""
        new = self.parent / target if isinstance(target, str) else target
        async with self._walk() as walk:
            old = await self._removable(walk)
            place = await walk.resolve(new.parts, follow=False)
            old.check()
            await self._calls.rename(
                old.parent, old.name, place.parent, place.name, **self._caller
            )
        return new

    async def symlink_to(self, target: KernelPath | str) -> None:
        """Make this a symbolic link to a target, which need not exist."""
        async with self._walk() as walk:
            place = await self._free(walk)
            entry = await self._calls.symlink(
                place.parent, place.name, str(target), **self._caller
            )
            walk.hold(entry)

    async def hardlink_to(self, target: KernelPath) -> None:
        """Make this another name of a file."""
        async with self._walk() as walk:
            old = await walk.resolve(target.parts, follow=False)
            old.check()
            place = await self._free(walk)
            entry = await self._calls.link(
                old.nodeid, place.parent, place.name, **self._caller
            )
            walk.hold(entry)

    async def readlink(self) -> str:
        """Return the target of a symbolic link."""
        async with self._walk() as walk:
            place = await walk.resolve(self.parts, follow=False)
            if not stat.S_ISLNK(place.found.mode):
                raise os_error(errno.EINVAL)
            return await self._calls.readlink(place.nodeid, **self._caller)

    async def chmod(self, mode: int) -> None:
        """Change the permissions."""
        async with self._walk() as walk:
            place = await walk.resolve(self.parts)
            mode = stat.S_IFMT(place.found.mode) | stat.S_IMODE(mode)
            await self._calls.setattr(place.nodeid, mode=mode, **self._caller)

    async def _mode(self, *, follow: bool = True) -> int:
        """Return the mode; 0 if nothing is there."""
        try:
            return (await self.stat(follow_symlinks=follow)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return 0

    async def _removable(self, walk: Walk) -> Place:
        place = await walk.resolve(self.parts, follow=False)
        if not place.name:
            raise os_error(errno.EBUSY)  # the root, or what ".." leads to
        return place

    async def _free(self, walk: Walk) -> Place:
        place = await walk.resolve(self.parts, follow=False)
        if place.attr is not None:
            raise os_error(errno.EEXIST)
        return place

    @asynccontextmanager
    async def _walk(self) -> AsyncIterator[Walk]:
        """Do one call; name the path in its error, and forget its nodes."""
        walk = Walk(self._calls, self._caller)
        try:
            yield walk
        except OSError as exc:
            exc.filename = exc.filename or str(self)
            raise
        finally:
            await walk.forget()

    @asynccontextmanager
    async def _open(
        self, flags: int, mode: int = 0o666
    ) -> AsyncIterator[tuple[Place, Opened]]:
        """Open a file as open(2) does, and close it."""
        async with self._walk() as walk:
            place, opened = await self._opened(walk, flags, mode)
            try:
                yield place, opened
                await self._calls.flush(place.nodeid, opened.fh, **self._caller)
            finally:
                await self._calls.release(place.nodeid, opened.fh, flags)

    async def _opened(self, walk: Walk, flags: int, mode: int) -> tuple[Place, Opened]:
        place = await walk.resolve(self.parts)
        if place.attr is None and flags & os.O_CREAT:
            entry, opened = await self._calls.create(
                place.parent, place.name, flags, mode, **self._caller
            )
            walk.hold(entry)
            return Place(place.parent, place.name, entry.attr, entry.nodeid), opened
        if place.found.is_dir:
            raise os_error(errno.EISDIR)
        asked = flags & ~os.O_CREAT
        atomic = InitFlags.ATOMIC_O_TRUNC in self._calls.negotiated.granted
        if not atomic:
            asked &= ~os.O_TRUNC
        opened = await self._calls.open(place.nodeid, asked, **self._caller)
        if flags & os.O_TRUNC and not atomic:
            await self._calls.setattr(place.nodeid, size=0, **self._caller)
        return place, opened


def _stat_result(attr: FileAttr) -> os.stat_result:
    """Return attributes as `os.stat` does."""
    times = (attr.atime_ns, attr.mtime_ns, attr.ctime_ns)
    fields = (attr.mode, attr.ino, 0, attr.nlink, attr.uid, attr.gid, attr.size)
    more = {
        **{f"st_{n}time": t / 1e9 for n, t in zip("amc", times, strict=True)},
        **{f"st_{n}time_ns": t for n, t in zip("amc", times, strict=True)},
        "st_blksize": attr.blksize,
        "st_blocks": attr.blocks_in_use,
        "st_rdev": attr.rdev,
    }
    return os.stat_result((*fields, *(t // 10**9 for t in times)), more)
