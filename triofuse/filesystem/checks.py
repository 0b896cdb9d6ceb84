"""What can be seen of a filesystem before it is asked anything.

The law: what cannot work is refused before anything is mounted; what is likely a
mistake, but may be meant, is only told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import FunctionType
from typing import Any, Final

from triofuse.filesystem.filesystem import Filesystem, implements

__all__ = ["NO_GENERATOR", "awaited", "check_filesystem", "doubts_about"]

#: The methods that are awaited.
_METHODS: Final = {
    name for name, own in vars(Filesystem).items() if inspect.iscoroutinefunction(own)
}

#: Methods of other libraries, and what the kernel asks in their place.
_NAMES_ELSEWHERE: Final = {
    "chmod": "setattr",
    "chown": "setattr",
    "truncate": "setattr",
    "ftruncate": "setattr",
    "utime": "setattr",
    "utimens": "setattr",
    "lock": "setlk",
}

#: What cannot be done without a method.
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
_ARGUMENTS: Final = {"init": "one argument, a KernelConfig", "destroy": "none"}


def check_filesystem(filesystem: object) -> None:
    """See whether this can be served at all.

    Raises:
      TypeError: It is no filesystem, or its ``forget`` is async.
    """
    if isinstance(filesystem, type):
        name = filesystem.__name__
        message = f"{name} is a class; make a filesystem of it: {name}()"
        raise TypeError(message)
    if not isinstance(filesystem, Filesystem):
        message = (
            f"{filesystem!r:.80} is no filesystem, but of class "
            f"{type(filesystem).__name__}; subclass triofuse.Filesystem"
        )
        raise TypeError(message)
    name = type(filesystem).__name__
    for method in ("forget", *sorted(_METHODS)):
        if not callable(own := getattr(filesystem, method)):
            message = f"{name}.{method} is {own!r:.80}, which cannot be called"
            raise TypeError(message)
    if inspect.iscoroutinefunction(filesystem.forget):
        message = (
            f"{name}.forget() must not be async: "
            "nobody would await it; write 'def forget'"
        )
        raise TypeError(message)


async def awaited(filesystem: Filesystem, method: str, *arguments: object) -> None:
    """Call a method that answers no request: ``init`` or ``destroy``.

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
    """Yield what is likely a mistake, in a sentence each.

    Args:
      filesystem: What is to be served.
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
    """Return what is likely wrong with a method, after its name."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return NO_GENERATOR
    plain = getattr(function, "__func__", function)
    # What a decorator or partial() made may well return an awaitable.
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
        inspect.signature(function).bind(*([] if method == "destroy" else [None]))
    except TypeError:
        return False
    return True


def _misspelt(filesystem: Filesystem) -> Iterator[str]:
    """Yield which methods nobody will call although they look as if they were to be."""
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
    """Return the method that a name was meant for, None if it has a life of its own.

    A plain function may well serve others: it must be the same but for case and
    underscores.
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
