"""A store of fsspec with the operations of a path filesystem that only read."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterable

import attrs
import trio

from triofuse.filesystem.flags import O_ACCMODE, OpenFlags
from triofuse.filesystem.replies import DirEntry, FileAttr, FileData, Statfs
from triofuse.fsspec.contents import UNKNOWN, Content, Reading
from triofuse.fsspec.information import Info, Shown, Version, version_of
from triofuse.fsspec.store import Store
from triofuse.paths.operations import Listed, OpenFile, PathOperations
from triofuse.tree.stat import Stat

__all__ = ["Operations"]

_log = logging.getLogger("triofuse")

#: How many versions of files are remembered.
_VERSIONS = 10_000

#: Clocks of stores have steps of up to two seconds, and are not quite right.
_SETTLED_NS = 5_000_000_000

#: How many files are remembered as the store described them.
_KNOWN = 50_000


@attrs.define(eq=False)
class Handle:
    """An open file.

    Attributes:
      content: Its contents.
      writes: Whether it is open for writing.
    """

    content: Content
    writes: bool


@attrs.frozen
class Held:
    """What is held of a file in memory, as blocks and by the kernel.

    Attributes:
      version: The version of the contents.
      key: The key of the blocks.
    """

    version: Version | None
    key: object = attrs.field(factory=object)


def _is_settled(version: Version | None) -> bool:
    """Whether other contents would have another version."""
    if version is None:
        return False
    if version.tag is not None:
        return True
    if version.mtime_ns is None:
        return False
    return time.time_ns() - version.mtime_ns > _SETTLED_NS


class Operations(PathOperations):
    """The operations.

    Args:
      store: The store.
      shown: How files are shown.
    """

    def __init__(self, store: Store, shown: Shown) -> None:
        self._store = store
        self._shown = shown
        self._contents: dict[str, Content] = {}
        #: Directories that exist only here, since the store knows none.
        self._made: dict[str, FileAttr] = {}
        #: What is held of files in memory, here and by the kernel.
        self._held: dict[str, Held] = {}
        #: What the store said of files, and until when that holds.
        self._known: dict[str, tuple[float, Info]] = {}
        self._ready = trio.Event()

    def start(self, reading: Reading) -> None:
        """Begin to open files."""
        self._reading = reading
        self._ready.set()

    async def end(self) -> None:
        """Send what is left, at the end of the mount."""
        for content in list(self._contents.values()):
            if content.changed:
                try:
                    await content.send()
                except OSError as exc:
                    _log.error("%s: LOST, not stored: %s", content.path, exc.strerror)
            content.close()
        self._contents.clear()

    # --- Looking

    async def statfs(self, path: str) -> Statfs:
        """Return size and free space."""
        return await self._store.statfs()

    async def getattr(self, path: str, handle: Handle | None) -> FileAttr | Stat:
        """Return attributes."""
        content = self._contents.get(path) if handle is None else handle.content
        if content is not None and (content.was_changed or handle is not None):
            return self._of(content)
        if path in self._made:
            return self._made[path]
        return self._attributes(await self._info(path))

    async def _info(self, path: str) -> Info:
        if path == "/" and not self._store.keeps_directories:
            return {"name": "", "type": "directory"}
        info = await self._store.info(path)
        self._know(path, info)
        return info

    def _know(self, path: str, info: Info) -> None:
        """Keep what the store said, to answer the next open()."""
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[path] = trio.current_time() + self._shown.valid, info

    async def _known_info(self, path: str) -> Info:
        until, info = self._known.get(path, (0.0, None))
        if info is None or until < trio.current_time():
            return await self._info(path)
        return info

    def _attributes(self, info: Info) -> FileAttr | Stat:
        attr = self._shown.attributes(info)
        if attr is None:  # nobody knows the size: it is read to its end
            return Stat(mode=stat.S_IFREG | 0o444)
        return attr

    def _of(self, content: Content) -> FileAttr:
        """Return a copy of the attributes: the kernel's caching changes them."""
        return attrs.evolve(content.attr)

    async def readdir(self, path: str, handle: object) -> Iterable[Listed]:
        """Return the names in a directory, with attributes."""
        names: dict[str, FileAttr | Stat | DirEntry] = {}
        above = path if path.endswith("/") else f"{path}/"
        try:
            for name, info in (await self._store.list(path)).items():
                attr = self._shown.attributes(info)
                if attr is None:  # of unknown size: a lookup asks for it
                    names[name] = DirEntry(name, 0, stat.S_IFREG)
                else:
                    names[name] = attr
                    self._know(above + name, info)
        except FileNotFoundError:
            if path != "/" and path not in self._made:
                raise
        for made, attr in self._made.items():
            if made.startswith(above) and "/" not in made[len(above) :]:
                names.setdefault(made[len(above) :], attr)
        for place, content in self._contents.items():
            name = place[len(above) :]
            if content.was_changed and place.startswith(above) and "/" not in name:
                names[name] = self._of(content)
        return [
            value if isinstance(value, DirEntry) else (name, value)
            for name, value in names.items()
        ]

    async def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return await self._store.readlink(path)

    # --- Open files

    async def open(self, path: str, flags: int) -> OpenFile:
        """Open a file."""
        content = self._contents.get(path)
        say = 0
        if content is None:
            await self._ready.wait()
            info = await self._known_info(path)
            attr = self._shown.attributes(info)
            if attr is None:
                attr, say = FileAttr.file(0, size=UNKNOWN), int(OpenFlags.DIRECT_IO)
            content = Content(self._reading, path, attr, info)
            content = self._contents.setdefault(path, content)
            if not content.handles:
                content.open_direct()
        if not content.handles:
            say |= self._hold(path, content)
        writes = flags & O_ACCMODE != os.O_RDONLY
        if not writes:
            say |= int(OpenFlags.NOFLUSH)  # there is nothing to send
        content.handles += 1
        content.writers += writes
        return OpenFile(Handle(content, writes), say)

    def _hold(self, path: str, content: Content) -> int:
        """Give contents the key of their blocks; return flags for open.

        Blocks and the kernel's pages are kept while the store says that nothing has
        changed.  A time of last change that is not long ago does not say so: it may
        stay the same within its second.
        """
        version = None if content.info is None else version_of(content.info)
        held = self._held.pop(path, None)
        is_known = held is not None and held.version == version
        if held is None or not is_known or not _is_settled(version):
            held, is_known = Held(version), False
        self._held[path] = held
        if len(self._held) > _VERSIONS:
            del self._held[next(iter(self._held))]
        content.key = held.key
        return int(OpenFlags.KEEP_CACHE) if is_known else 0

    async def read(
        self, path: str, size: int, offset: int, handle: Handle
    ) -> bytes | FileData:
        """Read."""
        return await handle.content.read(size, offset)

    async def release(self, path: str, handle: Handle) -> None:
        """Close; send what came by a mapping after the last flush."""
        content = handle.content
        if content.handles == 1 and content.changed:
            try:
                await content.send()
            except OSError as exc:
                _log.error("%s: LOST, for it was not stored: %s", path, exc.strerror)
        content.handles -= 1
        content.writers -= handle.writes
        if not content.handles:
            if self._contents.get(content.path) is content:
                del self._contents[content.path]
            content.close()

    async def _send(self, content: Content) -> None:
        try:
            await content.send()
        except OSError as exc:
            _log.error("%s: cannot be stored: %s", content.path, exc.strerror)
            raise
