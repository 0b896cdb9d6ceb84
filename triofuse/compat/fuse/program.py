"""A program's operations, called as libfuse would call them.

The law: what an operation raises becomes an errno: an ``OSError`` its own, anything
else EINVAL, and the log gets the traceback.
"""

from __future__ import annotations

import errno
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any

import attrs

from triofuse.compat.fuse.operations import Operations
from triofuse.compat.fuse.structures import fuse_config, fuse_file_info

__all__ = ["Program"]

_log = logging.getLogger("fuse")


@attrs.define(eq=False, slots=False)
class Program:
    """The operations of a program, and how it wants to be called.

    Attributes:
      operations: The program's object.
      config: The options of path filesystems.
      raw_fi: Whether operations get a `fuse_file_info` in place of its handle.
      use_ns: Whether times are in nanoseconds.
      encoding, errors: Of paths and names.
      end: Called with an exception that ends the mount: SystemExit, for instance.
    """

    operations: Any
    config: fuse_config
    raw_fi: bool
    use_ns: bool
    encoding: str
    errors: str
    end: Callable[[BaseException], None]
    _through: bool = attrs.field(init=False)
    _is_native: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Only a call operator of its own is to see all calls.
        call = getattr(type(self.operations), "__call__", None)  # noqa: B004
        self._through = call not in (None, Operations.__call__)
        native = ("utf-8", "utf8"), ("surrogateescape", "strict")
        self._is_native = (
            self.encoding.lower() in native[0] and self.errors in native[1]
        )

    def count(self, name: str, otherwise: int) -> int:
        """Return how many arguments an operation takes; a method with * takes any."""
        try:
            method = inspect.unwrap(getattr(self.operations, name))
            parameters = inspect.signature(method).parameters.values()
        except (AttributeError, TypeError, ValueError):
            return otherwise
        if any(one.kind == one.VAR_POSITIONAL for one in parameters):
            return otherwise
        # What a decorator wraps is no bound method: it takes self as well.
        bound = inspect.ismethod(method) or not hasattr(
            getattr(self.operations, name), "__wrapped__"
        )
        return len(parameters) - (not bound)

    # --- Calls

    def call(self, op: str, *arguments: Any) -> Any:
        """Call an operation.

        Raises:
          OSError: It failed.
        """
        try:
            if self._through:
                return self.operations(op, *arguments)
            return getattr(self.operations, op)(*arguments)
        except OSError as exc:
            if isinstance(exc.errno, int) and exc.errno > 0:
                raise
            _log.exception("%s raised an OSError without an errno: EINVAL", op)
            raise _error(errno.EINVAL) from exc
        except Exception as exc:
            _log.exception("%s raised %r: EINVAL", op, exc)
            raise _error(errno.EINVAL) from exc
        except BaseException as exc:
            _log.critical("%s raised %r: this ends the mount", op, exc, exc_info=True)
            self.end(exc)
            raise _error(errno.EFAULT) from exc

    def do(self, op: str, *arguments: Any) -> Any:
        """Call an operation whose result may be a negative errno."""
        result = self.call(op, *arguments)
        if isinstance(result, int) and result < 0:
            raise _error(-result)
        return result

    def fh(self, handle: fuse_file_info | None) -> Any:
        """Return what operations get as ``fh``."""
        if handle is None:
            return fuse_file_info() if self.raw_fi else 0
        return handle if self.raw_fi else handle.fh

    def text(self, path: str) -> str:
        """Return a path or name in the program's encoding."""
        if self._is_native:
            return path
        return os.fsencode(path).decode(self.encoding, self.errors)

    def name(self, text: str) -> str:
        """Return a name or target of the program's in Python's encoding."""
        if self._is_native:
            return text
        return os.fsdecode(text.encode(self.encoding, self.errors))

    def path(self, path: str, handle: object) -> str | None:
        """Return the path that an operation on an open file gets."""
        if not path or (self.config.nullpath_ok and handle is not None):
            return None
        return self.text(path)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
