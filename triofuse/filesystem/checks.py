"""Checks of a filesystem before it is mounted.

The law: what cannot work is an error before anything is mounted.  What is likely a
mistake, but may be intended, is only logged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import FunctionType
from typing import Any, Final

from triofuse.filesystem.filesystem import Filesystem, implements

__all__ = ["NO_GENERATOR", "awaited", "check_filesystem", "doubts_about"]

#: The async methods.
_METHODS: Final = {
    name
    for name in dir(Filesystem)
    if inspect.iscoroutinefunction(getattr(Filesystem, name))
}

#: Methods of other libraries, and the operation that the kernel sends instead.
_NAMES_ELSEWHERE: Final = {
    "chmod": "setattr",
    "chown": "setattr",
    "truncate": "setattr",
    "ftruncate": "setattr",
    "utime": "setattr",
    "utimens": "setattr",
    "lock": "setlk",
}

#: What fails without one of these methods.
_NEEDED: Final = {
    ("getattr",): "stat(2) fails for everything",
    ("lookup",): "no name in it can be found",
    ("readdir", "readdirplus"): "no directory can be listed",
}
_NEEDED_BY_DIRECTORIES: Final = {"lookup", "readdir"}

NO_GENERATOR: Final = (
    "has a yield, which makes it a generator: write 'async def', and return what is "
    "due at once, of a listing a list of all entries"
)

#: The methods that are no answer to a request, and what they are called with.
_ARGUMENTS: Final = {
    "init": "one argument, a KernelConfig",
    "run": "none",
    "destroy": "none",
}


def check_filesystem(filesystem: object) -> None:
    """Check that an object is a filesystem that can be served.

    Raises:
      TypeError: It is not a `Filesystem`, or its ``forget`` is async.
    """
    if isinstance(filesystem, type):
        name = filesystem.__name__
        message = f"{name} is a class; make a filesystem of it: {name}()"
        raise TypeError(message)
    if not isinstance(filesystem, Filesystem):
        message = (
            f"{filesystem!r:.80} is no filesystem, but of class "
            f"{type(filesystem).__name__}; subclass triofuse.Filesystem, "
            "or make one of nodes: triofuse.Tree(...)"
        )
        raise TypeError(message)
    name = type(filesystem).__name__
    for method in ("forget", *sorted(_METHODS)):
        if not callable(own := getattr(filesystem, method)):
            message = f"{name}.{method} is {own!r:.80}, which cannot be called"
            raise TypeError(message)
    if inspect.iscoroutinefunction(filesystem.forget):
        message = (
            f"{name}.forget() must not be async: it is not awaited; write 'def forget'"
        )
        raise TypeError(message)


async def awaited(filesystem: Filesystem, method: str, *arguments: object) -> None:
    """Call a method that answers no request: ``init``, ``run`` or ``destroy``.

    Raises:
      TypeError: It is a plain function.
    """
    answer = getattr(filesystem, method)(*arguments)
    if not inspect.isawaitable(answer):
        message = (
            f"{type(filesystem).__name__}.{method}() returned what cannot be awaited; "
            "write 'async def'"
        )
        raise TypeError(message)
    await answer


def doubts_about(filesystem: Filesystem, *, is_directory: bool = True) -> Iterator[str]:
    """Yield one sentence for each likely mistake.

    Args:
      filesystem: The filesystem to check.
      is_directory: Whether its root is a directory; else it is a file.
    """
    name = type(filesystem).__name__
    for methods, loss in _NEEDED.items():
        if not is_directory and methods[0] in _NEEDED_BY_DIRECTORIES:
            continue
        if not any(implements(filesystem, method) for method in methods):
            yield f"{name} has no {methods[0]}(): {loss}"
    for method in sorted(_METHODS):
        if implements(filesystem, method):
            doubt = _doubt_about(getattr(filesystem, method), method)
            if doubt:
                yield f"{name}.{method}() {doubt}"
    yield from _misspelt(filesystem)


def _doubt_about(function: Callable[..., Any], method: str) -> str | None:
    """Return what is likely wrong with a method, without its name; None if nothing."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return NO_GENERATOR
    plain = getattr(function, "__func__", function)
    # The result of a decorator or partial() may return an awaitable.
    is_as_written = (
        isinstance(plain, FunctionType)
        and plain.__name__ == method
        and not hasattr(plain, "__wrapped__")
    )
    if is_as_written and not inspect.iscoroutinefunction(plain):
        return "is a plain function: unless it returns an awaitable, write 'async def'"
    if is_as_written and not _takes_one_argument(function, method):
        given = ", ".join(inspect.signature(function).parameters)
        wanted = _ARGUMENTS.get(method, "one argument, the request")
        return f"takes ({given}), but is called with {wanted}"
    return None


def _takes_one_argument(function: Callable[..., Any], method: str) -> bool:
    try:
        inspect.signature(function).bind(
            *([] if _ARGUMENTS.get(method) == "none" else [None])
        )
    except TypeError:
        return False
    return True


def _misspelt(filesystem: Filesystem) -> Iterator[str]:
    """Yield the methods that look like operations but are never called."""
    missing = {method for method in _METHODS if not implements(filesystem, method)}
    missing.add("forget")
    for own in type(filesystem).__mro__:
        if own is Filesystem:
            break
        for name, value in vars(own).items():
            if name.startswith("_") or hasattr(Filesystem, name):
                continue
            if isinstance(value, FunctionType) and (
                meant := _meant_by(name, missing, isasync=_is_async(value))
            ):
                yield (
                    f"{own.__name__}.{name}() is never called: no operation has that "
                    f"name; did you mean {meant}()?"
                )


def _is_async(function: FunctionType) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _meant_by(name: str, missing: set[str], *, isasync: bool) -> str | None:
    """Return the method that a name was probably meant for, None if there is none.

    A plain function may have another purpose, so its name must be equal except for
    case and underscores.
    """
    plain = name.replace("_", "").lower()
    if plain in missing:
        return plain
    if not isasync:
        return None
    elsewhere = _NAMES_ELSEWHERE.get(plain)
    if elsewhere in missing:
        return elsewhere
    near = get_close_matches(plain, missing, n=1, cutoff=0.8)
    return near[0] if near else None
