"""What the log says of a filesystem that does something wrong.

The law: it says what the author did, with class and method, and once a minute where the
kernel merely repeats its request.
"""

from __future__ import annotations

import errno
import inspect
import logging
import os
import struct
import time
from collections.abc import Hashable
from types import FrameType
from typing import Final

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.requests import Request
from triofuse.session.exceptions import unwrapped
from triofuse.session.pending import Serving
from triofuse.wire.errors import ProtocolError
from triofuse.wire.operations import Operation
from triofuse.wire.replies import ReplyError, shown

__all__ = ["UNANSWERED", "Complaints", "errno_of"]

_log = logging.getLogger("triofuse")

#: In place of what a method returns, until it has returned.
UNANSWERED: Final = object()

#: The kernel takes errors up to here (fuse_dev_do_write()).
_MAX_ERRNO = 511

#: Seconds for which the same is not said again; and how many are remembered.
_QUIET = 60.0
_MAX_REMEMBERED = 256

#: What is raised by code in here is not raised by a filesystem's.
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep

#: What encoders raise of a value of the wrong type, or out of range.
_ENCODING_ERRORS = (TypeError, AttributeError, ValueError, OverflowError, struct.error)


@attrs.define(eq=False, repr=False)
class Complaints:
    """Tells bugs of a filesystem from what is only the caller's business.

    Attributes:
      strict: Whether a bug ends the session.
    """

    _filesystem: Filesystem
    strict: bool
    #: When something was said, by what it was.
    _said: dict[Hashable, float] = attrs.field(factory=dict, init=False)

    def judge(
        self,
        operation: Operation,
        request: Request | None,
        exc: BaseException,
        value: object = UNANSWERED,
    ) -> None:
        """Log what is a bug, raise what is not for the caller of the request only.

        Args:
          operation: What was asked.
          request: Its arguments; None where they make no sense.
          exc: What was raised: by the method, or because its value cannot be sent.
          value: What the method has returned.
        """
        cause = unwrapped(exc)
        if isinstance(cause, OSError):
            return
        if isinstance(cause, BaseExceptionGroup):
            cancelled, others = cause.split(trio.Cancelled)
            if cancelled is not None and isinstance(others, ExceptionGroup):
                # What else went wrong must not pass where the cancellation ends.
                self.judge(operation, request, others)
                raise cancelled
        if not isinstance(cause, Exception):  # Cancelled, KeyboardInterrupt
            raise exc
        if isinstance(cause, ProtocolError):
            _log.error("the kernel's message makes no sense: %s", exc)
            return
        mistake = self._mistake(operation, cause, value)
        if mistake is None:
            self._report_bug(operation, request, exc, cause)
            raise_in_strict: Exception | BaseException = exc
        else:
            if self._is_new((operation.method, mistake)):
                _log.error("%s: it answered %r", mistake, request)
            raise_in_strict = TypeError(mistake)
        if self.strict:
            raise raise_in_strict from (exc if mistake else None)

    def _report_bug(
        self,
        operation: Operation,
        request: Request | None,
        exc: BaseException,
        cause: BaseException,
    ) -> None:
        frame = _innermost(cause)
        place = frame and (frame.f_code.co_filename, frame.f_lineno)
        nodeid = request and request.nodeid
        if self._is_new((operation.method, type(cause), str(cause), place, nodeid)):
            method = f"{type(self._filesystem).__name__}.{operation.method}"
            _log.error("%s failed: %r", method, request, exc_info=exc)

    def _mistake(
        self, operation: Operation, exc: Exception, value: object
    ) -> str | None:
        """Return in a sentence what the author did, None where a traceback says it."""
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
        if inspect.isasyncgenfunction(function):
            return f"{method} has a yield in an async def, {YIELDING}"
        if not inspect.iscoroutinefunction(function):
            return f"{method} returned what cannot be awaited; write 'async def'"
        return None

    def _is_new(self, what: Hashable) -> bool:
        """Whether something was not said lately."""
        now = time.monotonic()
        if now - self._said.get(what, -_QUIET) < _QUIET:
            return False
        if len(self._said) >= _MAX_REMEMBERED:
            self._said.clear()
        self._said[what] = now
        return True


#: What is wrong with an async generator.
YIELDING: Final = (
    "which makes an async generator; return a list of all entries, or a plain generator"
)


def _innermost(exc: BaseException) -> FrameType | None:
    """Return where an exception was raised."""
    traceback = exc.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback and traceback.tb_frame


def _is_raised_here(exc: BaseException) -> bool:
    frame = _innermost(exc)
    return frame is not None and frame.f_code.co_filename.startswith(_PACKAGE)


def errno_of(exc: BaseException, serving: Serving) -> int:
    """Return the errno to answer for an exception.

    ENOSYS would switch the operation off for good: only FuseError can mean that.
    """
    cause = unwrapped(exc)
    if not isinstance(cause, Exception):
        if serving.expired:
            return errno.ETIMEDOUT
        return errno.EINTR if serving.cancelled else errno.ECONNABORTED
    if not isinstance(cause, OSError):
        return errno.EIO
    error = cause.errno
    if error is None or not 0 < error <= _MAX_ERRNO:
        _log.error("an OSError without a usable errno becomes EIO", exc_info=exc)
        return errno.EIO
    if error == errno.ENOSYS and not isinstance(cause, FuseError):
        return errno.EOPNOTSUPP
    return error
