"""What a store says of a file, as attributes.

Each store has keys of its own for the same things.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias

import attrs

from triofuse.filesystem.replies import FileAttr

__all__ = ["Info", "Shown", "Version", "is_directory", "time_ns", "version_of"]

#: What fsspec's ``info()`` returns.
Info: TypeAlias = Mapping[str, Any]

_MTIMES: Final = (
    "mtime",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "modified",
    "updated",
    "date_time",
    "created",
)
_TAGS: Final = ("ETag", "etag", "hex", "md5Hash", "Content-MD5", "checksum", "CRC")

_KINDS: Final = {"directory": stat.S_IFDIR, "link": stat.S_IFLNK}


def is_directory(info: Info) -> bool:
    """Whether it is a directory."""
    return bool(info["type"] == "directory")


def time_ns(value: object) -> int | None:
    """Return a time in nanoseconds since the epoch; None if it cannot be read."""
    match value:
        case datetime():
            if value.tzinfo is None:
                value = value.replace(tzinfo=UTC)
            return int(value.timestamp() * 1_000_000) * 1000
        case bool():
            return None
        case int() | float():
            return int(value * 1_000_000) * 1000
        case (int(y), int(mo), int(d), int(h), int(mi), int(s)):  # zip: local time
            try:
                return int(datetime(y, mo, d, h, mi, s).timestamp()) * 1_000_000_000
            except ValueError:  # month 0: there is none
                return None
        case str():
            return _time_in_text(value)
    return None


def _time_in_text(text: str) -> int | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return time_ns(read(text))
        except ValueError:
            continue
    return None


@attrs.frozen
class Version:
    """What differs when the contents differ.

    Attributes:
      tag: An ETag or checksum; None if the store has none.
      size: Bytes.
      mtime_ns: The time of the last change; None if the store does not tell.
    """

    tag: str | None
    size: int | None
    mtime_ns: int | None


def version_of(info: Info) -> Version:
    """Return the version of the contents."""
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), None)
    return Version(tag, info.get("size"), mtime_of(info))


def mtime_of(info: Info) -> int | None:
    """Return the time of the last change, nanoseconds."""
    for key in _MTIMES:
        value = info.get(key)
        if value is not None and (ns := time_ns(value)) is not None:
            return ns
    return None


@attrs.frozen
class Shown:
    """How files of one store are shown.

    Attributes:
      writable: Whether it can be written.
      owners: Whether the owners that it tells are those of this machine.
      valid: Seconds for which the kernel may cache attributes.
    """

    writable: bool
    owners: bool
    valid: float

    def attributes(self, info: Info) -> FileAttr | None:
        """Return attributes; None if the size of a file is not known."""
        kind = _KINDS.get(info["type"], stat.S_IFREG)
        size = 0 if kind == stat.S_IFDIR else info.get("size")
        if size is None:
            return None
        attr = FileAttr(0, kind | self._permissions(info, kind), size=int(size))
        attr.attr_valid = self.valid
        mtime = mtime_of(info)
        if mtime is not None:
            attr.mtime_ns = attr.ctime_ns = attr.atime_ns = mtime
        if self.owners and info.get("uid") is not None:
            attr.uid, attr.gid = int(info["uid"]), int(info.get("gid") or 0)
        return attr

    def _permissions(self, info: Info, kind: int) -> int:
        mode = info.get("mode")
        if isinstance(mode, str):
            mode = int(mode, 8) if mode.isdigit() else None
        if kind == stat.S_IFLNK:
            return 0o777
        found = mode & 0o777 if isinstance(mode, int) else 0
        if not found:  # a directory in git has none
            found = 0o755 if kind == stat.S_IFDIR else 0o644
        if kind == stat.S_IFDIR:
            found |= (found & 0o444) >> 2
        return found if self.writable else (found | 0o400) & ~0o222
