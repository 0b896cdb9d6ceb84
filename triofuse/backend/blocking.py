"""`blocking`: methods that may block, in threads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import attrs

from triofuse.backend.threads import Patience, Threads

__all__ = ["blocking"]

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
C = TypeVar("C", bound=type)

_default_threads = Threads()


@overload
def blocking(method: C, /) -> C: ...
@overload
def blocking(
    method: Callable[Concatenate[S, P], T], /
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]: ...
@overload
def blocking(*, threads: Threads) -> _Blocking: ...
def blocking(method: Any = None, /, *, threads: Threads = _default_threads) -> Any:
    """Have a plain method run in a thread, so that it may block.

    The result is an async method.  Its caller can be cancelled and continues at once;
    the thread runs to the end::

        class Row(triofuse.File):
            @triofuse.blocking
            def read(self, size: int, offset: int) -> bytes:
                return self.database.read(self.key, size, offset)

    Before a class it stands for all of its plain methods that override async ones.

    Args:
      method: The method, or the class.
      threads: How many run at a time, for all methods with the same object:
        ``one = Threads(1)`` and ``@blocking(threads=one)``.  The default is 40 for
        the whole program.
    """
    if method is None:
        return _Blocking(threads)
    return _Blocking(threads)(method)


@attrs.frozen
class _Blocking:
    """The decorator `blocking` with its threads."""

    threads: Threads

    @overload
    def __call__(self, method: C, /) -> C: ...
    @overload
    def __call__(
        self, method: Callable[Concatenate[S, P], T], /
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]: ...
    def __call__(self, method: Any, /) -> Any:
        if isinstance(method, type):
            return self._class(method)
        _check_plain(method)
        run = functools.partial(self.threads.run, patience=Patience())

        @functools.wraps(method)
        async def in_thread(*arguments: Any, **keywords: Any) -> Any:
            function = functools.partial(method, **keywords) if keywords else method
            return await run(function, *arguments)

        return in_thread

    def _class(self, cls: type) -> type:
        for name, function in list(vars(cls).items()):
            inherited = [getattr(base, name, None) for base in cls.__mro__[1:]]
            if (
                inspect.isfunction(function)
                and not inspect.iscoroutinefunction(function)
                and any(map(inspect.iscoroutinefunction, inherited))
            ):
                setattr(cls, name, self(function))
        return cls


def _check_plain(method: object) -> None:
    """Raise TypeError for what cannot run in a thread."""
    name = getattr(method, "__name__", repr(method))
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        message = f"{name}() is async; @blocking is for plain methods: write 'def'"
        raise TypeError(message)
    if inspect.isgeneratorfunction(method):
        message = f"{name}() has a yield: it would run in no thread; return a list"
        raise TypeError(message)
    if not callable(method):
        message = f"@blocking is put before a method or a class, not {name}"
        raise TypeError(message)
