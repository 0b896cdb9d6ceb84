"""A filesystem around another: what it does not override, the inner one does."""

from __future__ import annotations

import errno
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import O_ACCMODE
from triofuse.filesystem.lifetime import Lifetime
from triofuse.filesystem.notifier import Notifier
from triofuse.filesystem.replies import Opened

__all__ = ["Layer", "ReadOnly"]

#: All methods of a filesystem that the runtime calls.
_METHODS = tuple(
    name
    for name, method in {**vars(Lifetime), **vars(Filesystem)}.items()
    if inspect.isfunction(method) and not name.startswith("_")
)

#: What a filesystem says of itself in attributes.
_WISHES = ("interruptible", "mount_options")


class Layer(Filesystem):
    """A filesystem around another one: override a method to change what it does.

    ``await super().read(request)`` asks the inner filesystem.  What is not overridden
    goes to it directly and costs nothing, and what it does not have the layer does
    not have either::

        class Log(triofuse.Layer):
            async def unlink(self, request):
                print("unlink", request.name)
                await super().unlink(request)

        triofuse.run(Log(MyFilesystem()), "/mnt/x")

    Args:
      inner: The filesystem inside: any, also another layer.

    Attributes:
      inner: The filesystem inside.
    """

    def __init__(self, inner: Filesystem) -> None:
        _check_filesystem(inner)
        self.inner = inner
        for name in _WISHES:
            if getattr(type(self), name) is getattr(Filesystem, name):
                setattr(self, name, getattr(inner, name))
        for name in _METHODS:
            if getattr(type(self), name) is getattr(Layer, name):
                setattr(self, name, getattr(inner, name))

    @property
    def notifier(self) -> Notifier:
        """What tells the kernel of changes: the layer's and the inner one's."""
        return self.inner.notifier

    @notifier.setter
    def notifier(self, notifier: Notifier) -> None:
        self.inner.notifier = notifier


def _check_filesystem(inner: object) -> None:
    if not isinstance(inner, Filesystem):
        hint = f": use {inner.__name__}(...)" if isinstance(inner, type) else ""
        message = f"a layer is put around a Filesystem, not {inner!r}{hint}"
        raise TypeError(message)


def _delegating(name: str) -> Callable[..., Any]:
    """Return a method that asks the inner filesystem."""

    @functools.wraps(getattr(Filesystem, name))
    def method(self: Layer, *arguments: Any) -> Any:
        return getattr(self.inner, name)(*arguments)

    return method


for _name in _METHODS:
    setattr(Layer, _name, _delegating(_name))


class ReadOnly(Layer):
    """A filesystem of which nothing can be changed: all changes are EROFS."""

    async def open(self, request: r.Open) -> Opened:
        """Open a file for reading only."""
        if request.flags & O_ACCMODE != os.O_RDONLY or request.flags & os.O_TRUNC:
            raise FuseError(errno.EROFS)
        return await super().open(request)

    async def access(self, request: r.Access) -> None:
        """Grant no writing."""
        if request.mask & os.W_OK:
            raise FuseError(errno.EROFS)
        await super().access(request)


async def _refuse(_: ReadOnly, __: r.Request) -> None:
    """Refuse a change: EROFS."""
    raise FuseError(errno.EROFS)


for _name in (
    "copy_file_range",
    "create",
    "fallocate",
    "link",
    "mkdir",
    "mknod",
    "removexattr",
    "rename",
    "rename2",
    "rmdir",
    "setattr",
    "setxattr",
    "symlink",
    "tmpfile",
    "unlink",
    "write",
):
    setattr(ReadOnly, _name, _refuse)
