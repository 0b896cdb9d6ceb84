"""What all handlers do: translate pyfuse3's values and errors.

Attributes of a bridge start with an underscore: `triofuse.Filesystem` has the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import triofuse as t
from triofuse.compat.pyfuse3.values import (
    EntryAttributes,
    FileInfo,
    FUSEError,
    RequestContext,
)

__all__ = ["Translated", "caller", "encoded", "entry_for", "opened_as", "translating"]

_S = TypeVar("_S", bound="Translated")
_Q = TypeVar("_Q", bound=t.Request)
_R = TypeVar("_R")

_KEEP_CACHE = int(t.OpenFlags.KEEP_CACHE)
_DIRECT_IO = int(t.OpenFlags.DIRECT_IO)
_NONSEEKABLE = int(t.OpenFlags.NONSEEKABLE)


class Translated(t.Filesystem):
    """A filesystem that calls the handlers of an object such as `Operations`."""

    _operations: Any


def translating(
    method: Callable[[_S, _Q], Coroutine[Any, Any, _R]],
) -> Callable[[_S, _Q], Coroutine[Any, Any, _R]]:
    """Make `triofuse.FuseError` of `FUSEError`.

    The methods that are called most do this themselves: a coroutine less takes 0.2 us
    less.
    """

    @functools.wraps(method)
    async def call(self: _S, request: _Q) -> _R:
        try:
            return await method(self, request)
        except FUSEError as exc:
            raise t.FuseError(exc.errno) from None

    return call


def caller(request: t.Request, umask: int = 0) -> RequestContext:
    """Return the context of a request."""
    return RequestContext(request.uid, request.pid, request.gid, umask)


def encoded(name: str) -> bytes:
    """Return the bytes of a name; `os.fsencode` takes twice as long."""
    return name.encode("utf-8", "surrogateescape")


def entry_for(found: EntryAttributes) -> t.Entry:
    """Return an entry to encode; a negative one if there is no such name."""
    if found.st_ino:
        return cast(t.Entry, found)
    return t.Entry.negative(found.entry_timeout)


def opened_as(info: FileInfo) -> t.Opened:
    """Return the reply to an open."""
    flags = _KEEP_CACHE if info.keep_cache else 0
    if info.direct_io:
        flags |= _DIRECT_IO
    if info.nonseekable:
        flags |= _NONSEEKABLE
    return t.Opened(info.fh, flags)
