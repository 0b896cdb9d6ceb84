"""Logs the failures of a filesystem's methods, and maps exceptions to errnos.

The law: a log line says what the author did, with class and method.  The same wrong
reply is logged once a minute, however often the kernel repeats its request.
"""

from __future__ import annotations

import errno
import inspect
import logging
import math
import os
import struct
import time
from pathlib import Path
from typing import Final, TypeGuard

import attrs
import trio

from triofuse.filesystem.checks import NO_GENERATOR
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.requests import Request
from triofuse.session.answering.exceptions import unwrapped
from triofuse.session.in_flight.table import ActiveRequest
from triofuse.wire.errors import ProtocolError
from triofuse.wire.operations import Operation
from triofuse.wire.replies import ReplyError, shown

__all__ = ["UNANSWERED", "FailureLog", "errno_of"]

_log = logging.getLogger("triofuse")

#: The value of a method that has not returned.
UNANSWERED: Final = object()

#: The largest errno that the kernel accepts (fuse_dev_do_write()).
_MAX_ERRNO = 511

#: Seconds for which a sentence is not repeated; and how many are remembered.
_QUIET = 60.0
_MAX_REMEMBERED = 256

#: Code in here is the runtime's, not the filesystem's.
_PACKAGE = str(Path(__file__).parents[2]) + os.sep

#: Raised by encoders for a value of the wrong type, or out of range.
_ENCODING_ERRORS = (TypeError, AttributeError, ValueError, OverflowError, struct.error)


@attrs.define(eq=False, repr=False)
class FailureLog:
    """Logs the bugs of a filesystem; errors for the caller only are not logged.

    Attributes:
      strict: Whether a bug ends the session.
    """

    _filesystem: Filesystem
    strict: bool
    #: When a sentence was logged.
    _said: dict[str, float] = attrs.field(factory=dict, init=False)

    def log_or_raise(
        self,
        operation: Operation,
        request: Request | None,
        exc: BaseException,
        value: object = UNANSWERED,
    ) -> None:
        """Log a bug; re-raise a cancellation, and in strict mode a bug too.

        Args:
          operation: The operation.
          request: Its arguments; None if they are malformed.
          exc: The exception of the method, or of the encoder of its value.
          value: The method's return value.
        """
        cause = unwrapped(exc)
        if isinstance(cause, OSError):
            if not _is_errno(cause.errno):
                self._name_errno(operation, request, cause)
            return
        if isinstance(cause, BaseExceptionGroup):
            cancelled, others = cause.split(trio.Cancelled)
            if cancelled is not None and isinstance(others, ExceptionGroup):
                # Only the cancellation propagates: the other errors end here.
                self.log_or_raise(operation, request, others)
                raise cancelled
        if not isinstance(cause, Exception):  # Cancelled, KeyboardInterrupt
            raise exc
        if isinstance(cause, ProtocolError):
            _log.error("the kernel's message makes no sense: %s", exc)
            return
        if mistake := self._mistake(operation, cause, value):
            if self._is_new(mistake):
                _log.error("%s.  The caller got EIO: %r", mistake, request)
            if self.strict:
                raise TypeError(mistake) from exc
            return
        method = f"{type(self._filesystem).__name__}.{operation.method}"
        _log.error("%s failed: %r", method, request, exc_info=exc)
        if self.strict:
            raise exc

    def _name_errno(
        self, operation: Operation, request: Request | None, exc: OSError
    ) -> None:
        method = f"{type(self._filesystem).__name__}.{operation.method}()"
        mistake = (
            f"{method} raised {exc!r:.80}, whose errno is {exc.errno!r}: "
            "write FuseError(errno.ENOENT), for instance"
        )
        if self._is_new(mistake):
            _log.error("%s.  The caller got EIO: %r", mistake, request, exc_info=exc)

    def _mistake(
        self, operation: Operation, exc: Exception, value: object
    ) -> str | None:
        """Return the author's mistake as a sentence; None if a traceback shows it."""
        method = f"{type(self._filesystem).__name__}.{operation.method}()"
        if isinstance(exc, ReplyError):
            return f"{method} returned {exc}"
        if not isinstance(exc, _ENCODING_ERRORS) or not _is_raised_here(exc):
            return None
        if value is UNANSWERED:
            return self._cannot_be_awaited(operation, method)
        mistake = operation.due.mistake_in(value)
        return f"{method} returned {mistake or f'{shown(value)}: {exc}'}"

    def _cannot_be_awaited(self, operation: Operation, method: str) -> str | None:
        function = getattr(self._filesystem, operation.method)
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(
            function
        ):
            return f"{method} {NO_GENERATOR}"
        if not inspect.iscoroutinefunction(function):
            return f"{method} returned what cannot be awaited; write 'async def'"
        return None

    def _is_new(self, sentence: str) -> bool:
        """Whether a sentence was not logged lately."""
        now = time.monotonic()
        if now - self._said.get(sentence, -math.inf) < _QUIET:
            return False
        if len(self._said) >= _MAX_REMEMBERED:
            self._said.clear()
        self._said[sentence] = now
        return True


def _is_raised_here(exc: BaseException) -> bool:
    """Whether code of this package raised an exception."""
    traceback = exc.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    return traceback.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def errno_of(exc: BaseException, active: ActiveRequest) -> int:
    """Return the errno to answer for an exception.

    ENOSYS switches an operation off for good in the kernel: only FuseError may do that.
    """
    cause = unwrapped(exc)
    if not isinstance(cause, Exception):
        if active.expired:
            return errno.ETIMEDOUT
        return errno.EINTR if active.cancelled else errno.ECONNABORTED
    if not isinstance(cause, OSError):
        return errno.EIO
    error = cause.errno
    if not _is_errno(error):
        return errno.EIO
    if error == errno.ENOSYS and not isinstance(cause, FuseError):
        return errno.EOPNOTSUPP
    return error


def _is_errno(number: object) -> TypeGuard[int]:
    """Whether a caller can be told this; ``OSError("text")`` has None, for instance."""
    return isinstance(number, int) and 0 < number <= _MAX_ERRNO
