"""What rules do: the actions, each a function that may go on with the operation."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeVar

import trio

from triofuse.faults.rule import Action, Call, Proceed, Rule
from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import Buffer, FileData, Statfs

__all__ = [
    "FULL",
    "IGNORED",
    "corrupting",
    "delaying",
    "failing",
    "filling",
    "hanging",
    "ignoring",
    "killing",
    "shortening",
]

T = TypeVar("T", bound=r.Request)

_PAGE: Final = 4096

#: Operations whose success has no content, so that it can be made up.
IGNORED: Final = frozenset(
    [
        "write",
        "fsync",
        "fsyncdir",
        "flush",
        "setattr",
        "setxattr",
        "removexattr",
        "unlink",
        "rmdir",
        "rename",
        "rename2",
        "fallocate",
        "syncfs",
        "release",
        "releasedir",
        "access",
        "setlk",
        "setlkw",
    ]
)

#: Operations that a full disk refuses, or that show it.
FULL: Final = frozenset(
    [
        "write",
        "fallocate",
        "setattr",
        "create",
        "mknod",
        "mkdir",
        "symlink",
        "tmpfile",
        "statfs",
    ]
)


def failing(error: int) -> Action:
    """Fail with an errno."""

    async def fail(_: Rule, __: Call, ___: Proceed) -> Any:
        raise FuseError(error)

    return fail


def delaying(seconds: float) -> Action:
    """Wait, then go on."""

    async def delay(_: Rule, call: Call, proceed: Proceed) -> Any:
        await trio.sleep(seconds)
        return await proceed(call.request)

    return delay


async def hanging(rule: Rule, call: Call, proceed: Proceed) -> Any:
    """Block until the rule is released, then go on."""
    await rule.wait_released()
    return await proceed(call.request)


def killing(signal: int) -> Action:
    """Send a signal to the caller, and fail with EINTR."""

    async def kill(_: Rule, call: Call, __: Proceed) -> Any:
        if call.request.pid:
            os.kill(call.request.pid, signal)
        raise FuseError(errno.EINTR)

    return kill


def shortening(size: int) -> Action:
    """Read or write at most so many bytes."""

    async def shorten(_: Rule, call: Call, proceed: Proceed) -> Any:
        request = copy.copy(call.request)
        if isinstance(request, (r.Read, r.Write)):
            request.size = min(request.size, size)
        if isinstance(request, r.Write):
            request.data = request.data[:size]
        return await proceed(request)

    return shorten


def ignoring(inner: Callable[[], Filesystem]) -> Action:
    """Say that it is done, and do nothing."""

    async def ignore(_: Rule, call: Call, __: Proceed) -> Any:
        request = call.request
        if isinstance(request, r.Write):
            return len(request.data)
        if isinstance(request, r.Setattr):
            return await inner().getattr(_as(r.Getattr, request, 0, None))
        return None

    return ignore


def corrupting(size: int, how: str, random: Random) -> Action:
    """Change bytes that are read or written."""

    async def corrupt(_: Rule, call: Call, proceed: Proceed) -> Any:
        request = call.request
        if isinstance(request, r.Write):
            request = copy.copy(request)
            request.data = memoryview(_corrupted(request.data, size, how, random))
            return await proceed(request)
        data = await proceed(request)
        if isinstance(data, FileData):
            data = os.pread(data.fd, data.size, data.offset)
        return bytes(_corrupted(data, size, how, random))

    return corrupt


def _corrupted(data: Buffer, size: int, how: str, random: Random) -> bytearray:
    changed = bytearray(data)
    for place in random.sample(range(len(changed)), min(size, len(changed))):
        if how == "flip":
            changed[place] ^= 1 << random.randrange(8)
        else:
            changed[place] = random.randrange(256) if how == "random" else 0
    return changed


def filling(beneath: Callable[[], Filesystem], size: int, error: int) -> Action:
    """Behave as a disk of so many bytes."""

    async def fill(_: Rule, call: Call, proceed: Proceed) -> Any:
        request, inner = call.request, beneath()
        room = size - await _used(inner, request)
        match request:
            case r.StatfsRequest():
                return _shrunk(await proceed(request), size, room)
            case r.Write():
                end = request.offset + request.size
                known = await _size(inner, request)
                fits = _fits(known, end, room)
                if fits < end:
                    return await _write_what_fits(request, fits, proceed, error)
            case r.Fallocate() if not request.mode:
                end = request.offset + request.length
                if _fits(await _size(inner, request), end, room) < end:
                    raise FuseError(error)
            case r.Setattr():
                pass  # a longer file is a hole: it takes nothing
            case r.Create() | r.Mknod() | r.Mkdir() | r.Symlink() if room < _PAGE:
                raise FuseError(error)
        return await proceed(request)

    return fill


async def _write_what_fits(
    request: r.Write, end: int, proceed: Proceed, error: int
) -> Any:
    if end <= request.offset:
        raise FuseError(error)
    request = copy.copy(request)
    request.size = end - request.offset
    request.data = request.data[: request.size]
    return await proceed(request)


def _fits(known: int, end: int, room: int) -> int:
    """Return up to where a file of a known size can be written."""
    pages = -(-known // _PAGE) + max(room, 0) // _PAGE
    return min(end, pages * _PAGE)


async def _used(inner: Filesystem, request: r.Request) -> int:
    """Return the bytes that a filesystem uses."""
    space = await inner.statfs(_as(r.StatfsRequest, request))
    return (space.blocks - space.bfree) * space.frsize


async def _size(inner: Filesystem, request: r.Request) -> int:
    return (await inner.getattr(_as(r.Getattr, request, 0, None))).size


def _shrunk(space: Statfs, size: int, room: int) -> Statfs:
    shown = copy.copy(space)
    shown.blocks = size // space.frsize
    shown.bfree = shown.bavail = max(room, 0) // space.frsize
    return shown


def _as(kind: type[T], request: r.Request, *more: object) -> T:
    """Return another request of the same caller about the same node."""
    header = (request.unique, request.nodeid, request.uid, request.gid, request.pid)
    return kind(*header, *more)
