"""The records of a listing: one entry each, padded to 8 bytes."""

from __future__ import annotations

import struct

from triofuse.filesystem.replies import DirEntry
from triofuse.wire import layouts
from triofuse.wire.attributes import encode_entry
from triofuse.wire.encode import encode_name
from triofuse.wire.replies import ReplyError, mistake_in_entry

__all__ = ["NO_ATTRIBUTES", "encode_attributes", "encode_dirent", "names_of"]

#: In front of a record of READDIRPLUS: no attributes, and no lookup.
NO_ATTRIBUTES = bytes(layouts.ENTRY_OUT.size)

#: What fills a record up to a multiple of 8 bytes, by the length of its name.
_PADDING = tuple(bytes(-size % 8) for size in range(8))
_pack_dirent = layouts.DIRENT.pack


def encode_dirent(entry: DirEntry, cookie: int) -> bytes:
    """Return a ``struct fuse_dirent`` with its name.

    Raises:
      ValueError: The name is none.
    """
    try:
        name = encode_name(entry.name)
        size = len(name)
        fixed = _pack_dirent(entry.ino, cookie, size, entry.mode >> 12)
    except (AttributeError, TypeError, ValueError, struct.error) as exc:
        raise _explained(entry, exc) from exc
    return fixed + name + _PADDING[size & 7]


def encode_attributes(entry: DirEntry) -> bytes:
    """Return what makes a ``struct fuse_dirent`` a ``fuse_direntplus``."""
    try:
        return encode_entry(entry.entry, None) if entry.entry else NO_ATTRIBUTES
    except (AttributeError, TypeError, ValueError, struct.error) as exc:
        raise _explained(entry, exc) from exc


def _explained(entry: object, exc: Exception) -> Exception:
    """Return what is wrong with an entry, or what was raised where that is not plain."""
    mistake = mistake_in_entry(entry)
    return ReplyError(mistake) if mistake else exc


def names_of(records: bytes | bytearray) -> set[str]:
    """Return the names in these records."""
    names, at, fixed = set(), 0, layouts.DIRENT.size
    while at < len(records):
        _, _, size, _ = layouts.DIRENT.unpack_from(records, at)
        at += fixed
        names.add(records[at : at + size].decode("utf-8", "surrogateescape"))
        at += size + -size % 8
    return names
