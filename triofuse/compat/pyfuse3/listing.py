"""`readdir_reply`: the entries of one page of a directory."""

from __future__ import annotations

import os
from typing import Any, cast

import attrs

import triofuse as t
from triofuse.compat.pyfuse3.values import EntryAttributes, ReaddirToken

__all__ = ["begin", "entries_of", "readdir_reply"]

#: Bytes of a ``struct fuse_direntplus`` before the name.
_FIXED = 152

_FIELDS = tuple(field.name for field in attrs.fields(EntryAttributes))


def readdir_reply(
    token: ReaddirToken, name: bytes, attr: EntryAttributes, next_id: int
) -> bool:
    """Add an entry to the listing that ``readdir`` makes.

    Args:
      token: What ``readdir`` got.
      name: The name.
      attr: The attributes, which are copied.
      next_id: What ``start_id`` has to be for a listing after this entry.

    Returns:
      Whether the entry has found room.  If so it counts as a lookup, unless it is ``.``
      or ``..``.  If not, return from ``readdir``.
    """
    given: object = name
    if not isinstance(given, bytes):
        message = f"name must be bytes, not {type(given).__name__}"
        raise TypeError(message)
    room = token._room - (_FIXED + len(name) + 7 & ~7)
    if room < 0:
        token._room = 0  # nothing smaller may take its place
        return False
    token._room = room
    entry = cast(t.Entry, _copied(attr))
    found = t.DirEntry(os.fsdecode(name), attr.st_ino, attr.st_mode, next_id, entry)
    token._entries.append(found)
    return True


def _copied(attr: EntryAttributes) -> EntryAttributes:
    """Return a copy: the handler may use the object again for its next entry."""
    copied: Any = EntryAttributes.__new__(EntryAttributes)
    for name in _FIELDS:
        setattr(copied, name, getattr(attr, name))
    return cast(EntryAttributes, copied)


def begin(size: int) -> ReaddirToken:
    """Return a token for a page of ``size`` bytes."""
    token = ReaddirToken()
    token._room = size
    return token


def entries_of(token: ReaddirToken) -> list[t.DirEntry]:
    """Return the entries of a page."""
    return token._entries
