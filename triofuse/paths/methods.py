"""The methods that a store has, and how each is called."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final

import attrs

from triofuse.backend.threads import Patience
from triofuse.paths.operations import PathOperations

__all__ = ["Method", "methods_of"]

_log = logging.getLogger("triofuse")

#: The arguments of each method.
_PARAMETERS: Final = {
    name: list(inspect.signature(method).parameters)[1:]
    for name, method in vars(PathOperations).items()
    if inspect.isfunction(method)
}

#: Methods of other libraries, and the operation that is meant.
_NAMES_ELSEWHERE: Final = {
    "setattr": "chmod",
    "utime": "utimens",
    "utimes": "utimens",
    "lookup": "getattr",
    "stat": "getattr",
    "listdir": "readdir",
    "remove": "unlink",
    "lock": "setlk",
    "ftruncate": "truncate",
    "fgetattr": "getattr",
}


@attrs.frozen
class Method:
    """One method of a store.

    Attributes:
      function: The method, called with all arguments of `PathOperations`.
      in_thread: Whether it is plain and runs in a thread; else it is async.
      yields: Whether it is an async generator.
      patience: Whether it has returned at once so far.
    """

    function: Callable[..., Any]
    in_thread: bool = False
    yields: bool = False
    patience: Patience = attrs.field(factory=Patience, eq=False)

    def using(self, function: Callable[..., Any]) -> Method:
        """Return a method that calls another function in the same way."""
        return attrs.evolve(self, function=function)


def methods_of(store: object, *, threads: bool) -> dict[str, Method]:
    """Return the methods that a store has, by name.

    Args:
      store: The store.
      threads: Whether plain methods run in threads.

    Raises:
      TypeError: The store is a class, has no ``getattr``, or a method takes other
        arguments than it is called with.
    """
    if isinstance(store, type):
        message = (
            f"{store.__name__} is a class; a store is an object: {store.__name__}()"
        )
        raise TypeError(message)
    methods = {}
    for name, parameters in _PARAMETERS.items():
        own = getattr(store, name, None)
        if own is None or getattr(own, "__func__", own) is vars(PathOperations)[name]:
            continue
        methods[name] = _method(store, name, own, parameters, threads=threads)
    if "getattr" not in methods:
        message = (
            f"{type(store).__name__} has no getattr(path): nothing in it could be found"
        )
        raise TypeError(message)
    _check_names(store, methods)
    return methods


def _method(
    store: object, name: str, own: Any, parameters: list[str], *, threads: bool
) -> Method:
    where = f"{type(store).__name__}.{name}"
    if not callable(own):
        message = f"{where} is {own!r:.80}, which cannot be called"
        raise TypeError(message)
    function = _adapted(where, own, parameters)
    yields = inspect.isasyncgenfunction(own)
    if yields and name != "readdir":
        message = f"{where}() has a yield: return what is due at once"
        raise TypeError(message)
    if yields or inspect.iscoroutinefunction(own):
        return Method(function, yields=yields)
    if threads:
        return Method(function, in_thread=True)
    return Method(_awaitable(function))


def _adapted(where: str, own: Callable[..., Any], parameters: list[str]) -> Any:
    """Return a function that takes all arguments, also if ``own`` takes no handle."""
    try:
        signature = inspect.signature(own)
    except (TypeError, ValueError):
        return own  # written in C: it takes what it takes
    count = len(parameters)
    if _takes(signature, count):
        return own
    if parameters[-1:] == ["handle"] and _takes(signature, count - 1):
        return _without_last(own)
    given = ", ".join(signature.parameters)
    message = f"{where}() takes ({given}), but is called with ({', '.join(parameters)})"
    raise TypeError(message)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _awaitable(function: Callable[..., Any]) -> Callable[..., Any]:
    async def method(*arguments: Any) -> Any:
        return function(*arguments)

    return method


def _without_last(own: Callable[..., Any]) -> Callable[..., Any]:
    def method(*arguments: Any) -> Any:
        return own(*arguments[:-1])

    return method


def _check_names(store: object, methods: dict[str, Method]) -> None:
    """Log methods that look like operations but are never called."""
    missing = _PARAMETERS.keys() - methods
    for name in dir(type(store)):
        if name.startswith("_") or name in _PARAMETERS:
            continue
        if not inspect.isfunction(inspect.getattr_static(type(store), name)):
            continue
        plain = name.replace("_", "").lower()
        near = get_close_matches(plain, missing, n=1, cutoff=0.85)
        meant = plain if plain in missing else _NAMES_ELSEWHERE.get(plain)
        if meant not in missing:
            meant = near[0] if near else None
        if meant:
            _log.warning(
                "%s.%s() is never called: no operation has that name; "
                "did you mean %s()?",
                type(store).__name__,
                name,
                meant,
            )
