"""Decoding of directory listings as the kernel does it."""

from __future__ import annotations

from collections.abc import Iterator

from triofuse.filesystem.replies import DirEntry, Entry
from triofuse.testing.replies import (
    ReplyFormat,
    ReplyRefusedError,
    check_usable,
    decode_entry_fields,
    decode_name,
    require,
)
from triofuse.wire import layouts
from triofuse.wire.layouts import Layout

__all__ = ["DIRENTPLUS", "DIRENTS"]

#: Bytes of the longest name that the kernel reads.
_MAX_NAME = 4095


def _records(body: bytes, head: Layout) -> Iterator[tuple[bytes, DirEntry]]:
    """Yield the struct before each dirent, and the entry (``parse_dirfile()``).

    An incomplete last record is ignored.
    """
    fixed = head.size + layouts.DIRENT.size
    while len(body) >= fixed:
        ino, offset, namelen, kind = layouts.DIRENT.unpack_from(body, head.size)
        size = fixed + namelen
        name = body[fixed:size]
        require(0 < namelen <= _MAX_NAME, f"a name of {namelen} bytes")
        if len(body) < size + -size % 8:
            return
        require(b"/" not in name, f"a slash in the name {name!r}")
        yield body[: head.size], DirEntry(decode_name(name), ino, kind << 12, offset)
        body = body[size + -size % 8 :]


def _decode_dirents(body: bytes) -> list[DirEntry]:
    return [entry for _, entry in _records(body, layouts.NOTHING)]


def _decode_direntplus(body: bytes) -> list[DirEntry]:
    entries = []
    for head, entry in _records(body, layouts.ENTRY_OUT):
        found = decode_entry_fields(layouts.ENTRY_OUT.unpack(head))
        entry.entry = found if found.nodeid else None
        entries.append(entry)
    return entries


def _listed(entries: list[DirEntry]) -> Iterator[Entry]:
    """Yield the entries that count as lookups, without "." and "..".

    Source: ``fuse_direntplus_link()``.
    """
    for entry in entries:
        if entry.entry is not None and entry.name not in (".", ".."):
            yield entry.entry


def _is_usable(entry: Entry) -> bool:
    try:
        check_usable(entry)
    except ReplyRefusedError:
        return False
    return True


def _listed_nodes(entries: list[DirEntry]) -> list[int]:
    return [entry.nodeid for entry in _listed(entries) if _is_usable(entry)]


def _unusable_nodes(entries: list[DirEntry]) -> list[int]:
    return [entry.nodeid for entry in _listed(entries) if not _is_usable(entry)]


DIRENTS = ReplyFormat((), _decode_dirents, data=True)
DIRENTPLUS = ReplyFormat(
    (), _decode_direntplus, True, counted=_listed_nodes, unusable=_unusable_nodes
)
