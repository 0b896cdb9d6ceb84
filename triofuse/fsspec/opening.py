"""Stores by URL: ``s3://bucket/dir``, ``zip::https://host/file.zip``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import fsspec
from fsspec import AbstractFileSystem
from fsspec.registry import known_implementations

from triofuse.fsspec.errors import translated

__all__ = ["MissingStoreError", "open_store"]

#: What to install, where it is not called as the word of the registry's message says.
_PACKAGES: Final = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "http": "aiohttp requests",
    "https": "aiohttp requests",
    "git": "pygit2",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "adl": "adlfs",
    "gdrive": "gdrive_fsspec",
    "smb": "smbprotocol",
    "github": "requests",
    "webhdfs": "requests",
    "libarchive": "libarchive-c",
    "hdfs": "pyarrow",
    "webdav": "webdav4",
}


class MissingStoreError(ValueError):
    """A store cannot be opened for the lack of a package."""


def open_store(
    url: str, options: Mapping[str, Any] | None = None
) -> tuple[AbstractFileSystem, str]:
    """Open the store of a URL.

    Args:
      url: The URL of a directory; ``zip::`` and the like before it open an archive
        in it.
      options: Arguments of the filesystem, as fsspec calls them; for each protocol of
        a chained URL a mapping of its own: ``{"s3": {"anon": True}}``.

    Returns:
      The filesystem, and the path in it.

    Raises:
      MissingStoreError: A package is missing; the message says which.
      ValueError: There is no such store, or the options do not fit.
      OSError: It cannot be reached.
    """
    chain = [part for part in url.split("::") if part]
    given = dict(options or {})
    chain = [_complete(part, last=part is chain[-1]) for part in chain]
    for part in chain:
        _check(part.partition("://")[0])
    arguments = {name: dict(given.pop(name, {})) for name in _names(chain)}
    arguments[_names(chain)[-1]].update(given)
    for name in arguments.keys() & {"s3", "s3a"}:  # Calls tries again, and waits less
        arguments[name].setdefault("config_kwargs", {"retries": {"max_attempts": 1}})
    try:
        fs, root = fsspec.core.url_to_fs("::".join(chain), **arguments)
    except (ImportError, TypeError, ValueError) as exc:
        message = f"{url}: {exc}"
        raise ValueError(message) from exc
    except Exception as exc:
        error = translated(exc, url)
        raise OSError(error.errno, f"{url}: {error.strerror}") from exc
    return fs, root


def _names(chain: list[str]) -> list[str]:
    return [part.partition("://")[0] for part in chain]


def _complete(part: str, *, last: bool) -> str:
    """Return a part of a chained URL with protocol and path."""
    if "://" in part:
        return part
    if last:
        return f"file://{os.path.abspath(part)}"
    return f"{part}://"


def _check(protocol: str) -> None:
    """Raise for a protocol that is unknown, or whose package is missing."""
    if protocol not in fsspec.available_protocols():
        message = f"there is no store {protocol!r}; fsspec knows " + ", ".join(
            sorted(known_implementations)
        )
        raise ValueError(message)
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as exc:
        package = _PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else str(exc)
        message = f"{protocol}:// needs a package that is missing: {remedy}"
        raise MissingStoreError(message) from exc
