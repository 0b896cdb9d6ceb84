"""The operations that change a store."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import ClassVar, TypeVar

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import RenameFlags
from triofuse.filesystem.replies import Buffer, FileAttr
from triofuse.fsspec.contents import Content
from triofuse.fsspec.information import is_directory
from triofuse.fsspec.operations import Handle, Operations
from triofuse.paths.operations import OpenFile

__all__ = ["Changes"]

#: utimens() with a time that is no further from now than this means now.
_NOW_NS = 2_000_000_000


T = TypeVar("T")


class Changes(Operations):
    """All operations: those of `Operations`, and those that change something."""

    rename_flags: ClassVar[int | RenameFlags] = RenameFlags.NOREPLACE

    # --- Open files

    async def create(self, path: str, mode: int, flags: int) -> OpenFile:
        """Make a file; the store gets it when it is closed."""
        await self._ready.wait()
        mode = mode & 0o777 if self._store.has_modes else 0o644
        attr = FileAttr.file(0, mode=mode, attr_valid=self._shown.valid)
        attr.mtime_ns = attr.ctime_ns = attr.atime_ns = time.time_ns()
        content = Content(self._reading, path, attr, None)
        await content.truncate(0)
        content.handles = content.writers = 1
        self._contents[path] = content
        self._parent_is_made(path)
        return OpenFile(Handle(content, writes=True))

    async def write(self, path: str, data: Buffer, offset: int, handle: Handle) -> int:
        """Write to the spool."""
        self._forget(path)
        return await handle.content.write(data, offset)

    async def truncate(self, path: str, size: int, handle: Handle | None) -> None:
        """Set the size."""
        self._forget(path)
        content = self._contents.get(path) if handle is None else handle.content
        # The kernel opens a file with O_TRUNC and then truncates its path: what is to
        # be written comes first, or a crash would leave nothing.
        if content is not None and (handle is not None or content.writers):
            await content.truncate(size)
            return
        opened: Handle = (await self.open(path, os.O_WRONLY)).handle  # type: ignore[assignment]
        try:
            await opened.content.truncate(size)
            await opened.content.send()
        finally:
            await self.release(path, opened)

    async def flush(self, path: str, handle: Handle) -> None:
        """Send what was written; close(2) returns the error."""
        if handle.writes:
            await self._send(handle.content)

    async def fsync(self, path: str, datasync: bool, handle: Handle | None) -> None:
        """Send what was written."""
        content = self._contents.get(path) if handle is None else handle.content
        if content is not None:
            await self._send(content)

    def _forget(self, path: str) -> None:
        """Forget what the store said of a file that changes."""
        self._held.pop(path, None)
        self._known.pop(path, None)

    # --- Names

    async def mkdir(self, path: str, mode: int) -> FileAttr | None:
        """Make a directory."""
        if self._store.keeps_directories:
            await self._store.mkdir(path, mode)
            return None
        self._made[path] = attr = self._directory()
        return attr

    def _directory(self) -> FileAttr:
        now = time.time_ns()
        attr = FileAttr.directory(0, mode=0o755, attr_valid=self._shown.valid)
        attr.mtime_ns = attr.ctime_ns = attr.atime_ns = now
        attr.nlink = 1
        return attr

    def _parent_is_made(self, path: str) -> None:
        """Keep the directory of a path, also if nothing is left in it."""
        parent = path.rpartition("/")[0]
        if parent and not self._store.keeps_directories:
            self._made.setdefault(parent, self._directory())

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        try:
            names = list(await self.readdir(path, None))
        except FileNotFoundError:
            names = []
        if names:
            raise FuseError(errno.ENOTEMPTY)
        await self._store.rmdir(path)
        self._made.pop(path, None)
        self._parent_is_made(path)

    async def unlink(self, path: str) -> None:
        """Remove a file; who has it open keeps its contents."""
        content = self._contents.get(path)
        if content is not None:
            await content.load()
        if content is None or content.info is not None:
            await self._store.remove(path)
        self._gone(path)
        self._parent_is_made(path)

    def _gone(self, path: str) -> None:
        self._forget(path)
        content = self._contents.pop(path, None)
        if content is not None:
            content.path = ""

    async def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        await self._store.symlink(target, path)

    async def rename(self, old: str, new: str, flags: int) -> None:
        """Rename a file or directory."""
        content = self._contents.get(old)
        unsent = content is not None and content.info is None and content.changed
        directory = old in self._made
        if not unsent and not directory:
            directory = is_directory(await self._store.info(old))
        if flags & RenameFlags.NOREPLACE and await self._exists(new):
            raise FuseError(errno.EEXIST)
        replaced = self._contents.get(new)
        if replaced is not None and replaced is not content:
            await replaced.load()
        if directory and not self._store.renames:
            await self._clear(new)
        if unsent and content is not None:
            content.path = new
            await self._send(content)
        else:
            await self._store.rename(old, new, directory=directory)
        self._gone(new)
        self._moved(old, new)
        self._parent_is_made(old)

    async def _exists(self, path: str) -> bool:
        try:
            await self.getattr(path, None)
        except FileNotFoundError:
            return False
        return True

    async def _clear(self, path: str) -> None:
        """Remove the empty directory that is to be replaced."""
        try:
            await self.rmdir(path)
        except FileNotFoundError:
            return

    def _moved(self, old: str, new: str) -> None:
        """Have what is known by a path, and all below, follow a rename."""
        self._known.clear()
        _move_keys(self._made, old, new)
        _move_keys(self._contents, old, new)
        _move_keys(self._held, old, new)
        for path, content in self._contents.items():
            content.path = path

    # --- Attributes

    async def chmod(self, path: str, mode: int, handle: Handle | None) -> None:
        """Set the permissions, if the store has any."""
        now = await self.getattr(path, handle)
        if stat.S_IMODE(now.mode or 0) == stat.S_IMODE(mode):
            return
        await self._sent(path, handle)
        await self._store.chmod(path, mode)
        self._note(path, handle, mode=stat.S_IMODE(mode))

    async def chown(self, path: str, uid: int, gid: int, handle: Handle | None) -> None:
        """Set owner and group, if the store has them."""
        now = await self.getattr(path, handle)
        if uid in (-1, now.uid) and gid in (-1, now.gid):
            return
        await self._sent(path, handle)
        await self._store.chown(path, uid, gid)

    async def utimens(
        self, path: str, atime_ns: int, mtime_ns: int, handle: Handle | None
    ) -> None:
        """Set the times, if the store has them; now is always possible for a file."""
        content = self._contents.get(path) if handle is None else handle.content
        self._forget(path)
        is_now = abs(time.time_ns() - mtime_ns) < _NOW_NS
        if is_now and content is not None and content.changed:
            return  # it gets this time when it is sent
        try:
            await self._sent(path, handle)
            await self._store.utime(path, atime_ns, mtime_ns)
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP or not is_now:
                raise
            await self._touch(path, content)
            return
        if content is not None:
            content.attr.mtime_ns, content.attr.atime_ns = mtime_ns, atime_ns

    async def _touch(self, path: str, content: Content | None) -> None:
        """Send a file again, so that the store gives it the time of now."""
        if content is not None:
            await content.touch()
            return
        if path in self._made or is_directory(await self._info(path)):
            raise FuseError(errno.EOPNOTSUPP)
        opened: Handle = (await self.open(path, os.O_WRONLY)).handle  # type: ignore[assignment]
        try:
            await opened.content.touch()
            await opened.content.send()
        finally:
            await self.release(path, opened)

    async def _sent(self, path: str, handle: Handle | None) -> None:
        """Send what was written, for attributes belong to what the store has."""
        content = self._contents.get(path) if handle is None else handle.content
        if content is not None and content.changed:
            await self._send(content)

    def _note(self, path: str, handle: Handle | None, *, mode: int) -> None:
        content = self._contents.get(path) if handle is None else handle.content
        if content is not None:
            content.attr.mode = stat.S_IFREG | mode
            if content.info is not None:
                content.info = {**content.info, "mode": content.attr.mode}


def _move_keys(table: dict[str, T], old: str, new: str) -> None:
    """Have the keys of a path, and of all below, follow a rename."""
    moved = [one for one in table if one == old or one.startswith(f"{old}/")]
    for path in moved:
        table[new + path[len(old) :]] = table.pop(path)
