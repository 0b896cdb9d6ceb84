"""The table of functions through which all operations go, and what it sees of names.

The law: the session binds the methods of a filesystem once, at the mount.  So each of
them looks into the table at every call.
"""

from __future__ import annotations

import copy
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from typing import Any, Final

import attrs
import trio

from triofuse.faults.names import OPERATIONS
from triofuse.faults.paths import Paths
from triofuse.filesystem import requests as r
from triofuse.filesystem.filesystem import Filesystem, implements
from triofuse.filesystem.flags import OpenFlags, RenameFlags
from triofuse.filesystem.notifier import Notifier
from triofuse.filesystem.replies import DirEntry, Entry, FileAttr, Opened

__all__ = ["Calls"]

Method = Callable[[Any], Awaitable[Any]]

#: Does an operation under rules: its name, the request, the inner method.
Ruled = Callable[[str, Any, Method], Awaitable[Any]]

#: What the kernel answers from its caches of names and attributes.
_NAMES: Final = frozenset(
    {"lookup", "getattr", "statx", "readlink", "access", "readdir", "readdirplus"}
)
_OPENING: Final = frozenset({"open", "create", "tmpfile"})
_ENTRIES: Final = frozenset(
    {"lookup", "create", "mknod", "mkdir", "symlink", "link", "tmpfile"}
)


class Calls:
    """The table for one inner filesystem.

    Attributes:
      paths: Where nodes were seen.
      table: What does each operation at this moment.
    """

    def __init__(self, inner: Filesystem) -> None:
        self.paths = Paths()
        self._inner: dict[str, Method] = {}
        for name in OPERATIONS:
            if implements(inner, name):
                method = getattr(inner, name)
                seen = _SEEING.get(name)
                self._inner[name] = seen(self.paths, method) if seen else method
        self.table = dict(self._inner)
        self._forget = inner.forget

    def forget(self, request: r.Forget) -> None:
        """Take lookups off a node."""
        self.paths.forget(request.nodeid)
        self._forget(request)

    def set(
        self, ruled: frozenset[str], rules: Ruled, *, log: bool, direct: bool
    ) -> None:
        """Set the table.

        Args:
          ruled: The operations that rules are about.
          rules: What does them.
          log: Whether all operations go there.
          direct: Whether files are opened for direct I/O.
        """
        for name, inner in self._inner.items():
            method = inner
            if ruled & _NAMES and name in _ENTRIES | {"getattr", "statx", "setattr"}:
                method = _changed(method, _uncached)
            if ruled & _NAMES and name == "readdirplus":
                method = _changed(method, _uncached_listing)
            if name in _OPENING and (log or ruled & {"read", "flush"}):
                clear = int(OpenFlags.NOFLUSH)
                if "read" in ruled:
                    clear |= OpenFlags.KEEP_CACHE
                added = int(OpenFlags.DIRECT_IO) if direct else 0
                method = _changed(method, _opener(clear, added))
            if log or name in ruled:
                method = _bound(rules, name, method)
            self.table[name] = method

    # --- Paths

    def path_of(self, request: Any) -> str:
        """Return what a request is about, for people and patterns."""
        path = self.paths.path
        match request:
            case r.Rename():
                new = path(request.newdir, request.newname)
                return f"{path(request.nodeid, request.name)} -> {new}"
            case r.Link():
                new = path(request.nodeid, request.newname)
                return f"{path(request.oldnodeid)} -> {new}"
            case r.Tmpfile() | r.Getxattr() | r.Setxattr() | r.Removexattr():
                return path(request.nodeid)
            case _:
                return path(request.nodeid, getattr(request, "name", ""))

    # --- The kernel's caches

    def caches(self, operations: frozenset[str]) -> bool:
        """Whether the kernel may answer some operations by itself."""
        return bool(operations & (_NAMES | {"read"}))

    async def drop_caches(self, notifier: Notifier) -> None:
        """Have the kernel drop data, attributes and names."""
        try:
            for nodeid, (directory, name) in list(self.paths.places.items()):
                await notifier.inval_inode(nodeid)
                await notifier.expire_entry(directory, name)
        except trio.EndOfChannel:
            pass  # unmounted


