"""The errno of what a store raises.

Stores raise OSErrors without an errno, and exceptions of the libraries below them.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from typing import Final

__all__ = ["is_transient", "translated"]

_log = logging.getLogger("triofuse")

#: By the name of a class, for these libraries are not imported here.
_BY_CLASS: Final = {
    "FileNotFoundError": errno.ENOENT,
    "FileExistsError": errno.EEXIST,
    "NotADirectoryError": errno.ENOTDIR,
    "IsADirectoryError": errno.EISDIR,
    "PermissionError": errno.EACCES,
    "ConnectionRefusedError": errno.ECONNREFUSED,
    "ConnectionResetError": errno.ECONNRESET,
    "BrokenPipeError": errno.ECONNRESET,
    "ConnectionError": errno.ECONNRESET,
    "TimeoutError": errno.ETIMEDOUT,
    "NotImplementedError": errno.EOPNOTSUPP,
    "KeyError": errno.ENOENT,
    "MemoryError": errno.ENOMEM,
    "EOFError": errno.ECONNRESET,  # paramiko: the server is gone
    "NoValidConnectionsError": errno.ECONNREFUSED,
    "SSHException": errno.ECONNRESET,
    "AuthenticationException": errno.EACCES,
    "NoCredentialsError": errno.EACCES,  # botocore
    "EndpointConnectionError": errno.ECONNREFUSED,
    "ClientConnectionError": errno.ECONNRESET,  # aiohttp
    "ClientPayloadError": errno.ECONNRESET,
}

#: The answers of HTTP, and the codes of S3.
_BY_CODE: Final[dict[object, int]] = {
    400: errno.EINVAL,
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    405: errno.EOPNOTSUPP,
    409: errno.EEXIST,
    410: errno.ENOENT,
    412: errno.ESTALE,
    416: errno.EINVAL,
    429: errno.EBUSY,
    500: errno.EIO,
    501: errno.EOPNOTSUPP,
    502: errno.ECONNREFUSED,
    503: errno.EBUSY,
    504: errno.ETIMEDOUT,
    507: errno.ENOSPC,
    "AccessDenied": errno.EACCES,
    "NoSuchBucket": errno.ENOENT,
    "NoSuchKey": errno.ENOENT,
    "QuotaExceeded": errno.EDQUOT,
    "SlowDown": errno.EBUSY,
}

#: What may be gone at the next attempt.
_TRANSIENT: Final = {
    errno.EBUSY,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EPIPE,
    errno.ETIMEDOUT,
}


def is_transient(error: OSError) -> bool:
    """Whether a further attempt may succeed."""
    return error.errno in _TRANSIENT


def translated(exc: Exception, what: str) -> OSError:
    """Return what an exception of a store is to the caller of a system call.

    Args:
      exc: The exception.
      what: What was being done, for the log.
    """
    number = next((n for one in _causes(exc) if (n := _errno(one))), None)
    if number is None:
        _log.warning("%s: %s: %s (EIO)", what, type(exc).__name__, exc)
        number = errno.EIO
    error = OSError(number, f"{os.strerror(number)} ({exc})")
    error.__cause__ = exc
    return error


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what caused it."""
    one: BaseException | None = exc
    while one is not None:
        yield one
        one = one.__cause__


def _errno(exc: BaseException) -> int | None:
    """Return the errno of an exception; None if it does not tell."""
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
        return exc.errno
    if isinstance(exc, OSError) and "Socket is closed" in str(exc):  # paramiko
        return errno.ECONNRESET
    response = getattr(exc, "response", None)  # botocore
    code = getattr(exc, "status", None)  # aiohttp
    if isinstance(response, dict):
        code = response.get("Error", {}).get("Code")
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = code if code in _BY_CODE else status
    if code in _BY_CODE:
        return _BY_CODE[code]
    names = (cls.__name__ for cls in type(exc).__mro__)
    return next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)
