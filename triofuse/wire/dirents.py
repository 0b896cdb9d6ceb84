"""The records of a listing: one per entry, padded to 8 bytes."""

from __future__ import annotations

import struct

from triofuse.filesystem.replies import DirEntry
from triofuse.wire import layouts
from triofuse.wire.attributes import encode_entry
from triofuse.wire.encode import encode_name
from triofuse.wire.replies import ReplyError, mistake_in_entry

__all__ = ["NO_ATTRIBUTES", "encode_attributes", "encode_dirent", "names_of"]

#: Precedes a record of READDIRPLUS that has no attributes and counts no lookup.
NO_ATTRIBUTES = bytes(layouts.ENTRY_OUT.size)

#: The padding of a record to a multiple of 8 bytes, by its name's length modulo 8.
_PADDING = tuple(bytes(-size % 8) for size in range(8))
_pack_dirent = layouts.DIRENT.pack


def encode_dirent(entry: DirEntry, cookie: int) -> bytes:
    """Return a ``struct fuse_dirent`` with its name.

    Raises:
      ValueError: The name is invalid.
    """
    try:
        name = encode_name(entry.name)
        size = len(name)
        fixed = _pack_dirent(entry.ino, cookie, size, entry.mode >> 12)
    except (AttributeError, TypeError, ValueError, struct.error) as exc:
        raise _explained(entry, exc) from exc
    return fixed + name + _PADDING[size & 7]


def encode_attributes(entry: DirEntry) -> bytes:
    """Return the ``struct fuse_entry_out`` that starts a ``fuse_direntplus``."""
    try:
        return encode_entry(entry.entry, None) if entry.entry else NO_ATTRIBUTES
    except (AttributeError, TypeError, ValueError, struct.error) as exc:
        raise _explained(entry, exc) from exc


def _explained(entry: object, exc: Exception) -> Exception:
    """Return an error that says what is wrong with an entry, ``exc`` if unknown."""
    mistake = mistake_in_entry(entry)
    return ReplyError(mistake) if mistake else exc


def names_of(records: bytes | bytearray) -> set[str]:
    """Return the names in records of ``struct fuse_dirent``."""
    names, at, fixed = set(), 0, layouts.DIRENT.size
    while at < len(records):
        _, _, size, _ = layouts.DIRENT.unpack_from(records, at)
        at += fixed
        names.add(records[at : at + size].decode("utf-8", "surrogateescape"))
        at += size + -size % 8
    return names
