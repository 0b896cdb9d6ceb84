"""Faults of filesystems: exceptions, and replies that cannot be."""

from __future__ import annotations

import errno
from typing import Any

import attrs
import trio

import triofuse as t
from tests.faults.fault import CALLS, Fault, Scene, breaking, raising, returning
from tests.faults.victim import FINE, NODE, Victim

#: What the kernel makes of an error where it is not the errno: fuse_file_poll(),
#: fuse_bmap(); nobody waits for a RELEASE.
_MUTE = {"poll": "8", "bmap": "0", "release": "success", "releasedir": "success"}

EXCEPTIONS = [
    Fault(
        f"{method} raises a ValueError",
        _MUTE.get(method, "EIO"),
        breaking(method, raising(ValueError("a bug"))),
        f"Victim.{method} failed",
    )
    for method in CALLS
]

_OUT_OF_RANGE: dict[str, dict[str, Any]] = {
    "a negative size": {"size": -1},
    "a size of 2**64": {"size": 2**64},
    "a mode of 2**32": {"mode": 2**32},
    "a negative mode": {"mode": -1},
    "a negative nlink": {"nlink": -1},
    "a time of 2**100": {"mtime_ns": 2**100},
    "a negative uid": {"uid": -1},
    "a size that is text": {"size": "4"},
    "a lifetime that is not a number": {"attr_valid": float("nan")},
    "a negative lifetime": {"attr_valid": -1.0},
}


def _attr_with(fields: dict[str, Any]) -> Any:
    async def wrong(victim: Victim, request: Any) -> t.FileAttr:
        return attrs.evolve(victim.attr(NODE), **fields)

    return wrong


def _entry_with(fields: dict[str, Any]) -> Any:
    async def wrong(victim: Victim, request: Any) -> t.Entry:
        entry = victim.found(NODE)
        entry.attr = attrs.evolve(entry.attr, **fields)
        return entry

    return wrong


RANGES = [
    Fault(
        f"{method} returns {what}",
        "EIO",
        breaking(method, make(fields)),
        f"Victim.{method}() returned a",
    )
    for what, fields in _OUT_OF_RANGE.items()
    for method, make in [("getattr", _attr_with), ("lookup", _entry_with)]
]

#: What is no answer, and what the caller gets: method, what, value, answer.
_WRONG: list[tuple[str, str, object, str]] = [
    ("lookup", "None", None, "EIO"),
    ("getattr", "an int", 3, "EIO"),
    ("setattr", "None", None, "EIO"),
    ("statx", "None", None, "EIO"),
    ("open", "a number alone", 3, "EIO"),
    ("opendir", "None", None, "EIO"),
    ("create", "None", None, "EIO"),
    ("tmpfile", "a list", [], "EIO"),
    ("mkdir", "True", True, "EIO"),
    ("read", "None", None, "EIO"),
    ("read", "text", "text", "EIO"),
    ("read", "more than was asked for", bytes(101), "EIO"),
    ("read", "a bytearray", bytearray(FINE), repr(FINE)),
    ("write", "text", "4", "EIO"),
    ("write", "more than it got", 5, "EIO"),
    ("write", "a negative size", -1, "EIO"),
    ("readlink", "bytes", b"target", "EIO"),
    ("readlink", "4096 bytes", "x" * 4096, "EIO"),
    ("readlink", "a NUL", "x\0y", "EIO"),
    ("readlink", "what is no text", "\ud800", "EIO"),
    ("statfs", "None", None, "EIO"),
    ("statfs", "a negative number", t.Statfs(blocks=-1), "EIO"),
    ("getxattr", "text", "text", "EIO"),
    ("listxattr", "an int", 5, "EIO"),
    ("listxattr", "a NUL in a name", ["a\0b"], "EIO"),
    ("getlk", "None", None, "EIO"),
    ("getlk", "a negative start", t.FileLock(-1, 0, 2, 0), "EIO"),
    ("ioctl", "bytes alone", b"", "EIO"),
    ("ioctl", "more data than there is room for", t.IoctlReply(0, bytes(9)), "EIO"),
    ("ioctl", "a result of 2**31", t.IoctlReply(2**31, b""), "EIO"),
    ("lseek", "None", None, "EIO"),
    ("copy_file_range", "more than was asked for", 101, "EIO"),
    ("poll", "None", None, "8"),
    ("bmap", "-1", -1, "0"),
    ("readdir", "None", None, "EIO"),
    ("readdir", "names alone", ["name"], "EIO"),
    ("readdir", "a name with a slash", [t.DirEntry("a/b", 2)], "EIO"),
    ("readdir", "a name with a NUL", [t.DirEntry("a\0b", 2)], "EIO"),
    ("readdir", "an empty name", [t.DirEntry("", 2)], "EIO"),
    ("readdir", "a negative ino", [t.DirEntry("a", -1)], "EIO"),
    ("readdirplus", "None", None, "EIO"),
]

VALUES = [
    Fault(
        f"{method} returns {what}",
        victim,
        breaking(method, returning(value)),
        "" if victim == repr(FINE) else f"Victim.{method}() returned ",
    )
    for method, what, value, victim in _WRONG
]

_ERRORS: list[tuple[str, BaseException, str, str]] = [
    ("an OSError without an errno", OSError("no errno"), "EIO", "whose errno is"),
    ("an OSError with errno 0", OSError(0, "success"), "EIO", "whose errno is"),
    ("an OSError with errno 600", OSError(600, "large"), "EIO", "whose errno is"),
    ("an OSError with errno -5", OSError(-5, "negative"), "EIO", "whose errno is"),
    ("an OSError with ENOSYS", OSError(errno.ENOSYS, "below"), "EOPNOTSUPP", ""),
    ("ENOSPC, the disk is full", OSError(errno.ENOSPC, "full"), "ENOSPC", ""),
    ("EMFILE, no descriptors are left", OSError(errno.EMFILE, "many"), "EMFILE", ""),
    ("a group of one OSError", ExceptionGroup("", [t.FuseError(16)]), "EBUSY", ""),
    (
        "a group of an OSError and a bug",
        ExceptionGroup("", [t.FuseError(16), ValueError("a bug")]),
        "EIO",
        "Victim.read failed",
    ),
    ("StopIteration", StopIteration(), "EIO", "Victim.read failed"),
    ("StopAsyncIteration", StopAsyncIteration(), "EIO", "Victim.read failed"),
    ("RecursionError", RecursionError(), "EIO", "Victim.read failed"),
    ("MemoryError", MemoryError(), "EIO", "Victim.read failed"),
    ("trio.TooSlowError", trio.TooSlowError(), "EIO", "Victim.read failed"),
    ("trio.EndOfChannel", trio.EndOfChannel(), "EIO", "Victim.read failed"),
    ("trio.ClosedResourceError", trio.ClosedResourceError(), "EIO", "Victim.read"),
    ("trio.WouldBlock", trio.WouldBlock(), "EIO", "Victim.read failed"),
]

ERRORS = [
    Fault(f"read raises {what}", victim, breaking("read", raising(exc)), logged)
    for what, exc, victim, logged in _ERRORS
]


def _ending(method: str, exc: BaseException) -> Any:
    async def happen(scene: Scene) -> str:
        scene.victim.wrong[method] = raising(exc)
        await scene.ask(method)
        await trio.sleep_forever()
        raise AssertionError

    return happen


ENDINGS = [
    Fault(
        f"{method} raises {type(exc).__name__}",
        type(exc).__name__,
        _ending(method, exc),
        ends=True,
    )
    for method in ("read", "open", "readdir", "release")
    for exc in (KeyboardInterrupt(), SystemExit(3))
]
