"""Faults of filesystems: exceptions, replies that cannot be, cancellation misused."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from typing import Any

import attrs
import trio

import triofuse as t
from tests.faults.fault import (
    CALLS,
    Fault,
    Scene,
    breaking,
    hanging,
    raising,
    returning,
)
from tests.faults.victim import FINE, NODE, Victim
from triofuse.wire.layouts import READ_IN
from triofuse.wire.opcodes import Opcode

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
        f"Victim.{method} failed",
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
        "" if victim == repr(FINE) else f"Victim.{method} failed",
    )
    for method, what, value, victim in _WRONG
]

_ERRORS: list[tuple[str, BaseException, str, str]] = [
    ("an OSError without an errno", OSError("no errno"), "EIO", "usable errno"),
    ("an OSError with errno 0", OSError(0, "success"), "EIO", "usable errno"),
    ("an OSError with errno 600", OSError(600, "large"), "EIO", "usable errno"),
    ("an OSError with errno -5", OSError(-5, "negative"), "EIO", "usable errno"),
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


async def _swallowing(victim: Victim, request: Any) -> bytes:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        return FINE


async def _own_scope(victim: Victim, request: Any) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.cancel_scope.cancel()
    return FINE


async def _clumsy(victim: Victim, request: Any) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(_stumble)
    return FINE


async def _stumble() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("on the way out")


async def _stubborn(victim: Victim, request: Any) -> bytes:
    with trio.CancelScope(shield=True):
        await trio.sleep(60)
    return FINE


async def _breathless(victim: Victim, request: Any) -> bytes:
    return FINE


async def _ask_a_thousand_times(scene: Scene) -> str:
    scene.victim.wrong["read"] = _breathless
    answers = {await scene.ask("read") for _ in range(1000)}
    (answer,) = answers
    return answer


async def _interrupt(scene: Scene) -> None:
    await scene.interrupt()


CANCELLATION = [
    Fault(
        "a handler swallows Cancelled and returns",
        repr(FINE),
        hanging("read", _swallowing, _interrupt),
    ),
    Fault(
        "a handler never ends, cancelled or not, under a timeout",
        "ETIMEDOUT",
        breaking("read", _stubborn),
        "nothing has ended READ in time",
        {"timeout": 1.0},
    ),
    Fault(
        "a handler's own nursery is cancelled",
        repr(FINE),
        breaking("read", _own_scope),
    ),
    Fault(
        "a handler fails while it is cancelled",
        "EINTR",
        hanging("read", _clumsy, _interrupt),
        "Victim.read failed",
    ),
    Fault(
        "a thousand requests without a checkpoint",
        repr(FINE),
        _ask_a_thousand_times,
    ),
]


def _half(victim: Victim, *, lookups: bool) -> Iterator[t.DirEntry]:
    for number in range(10, 15):
        entry = victim.found(number) if lookups else None
        yield t.DirEntry(f"{number}", number, stat.S_IFREG, entry=entry)
    raise ValueError("half way")


def _failing_on_close() -> Iterator[t.DirEntry]:
    try:
        for number in range(10, 5000):
            yield t.DirEntry(f"{number}", number, stat.S_IFREG)
    finally:
        raise ValueError("on closing")


async def _half_listing(victim: Victim, request: t.Readdir) -> Any:
    return _half(victim, lookups=False)


async def _half_listing_plus(victim: Victim, request: t.Readdirplus) -> Any:
    return _half(victim, lookups=True)


async def _bad_entry(victim: Victim, request: t.Readdirplus) -> list[t.DirEntry]:
    good = [
        t.DirEntry(f"{number}", number, stat.S_IFREG, entry=victim.found(number))
        for number in range(10, 13)
    ]
    bad = victim.found(13)
    bad.attr.size = -1
    return [*good, t.DirEntry("bad", 13, stat.S_IFREG, entry=bad)]


async def _list_and_close(scene: Scene) -> str:
    """List a directory that fails when its listing is closed half way."""

    async def wrong(victim: Victim, request: t.Readdirplus) -> Any:
        return _failing_on_close()

    scene.victim.wrong["readdirplus"] = wrong
    opened = await scene.kernel.opendir(1)
    body = READ_IN.pack(opened.fh, 0, 4096, 0, 0, 0)
    assert await scene.kernel.request(Opcode.READDIRPLUS, 1, body, room=4096)
    await scene.kernel.releasedir(1, opened.fh)
    return "success"


async def _list_and_leave(scene: Scene) -> str:
    opened = await scene.kernel.opendir(1)
    try:
        return await _list_at(scene, opened.fh)
    finally:
        await scene.kernel.releasedir(1, opened.fh)


async def _list_at(scene: Scene, fh: int) -> str:
    try:
        return f"{len(await scene.kernel.readdirplus(1, fh))} entries"
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]


async def _list_a_bad_entry(scene: Scene) -> str:
    scene.victim.wrong["readdirplus"] = _bad_entry
    return await _list_and_leave(scene)


async def _list_half(scene: Scene) -> str:
    scene.victim.wrong["readdirplus"] = _half_listing_plus
    return await _list_and_leave(scene)


LISTINGS = [
    Fault(
        "readdir returns a generator that fails half way",
        "EIO",
        breaking("readdir", _half_listing),
        "Victim.readdir failed",
    ),
    Fault(
        "readdirplus returns a generator that fails half way",
        "EIO",
        _list_half,
        "Victim.readdirplus failed",
    ),
    Fault(
        "readdirplus returns an entry with a negative size behind good ones",
        "EIO",
        _list_a_bad_entry,
        "Victim.readdirplus failed",
    ),
    Fault(
        "a listing fails when it is closed",
        "success",
        _list_and_close,
        "closing the listing",
    ),
]


async def _forget_badly(scene: Scene) -> str:
    right = scene.victim.forget

    def wrong(request: t.Forget) -> None:
        right(request)
        raise ValueError("a bug in forget")

    scene.victim.forget = wrong  # type: ignore[method-assign]
    await scene.kernel.lookup(1, "name")
    await scene.kernel.forget(NODE)
    return await scene.ask("getattr")


def _at_the_end(wrong: Any) -> Any:
    async def happen(scene: Scene) -> str:
        scene.victim.wrong["destroy"] = wrong
        return await scene.ask("read")

    return happen


async def _release_at_the_end(scene: Scene) -> str:
    """Leave a file open whose RELEASE will fail, which the end of the mount calls."""

    async def wrong(victim: Victim, request: t.Release) -> None:
        await victim.healthy("release", request)
        raise ValueError("a bug in release")

    await scene.kernel.open(NODE)
    scene.victim.wrong["release"] = wrong
    return await scene.ask("read")


async def _hang(victim: Victim, request: Any) -> None:
    await trio.sleep_forever()


CLEAN_UP = [
    Fault("forget raises a ValueError", "success", _forget_badly, "failed"),
    Fault(
        "release raises at the end of the mount",
        repr(FINE),
        _release_at_the_end,
        "Release(",
    ),
    Fault(
        "destroy raises a ValueError",
        repr(FINE),
        _at_the_end(raising(ValueError("a bug"))),
        "Victim.destroy() failed",
    ),
    Fault(
        "destroy hangs",
        repr(FINE),
        _at_the_end(_hang),
        "Victim.destroy() was cut off",
    ),
]

FAULTS = [
    *EXCEPTIONS,
    *RANGES,
    *VALUES,
    *ERRORS,
    *ENDINGS,
    *CANCELLATION,
    *LISTINGS,
    *CLEAN_UP,
]
