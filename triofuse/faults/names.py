"""The names of operations, as they are given by who writes a script."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from triofuse.filesystem.filesystem import Filesystem

__all__ = ["OPERATIONS", "operations_named"]

#: All operations: the methods of `Filesystem` that answer requests.
OPERATIONS: Final = tuple(
    name
    for name, method in vars(Filesystem).items()
    if inspect.iscoroutinefunction(method)
)

#: System calls, and the operations that the kernel makes of them.
_SYSTEM_CALLS: Final = {
    "chmod": "setattr",
    "chown": "setattr",
    "close": "flush",
    "fdatasync": "fsync",
    "fstat": "getattr",
    "ftruncate": "setattr",
    "getdents": "readdirplus",
    "listdir": "readdirplus",
    "pread": "read",
    "pwrite": "write",
    "remove": "unlink",
    "renameat2": "rename2",
    "stat": "getattr",
    "truncate": "setattr",
    "utimensat": "setattr",
}

#: Operations that do the same: a kernel chooses by the flags that the caller gave, or
#: by what it has in its cache.
_ALSO: Final = {
    "rename": ("rename2",),
    "readdir": ("readdirplus",),
    "getattr": ("statx",),
}


def operations_named(given: str | Iterable[str]) -> frozenset[str]:
    """Return the operations that a script is about.

    Args:
      given: A name, several, or ``"*"`` for all.  ``"rename"`` is ``rename2`` as well,
        ``"readdir"`` is ``readdirplus``, ``"getattr"`` is ``statx``.

    Raises:
      ValueError: There is no such operation.
      TypeError: It is no name.
    """
    names = [given] if isinstance(given, str) else list(given)
    if names == ["*"]:
        return frozenset(OPERATIONS)
    if not names:
        raise ValueError("no operation is named: 'write' for instance, or '*' for all")
    for name in names:
        _check(name)
    return frozenset(names).union(*(_ALSO.get(name, ()) for name in names))


def _check(name: object) -> None:
    if not isinstance(name, str):
        message = f"an operation is a name, 'write' for instance, not {name!r}"
        raise TypeError(message)
    if name in OPERATIONS:
        return
    if name in _SYSTEM_CALLS:
        message = f"{name}(2) comes as the operation {_SYSTEM_CALLS[name]!r}"
        raise ValueError(message)
    close = get_close_matches(name.lower(), OPERATIONS, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    message = f"there is no operation {name!r}{hint}"
    raise ValueError(message)
