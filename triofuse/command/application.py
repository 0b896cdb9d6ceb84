"""A filesystem by name: ``package.module:Class``."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from triofuse.command.status import reporting
from triofuse.filesystem.filesystem import Filesystem

__all__ = ["application", "reported"]


def application(name: str) -> Callable[..., Any]:
    """Import what makes a filesystem.

    Args:
      name: Module and name in it; the current directory is searched, too.

    Returns:
      A class or function, as `triofuse.main` takes it; also for a filesystem that
      exists already.

    Raises:
      ImportError: There is no such module.
      AttributeError: It has no such name.
      TypeError: That makes no filesystem.
    """
    module, _, path = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if isinstance(found, Filesystem):
        ready = found

        def factory() -> Filesystem:
            return ready

        factory.__doc__ = inspect.getdoc(type(ready))
        return factory
    if not callable(found):
        message = f"{path} is {found!r:.80}, which makes no filesystem"
        raise TypeError(message)
    made: Callable[..., Any] = found
    return made


def reported(factory: Callable[..., Any], source: str, mountpoint: str) -> Any:
    """Return a factory whose filesystem `triofuse list` knows.

    Args:
      factory: A factory as of `triofuse.main`.
      source: What it serves.
      mountpoint: Where.
    """

    @functools.wraps(factory, updated=())
    def make(*arguments: Any, **words: Any) -> AbstractAsyncContextManager[Filesystem]:
        return _living(factory(*arguments, **words), source, mountpoint)

    return make


@asynccontextmanager
async def _living(
    living: Any, source: str, mountpoint: str
) -> AsyncIterator[Filesystem]:
    async with AsyncExitStack() as stack:
        if isinstance(living, AbstractAsyncContextManager):
            living = await stack.enter_async_context(living)
        await stack.enter_async_context(reporting(living, source, mountpoint))
        yield living
