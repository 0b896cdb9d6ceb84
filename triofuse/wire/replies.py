"""The types that each method must return, and messages about wrong values.

The law: nothing here runs unless a reply could not be encoded.  A message completes
the sentence "Hello.lookup() returned ...", so it says what the author did.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

import attrs

from triofuse.filesystem.replies import (
    DirEntry,
    Entry,
    FileAttr,
    FileData,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)

__all__ = ["Due", "ReplyError", "mistake_in_entry", "shown"]

#: The standard types whose repr shows their bytes.
_BYTES: Final = (bytes, bytearray, memoryview)

#: The most characters of a value in an error.
_SHOWN: Final = 80


class ReplyError(ValueError):
    """A filesystem returned a value that cannot be sent.

    The message completes the sentence "Hello.lookup() returned ...".
    """


@attrs.frozen
class Due:
    """What a method must return.

    Attributes:
      types: The accepted types.
      words: Their names for a message, with an article: ``an Entry``.
      remedy: What to do instead: another meaning, or a conversion.
    """

    types: tuple[type, ...]
    words: str
    remedy: str = ""

    def check(self, value: object) -> None:
        """Check that a value has an accepted type.

        Raises:
          ReplyError: It has not.
        """
        if not isinstance(value, self.types):
            raise ReplyError(self.instead_of(value))

    def mistake_in(self, value: object) -> str | None:
        """Return what is wrong with a value that could not be sent, None if unknown."""
        match value:
            case (Entry() as entry, Opened() as opened):
                return _mistake_in_fields(entry) or _mistake_in_fields(opened)
        if tuple in self.types or not isinstance(value, self.types):
            return self.instead_of(value)
        return _mistake_in_fields(value)

    def instead_of(self, value: object) -> str:
        """Return what is wrong with a value of another type."""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{shown(value)}; {self.words} is due{remedy}"


def shown(value: object) -> str:
    """Return a short repr of a value, with its type if the repr does not show it."""
    if value is None:
        return "None"
    text = repr(value)
    if len(text) > _SHOWN:
        text = f"{text[:_SHOWN]}..."
    if isinstance(value, (str, int, float, list, tuple, dict, set, *_BYTES)):
        return f"{text} ({type(value).__name__})"
    return text


#: The fields of 32 bits in linux/fuse.h; all others have 64.
_FIELDS_OF_32_BITS: Final = frozenset(
    {
        "backing_id",
        "blksize",
        "bsize",
        "flags",
        "frsize",
        "gid",
        "mode",
        "namelen",
        "nlink",
        "pid",
        "rdev",
        "type",
        "uid",
    }
)


_WITH_FIELDS: Final = (Entry, FileAttr, FileData, Opened, Statfs, FileLock, DirEntry)


def _mistake_in_fields(value: object) -> str | None:
    """Return which field of a reply cannot be sent, None if all can."""
    if not isinstance(value, _WITH_FIELDS):
        return None
    article = "an" if isinstance(value, (Entry, Opened)) else "a"
    for field in attrs.fields(type(value)):
        name, given = field.name, getattr(value, field.name)
        if reason := _mistake_in_field(name, given):
            return f"{article} {type(value).__name__} with {name} {reason}"
    return None


def _mistake_in_field(name: str, given: Any) -> str | None:
    """Return what is wrong with a field, without its name; None if nothing is."""
    if name == "attr":
        if isinstance(given, FileAttr):
            inner = _mistake_in_fields(given)
            return f"which is {inner}" if inner else None
        return f"{shown(given)}; a FileAttr is due"
    if name == "name":
        return _mistake_in_name(given)
    if name == "entry" or (given is None and name in _MAY_BE_NONE):
        return None
    if name.endswith("_valid"):
        if isinstance(given, int | float) and given >= 0:
            return None
        return f"{shown(given)}; seconds are due, 0 or more, or math.inf for ever"
    return _mistake_in_number(name, given)


#: Fields that may be None.
_MAY_BE_NONE = frozenset({"blocks", "btime_ns", "offset", "backing_fd"})


def _mistake_in_name(given: object) -> str | None:
    if not isinstance(given, str):
        remedy = " (os.fsdecode() makes one)" if isinstance(given, _BYTES) else ""
        return f"{shown(given)}; a str is due{remedy}"
    if not given or "/" in given or "\0" in given:
        return f"{given!r}; a name is not empty, and has no slash and no NUL"
    try:
        os.fsencode(given)
    except UnicodeEncodeError:
        return f"{given!r}; a name is text, or made by os.fsdecode()"
    return None


def _mistake_in_number(name: str, given: object) -> str | None:
    is_time = name.endswith("_ns")
    if name == "backing_as":
        return None
    if not hasattr(given, "__index__"):
        remedy = " of nanoseconds, as time.time_ns() returns" if is_time else ""
        return f"{shown(given)}; an int{remedy} is due"
    number = given.__index__()
    if is_time:
        low, high = -(2**63), 10**9 * 2**63
        return None if low <= number < high else f"{number}; that is no time"
    bits = 32 if name in _FIELDS_OF_32_BITS else 64
    if 0 <= number < 2**bits:
        return None
    return f"{number}; 0..2**{bits}-1 can be sent"


def mistake_in_entry(entry: object) -> str | None:
    """Return what is wrong with an item of a listing, None if nothing is."""
    if not isinstance(entry, DirEntry):
        return f"{shown(entry)} in a listing; a DirEntry is due"
    found: object = entry.entry
    if found is not None and not isinstance(found, Entry):
        return f"a DirEntry with entry {shown(found)}; an Entry or None is due"
    return _mistake_in_fields(entry) or _mistake_in_fields(found)


NOTHING: Final = Due(
    (object,), "None", "a refusal is raised: raise FuseError(errno.EACCES)"
)
ATTR: Final = Due((FileAttr,), "a FileAttr", "or raise FuseError(errno.ENOENT)")
ENTRY: Final = Due((Entry,), "an Entry", "or raise FuseError(errno.ENOENT)")
OPENED: Final = Due((Opened,), "an Opened", "Opened() where there is no handle")
CREATED: Final = Due((tuple,), "a pair (Entry, Opened)")
DATA: Final = Due(
    (*_BYTES, FileData),
    "bytes, a bytearray, a memoryview or a FileData",
    "b'' at the end",
)
BYTES: Final = Due(
    _BYTES, "bytes, a bytearray or a memoryview", "or raise FuseError(errno.ENODATA)"
)
NAMES: Final = Due((Iterable,), "an iterable of str", "a list of them")
TARGET: Final = Due((str,), "a str", "os.fsdecode() makes one of bytes")
STATFS: Final = Due((Statfs,), "a Statfs")
LOCK: Final = Due((FileLock,), "a FileLock", "FileLock() where nothing is in the way")
IOCTL: Final = Due((IoctlReply,), "an IoctlReply")
SIZE: Final = Due((int,), "the number of bytes (an int)")
OFFSET: Final = Due((int,), "an offset (an int)", "or raise FuseError(errno.ENXIO)")
EVENTS: Final = Due((int,), "a mask of select.POLLIN and its kin (an int)")
BLOCK: Final = Due((int,), "the number of a block (an int)")
ENTRIES: Final = Due((Iterable,), "an iterable of DirEntry")
