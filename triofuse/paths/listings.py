"""Listings of directories, and lookups that are answered from them.

The law: a listing answers lookups only while it is valid, and never after a name in
its directory has changed, not even if that happened while it was made.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Any

import trio

from triofuse.filesystem import requests as r
from triofuse.filesystem.replies import DirEntry, Entry, FileAttr
from triofuse.paths.attributes import Attributes
from triofuse.paths.inodes import Inode, Listing
from triofuse.paths.methods import Method
from triofuse.paths.serving import Serving
from triofuse.tree.stat import Stat

__all__ = ["Listings"]

_DOTS = frozenset({".", ".."})

#: d_ino of names whose inode is unknown, as in libfuse.
_UNKNOWN_INO = 0xFFFFFFFF

#: Longer listings are not kept to answer lookups.
_KEPT_NAMES = 100_000

_Listed = Attributes | DirEntry | None


class Listings(Serving):
    """The requests that list directories."""

    async def readdir(self, request: r.Readdir) -> Iterable[DirEntry]:
        """List a directory."""
        directory = self._numbered[request.nodeid]
        names = await self._list(directory, request)
        return [
            DirEntry(name, self._ino_of(directory, name, value), _mode_of(value))
            for name, value in names.items()
        ]

    async def readdirplus(self, request: r.Readdirplus) -> Iterable[DirEntry]:
        """List a directory with the attributes that the store gave."""
        directory = self._numbered[request.nodeid]
        names = await self._list(directory, request)
        return self._with_entries(directory, names)

    def _with_entries(
        self, directory: Inode, names: dict[str, _Listed]
    ) -> Iterator[DirEntry]:
        """Yield entries; each counts as a lookup when the kernel takes it."""
        for name, value in names.items():
            if value is None or isinstance(value, DirEntry):
                ino = self._ino_of(directory, name, value)
                yield DirEntry(name, ino, _mode_of(value))
            else:
                entry = self._entry(directory, name, value)
                yield DirEntry(name, entry.attr.ino, entry.attr.mode, None, entry)

    async def _list(
        self, directory: Inode, request: r.Readdir | r.Readdirplus
    ) -> dict[str, _Listed]:
        """Ask the store for a listing, and keep it."""
        method = self._methods["readdir"]
        opened = self._handles.get(request.fh)
        handle = None if opened is None else opened.object
        changes = directory.changes
        names = await self._ask(_collecting(method), directory, None, handle)
        if directory.children:
            for name, child in directory.children.items():
                if child.hidden:
                    names.pop(name, None)
        if directory.changes == changes and len(names) <= _KEPT_NAMES:
            valid = min(self._validity.entry, self._validity.attr)
            if valid > 0:
                directory.listing = Listing(trio.current_time() + valid, names)
        result: dict[str, _Listed] = names
        return result

    def _listed(self, directory: Inode, name: str) -> Entry | None:
        """Return the entry of a name from a listing; None if it does not tell.

        Raises:
          FuseError: ENOENT: there is no such name.
        """
        listing = directory.listing
        assert listing is not None
        if listing.until <= trio.current_time():
            directory.listing = None
            return None
        if name not in listing.names:
            return self._negative() if self._validity.negative > 0 else None
        value = listing.names[name]
        if value is None or isinstance(value, DirEntry):
            return None
        return self._entry(directory, name, value)

    def _ino_of(self, directory: Inode, name: str, value: _Listed) -> int:
        ino = 0
        if isinstance(value, FileAttr | DirEntry):
            ino = value.ino
        elif isinstance(value, os.stat_result):
            ino = value.st_ino
        inode = None if ino else self._inodes.at(directory, name)
        return ino or (_UNKNOWN_INO if inode is None else inode.nodeid)


def _mode_of(value: _Listed) -> int:
    if value is None:
        return 0
    if isinstance(value, os.stat_result):
        return value.st_mode
    if isinstance(value, Stat):
        return value.mode or 0
    return value.mode


def _collecting(method: Method) -> Method:
    """Return a method that returns the whole listing as a mapping."""
    function = method.function

    def collect(*arguments: Any) -> dict[str, _Listed]:
        return _mapping(function(*arguments))

    async def collect_async(*arguments: Any) -> dict[str, _Listed]:
        listed = function(*arguments)
        if not method.yields:
            listed = await listed
        if isinstance(listed, AsyncIterable):
            listed = [entry async for entry in listed]
        return _mapping(listed)

    return method.using(collect if method.in_thread else collect_async)


def _mapping(listed: Iterable[object]) -> dict[str, _Listed]:
    names: dict[str, _Listed] = {}
    for entry in listed:
        match entry:
            case str():
                names[entry] = None
            case DirEntry():
                names[entry.name] = entry
            case (
                str() as name,
                (FileAttr() | Stat() | os.stat_result() | None) as value,
            ):
                names[name] = value
            case _:
                message = (
                    f"readdir() listed {entry!r:.80}; a name, a name with its "
                    "attributes, or a DirEntry is due"
                )
                raise TypeError(message)
    for name in _DOTS:
        names.pop(name, None)
    return names