def _bound(rules: Ruled, name: str, method: Method) -> Method:
    def call(request: Any) -> Awaitable[Any]:
        return rules(name, request, method)

    return call


def _changed(method: Method, change: Callable[[Any], Any]) -> Method:
    async def call(request: Any) -> Any:
        return change(await method(request))

    return call


def _opener(clear: int, added: int) -> Callable[[Any], Any]:
    """Return what changes the flags of an open file."""

    def change(value: Any) -> Any:
        entry, opened = value if isinstance(value, tuple) else (None, value)
        opened = _with_flags(opened, opened.flags & ~clear | added)
        return opened if entry is None else (entry, opened)

    return change


def _with_flags(opened: Opened, flags: int) -> Opened:
    changed = copy.copy(opened)
    changed.flags = flags
    return changed


def _uncached(value: Any) -> Any:
    """Have the kernel ask again for names and attributes each time."""
    if isinstance(value, tuple):
        return (_uncached(value[0]), value[1])
    if isinstance(value, Entry):  # made anew: one that is kept may be encoded already
        attr = _uncached(value.attr)
        return Entry(attr, value.nodeid, value.generation, entry_valid=0)
    if isinstance(value, FileAttr):
        return attrs.evolve(value, attr_valid=0)
    return value


def _uncached_listing(listing: Any) -> Any:
    """Do likewise for what a listing tells of names."""

    def change(one: DirEntry) -> DirEntry:
        entry = None if one.entry is None else _uncached(one.entry)
        return DirEntry(one.name, one.ino, one.mode, one.offset, entry)

    if isinstance(listing, AsyncIterable):
        return (change(one) async for one in listing)
    return (change(one) for one in listing)


# --- What operations tell of names


def _entry_of(value: Any) -> Entry:
    entry: Entry = value[0] if isinstance(value, tuple) else value
    return entry


def _seeing_entry(paths: Paths, method: Method) -> Method:
    async def call(request: Any) -> Any:
        value = await method(request)
        paths.saw(request.nodeid, request.name, _entry_of(value))
        return value

    return call


def _seeing_link(paths: Paths, method: Method) -> Method:
    async def call(request: Any) -> Any:
        entry = await method(request)
        paths.saw(request.nodeid, request.newname, entry)
        return entry

    return call


def _seeing_rename(paths: Paths, method: Method) -> Method:
    async def call(request: r.Rename) -> Any:
        value = await method(request)
        paths.renamed(
            (request.nodeid, request.name),
            (request.newdir, request.newname),
            exchange=bool(request.flags & RenameFlags.EXCHANGE),
        )
        return value

    return call


def _seeing_listing(paths: Paths, method: Method) -> Method:
    async def call(request: r.Readdirplus) -> Any:
        listing = await method(request)
        if isinstance(listing, AsyncIterable):
            return _noted_async(paths, request.nodeid, listing)
        return _noted(paths, request.nodeid, listing)

    return call


def _noted(
    paths: Paths, directory: int, listing: Iterable[DirEntry]
) -> Iterator[DirEntry]:
    saw = paths.saw
    for one in listing:
        entry = one.entry
        if entry is not None:
            saw(directory, one.name, entry)
        yield one


async def _noted_async(
    paths: Paths, directory: int, listing: AsyncIterable[DirEntry]
) -> AsyncIterator[DirEntry]:
    async for one in listing:
        if one.entry is not None:
            paths.saw(directory, one.name, one.entry)
        yield one


_SEEING: Final[dict[str, Callable[[Paths, Method], Method]]] = {
    "lookup": _seeing_entry,
    "create": _seeing_entry,
    "mknod": _seeing_entry,
    "mkdir": _seeing_entry,
    "symlink": _seeing_entry,
    "link": _seeing_link,
    "rename": _seeing_rename,
    "rename2": _seeing_rename,
    "readdirplus": _seeing_listing,
}
