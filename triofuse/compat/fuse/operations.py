"""What programs subclass: `Operations`, and the ways to log its calls."""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = [
    "ENOATTR",
    "ENOTSUP",
    "FuseOSError",
    "LoggingMixIn",
    "Operations",
    "ReadDirResult",
    "has_method",
    "log_callback",
    "overrides",
]

F = TypeVar("F", bound=Callable[..., Any])

#: The errno of an extended attribute that does not exist.
ENOATTR = errno.ENODATA
ENOTSUP = errno.ENOTSUP

#: What ``readdir`` returns: names, or names with attributes and offset.
ReadDirResult = Iterable[str | tuple[str, Any, int]]

_log = logging.getLogger("fuse.log-mixin")


class FuseOSError(OSError):
    """Fail a request: ``raise FuseOSError(errno.ENOENT)``."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno, os.strerror(errno))


def _default(method: F) -> F:
    """Mark a method that stands here for its signature only."""
    method.libfuse_ignore = True  # type: ignore[attr-defined]
    return method


def has_method(operations: object, name: str) -> bool:
    """Whether a program has an operation of its own."""
    method = getattr(operations, name, None)
    return method is not None and not getattr(method, "libfuse_ignore", False)


def _refused(_: Operations, *__: Any, **___: Any) -> Any:
    """Refuse: nothing can be changed."""
    raise FuseOSError(errno.EROFS)


def _unsupported(_: Operations, *__: Any, **___: Any) -> Any:
    """Refuse: there are no extended attributes."""
    raise FuseOSError(errno.ENOTSUP)


def _unknown(_: Operations, *__: Any, **___: Any) -> Any:
    """Refuse: the operation does not exist."""
    raise FuseOSError(errno.ENOSYS)


def _zero(_: Operations, *__: Any, **___: Any) -> int:
    """Succeed, and do nothing."""
    return 0


class Operations:
    """The operations of a filesystem, by path: subclass it, and pass it to `FUSE`.

    Only operations that a subclass overrides are asked.  To fail, raise an ``OSError``,
    such as `FuseOSError`, or return a negative errno.

    Paths are absolute.  ``fh`` is what ``open``, ``create`` or ``opendir`` returned; with
    ``raw_fi`` it is the `fuse_file_info` that these were given.

    Attributes of a program's class that change how it is asked:

    * ``use_ns``: times are integers, nanoseconds, in place of floats, seconds.
    * ``flag_nullpath_ok`` and ``flag_nopath``: operations on open files get None in
      place of the path.
    """

    def __call__(self, op: str, *args: Any) -> Any:
        """Call an operation by its name; override it to see all calls."""
        return getattr(self, op)(*args)

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        """Return the fields of stat(2): ``{"st_mode": ..., "st_size": ...}``."""
        if path != "/":
            raise FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}

    @_default
    def readdir(self, path: str, fh: Any) -> ReadDirResult:
        """Return names, or tuples of name, attributes (or mode) and 0."""
        return [".", ".."]

    @_default
    def readdir_with_offset(self, path: str, offset: int, fh: Any) -> ReadDirResult:
        """Return tuples of name, attributes and offset: those after ``offset``."""
        return [".", ".."]

    @_default
    def statfs(self, path: str) -> dict[str, int]:
        """Return the fields of statvfs(3): ``{"f_bsize": ..., "f_blocks": ...}``."""
        return {}

    @_default
    def init(self, path: str) -> None:
        """Prepare to serve; called in the process that serves, with ``/``."""

    @_default
    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        """Prepare to serve; change `fuse_conn_info` and `fuse_config` to negotiate."""

    @_default
    def destroy(self, path: str) -> None:
        """Release everything; called last, with ``/``."""

    @_default
    def read(self, path: str, size: int, offset: int, fh: Any) -> bytes:
        """Return ``size`` bytes from ``offset``; fewer mean the end."""
        raise FuseOSError(errno.EIO)

    @_default
    def readlink(self, path: str) -> str:
        """Return the target of a symbolic link."""
        raise FuseOSError(errno.ENOENT)

    @_default
    def listxattr(self, path: str) -> Iterable[str]:
        """Return the names of extended attributes."""
        return []

    @_default
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """Return an extended attribute; ENOATTR if there is none."""
        raise FuseOSError(errno.ENOTSUP)

    @_default
    def ioctl(
        self, path: str, cmd: int, arg: int, fh: Any, flags: int, data: int
    ) -> int:
        """Do a command of ioctl(2); ``data`` is the address of the bytes."""
        raise FuseOSError(errno.ENOTTY)


#: The other operations, with their parameters and what they do if nobody overrides them.
_OTHERS: dict[Callable[..., Any], str] = {
    _zero: "access flush fsync fsyncdir open opendir release releasedir utimens bmap",
    _refused: (
        "chmod chown create link mkdir mknod rename rmdir symlink truncate unlink write"
    ),
    _unsupported: "removexattr setxattr",
    _unknown: "lock flock fallocate poll read_buf write_buf",
}


def _fill_in() -> None:
    for default, names in _OTHERS.items():
        for name in names.split():

            @functools.wraps(default, assigned=("__doc__",), updated=())
            def method(*args: Any, _default: Any = default, **kwargs: Any) -> Any:
                return _default(*args, **kwargs)

            method.__name__ = name
            method.__qualname__ = f"Operations.{name}"
            setattr(Operations, name, _default(method))


_fill_in()


def _logged(name: str, arguments: tuple[Any, ...], function: Callable[..., Any]) -> Any:
    """Call a function; log its arguments before, and its result behind."""
    _log.debug("-> %s %r", name, arguments)
    result: Any = "[Unhandled Exception]"
    try:
        result = function()
    except OSError as exc:
        result = str(exc)
        raise
    else:
        return result
    finally:
        _log.debug("<- %s %r", name, result)


class LoggingMixIn:
    """Logs all operations at DEBUG: ``class Memory(LoggingMixIn, Operations)``."""

    def __call__(self, op: str, *args: Any) -> Any:
        """Call an operation and log it."""
        return _logged(op, args, lambda: getattr(self, op)(*args))


def log_callback(method: F) -> F:
    """Log the calls of one operation, as `LoggingMixIn` does for all."""

    @functools.wraps(method)
    def logged(*args: Any, **kwargs: Any) -> Any:
        return _logged(method.__name__, args[1:], lambda: method(*args, **kwargs))

    return logged  # type: ignore[return-value]


def overrides(parent_class: type) -> Callable[[F], F]:
    """Check that a parent class has a method of the same name."""

    def check(method: F) -> F:
        if not callable(getattr(parent_class, method.__name__, None)):
            message = f"{parent_class.__name__} has no method {method.__name__}()"
            raise AssertionError(message)
        return method

    return check
