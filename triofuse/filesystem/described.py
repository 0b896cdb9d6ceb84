"""Requests in words: names of flags, types and errors in place of numbers."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from enum import IntFlag
from typing import Any, Final

import attrs

from triofuse.filesystem import flags as f
from triofuse.filesystem.requests import Request

__all__ = ["answered", "described", "error_name"]

#: The fields of the header, which say who calls and not what is asked.
_HEADER: Final = frozenset(field.name for field in attrs.fields(Request)) - {"nodeid"}

#: O_RDONLY is 0, and O_SYNC has two bits.
_ACCESS_MODES: Final = {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR", 3: "O_ACCMODE"}
_OPEN_FLAGS: Final = {
    0o100000: "O_LARGEFILE",  # of x86; Python takes it from the C library, where it is 0
    **{
        getattr(os, name): name
        for name in (
            *("O_CREAT", "O_EXCL", "O_NOCTTY", "O_TRUNC", "O_APPEND", "O_NONBLOCK"),
            *("O_DSYNC", "O_DIRECT", "O_DIRECTORY", "O_NOFOLLOW", "O_NOATIME"),
            *("O_CLOEXEC", "O_PATH"),
        )
        if hasattr(os, name)
    },
}


def _open_flags(value: int) -> str:
    return _joined(value & ~3, _OPEN_FLAGS, [_ACCESS_MODES[value & 3]])


def _access(value: int) -> str:
    letters = ("r", os.R_OK), ("w", os.W_OK), ("x", os.X_OK)
    return "".join(letter for letter, bit in letters if value & bit) or "exists"


def _flags(kind: type[IntFlag]) -> Callable[[int], str]:
    names = {int(flag): flag.name or "" for flag in kind}
    return lambda value: _joined(value, names, [])


def _joined(value: int, names: dict[int, str], known: list[str]) -> str:
    for bit, name in names.items():
        if value & bit == bit:
            known.append(name)
            value &= ~bit
    if value:
        known.append(f"{value:#x}")
    return "|".join(known) or "0"


def _whence(value: int) -> str:
    return {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END", 3: "SEEK_DATA"}.get(
        value, "SEEK_HOLE" if value == 4 else str(value)
    )


#: How a field is shown: of one class, else by its name.
_FIELDS: Final[dict[str, Callable[[int], str]]] = {
    "Access.mask": _access,
    "Fallocate.mode": _flags(f.FallocateMode),
    "Ioctl.flags": _flags(f.IoctlFlags),
    "Ioctl.cmd": hex,
    "Lseek.whence": _whence,
    "Poll.flags": _flags(f.PollFlags),
    "Poll.events": hex,
    "Rename.flags": _flags(f.RenameFlags),
    "CopyFileRange.flags": hex,
    "Setxattr.flags": _flags(f.SetxattrFlags),
    "flags": _open_flags,
    "fsync_flags": _flags(f.FsyncFlags),
    "getattr_flags": _flags(f.GetattrFlags),
    "lk_flags": _flags(f.LockFlags),
    "mode": stat.filemode,
    "open_flags": _flags(f.OpenInFlags),
    "read_flags": _flags(f.ReadFlags),
    "release_flags": _flags(f.ReleaseFlags),
    "setxattr_flags": _flags(f.SetxattrInFlags),
    "sx_mask": _flags(f.StatxMask),
    "umask": lambda value: f"{value:#05o}",
    "valid": _flags(f.SetattrValid),
    "write_flags": _flags(f.WriteFlags),
}

#: What is 0 or empty nearly always, and says nothing then.
_SHOWN_IF_SET: Final = frozenset(
    {
        *("fsync_flags", "getattr_flags", "groups", "lk_flags", "lock_owner"),
        *("open_flags", "read_flags", "release_flags", "security_contexts"),
        *("setxattr_flags", "sx_flags", "write_flags"),
    }
)


def described(request: Request) -> dict[str, str]:
    """Return the fields of a request that are not in its header, as words.

    Payloads are shown by their length.
    """
    kind = type(request).__name__
    words: dict[str, str] = {}
    for field in attrs.fields(type(request)):
        value: Any = getattr(request, field.name)
        if field.name in _HEADER or value is None:
            continue
        if not value and field.name in _SHOWN_IF_SET:
            continue
        show = _FIELDS.get(f"{kind}.{field.name}", _FIELDS.get(field.name))
        if isinstance(value, bytes | bytearray | memoryview):
            words[field.name] = f"{len(value)} bytes"
        else:
            words[field.name] = show(value) if show else repr(value)
    return words


def error_name(number: int) -> str:
    """Return the name of an errno: ``ENOENT``; ``OK`` for 0."""
    return errno.errorcode.get(number, str(number)) if number else "OK"


def answered(value: object) -> str:
    """Return what a method has returned, in a few words."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, list | tuple) and len(value) > 2:
        return f"{len(value)} items"
    if value is None or isinstance(value, int | str | tuple) or attrs.has(type(value)):
        return f"{value!r:.200}"
    return type(value).__name__
