"""The filesystem of a URL."""

from __future__ import annotations

import errno
import json
import logging
import resource
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import trio

from triofuse.command.status import reporting
from triofuse.filesystem.filesystem import Filesystem
from triofuse.tree.directory import Directory
from triofuse.tree.tree import Tree

__all__ = ["url_factory"]

_MIB: Final = 1 << 20

#: What libraries of stores tell of each call and connection.
_TALKATIVE: Final = ("paramiko", "botocore", "aiobotocore", "s3fs", "fsspec", "tar")

#: Without fsspec, these are all.
_MISSING: Final = "{url}: stores need fsspec: pip install 'triofuse[fsspec]'"


def url_factory(
    store: Mapping[str, Any],
) -> Callable[..., AbstractAsyncContextManager[Filesystem]]:
    """Return what makes the filesystem of a URL, for `triofuse.main`.

    Args:
      store: The options ``store.NAME=VALUE``.
    """

    def open_url(
        source: str,
        mountpoint: Path,
        *,
        ttl: float | None = None,
        cache: int = 128,
        spool: Path | None = None,
        in_flight: int = 16,
        timeout: float = 60.0,
        retries: int = 3,
        config: Path | None = None,
    ) -> AbstractAsyncContextManager[Filesystem]:
        """Mount a store: memory://, file:///srv, s3://bucket, zip::https://..., sftp://...

        Args:
          source: The URL.
          mountpoint: Where.
          ttl: seconds for which names and attributes are valid [5; a day for archives]
          cache: MiB of memory for blocks [128]
          spool: a directory for files that are being written or unpacked
          in_flight: the most calls of the store at a time [16]
          timeout: seconds for an answer of the store, then ETIMEDOUT [60]
          retries: further attempts after a failure that may pass [3]
          config: JSON: arguments of the store, as store.NAME=VALUE sets them
        """
        _raise_limit_of_descriptors()
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        options = _options(config, store)
        if source.rstrip("/") == "memory:" and not options:
            filesystem: Filesystem = Tree(Directory(writable=True))
        elif source.startswith("file://") and not options:
            filesystem = _mirror(source, mountpoint)
        else:
            filesystem = _fsspec(
                source,
                options,
                ttl=ttl,
                cache=cache * _MIB,
                spool=spool,
                in_flight=in_flight,
                timeout=timeout,
                retries=retries,
            )
        return _living(filesystem, source, str(mountpoint))

    return open_url


def _options(config: Path | None, store: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a store: what the command line says wins."""
    if config is None:
        return dict(store)
    given = json.loads(config.read_bytes())
    if not isinstance(given, dict):
        message = f"{config}: an object of JSON is due, as of store.NAME=VALUE"
        raise ValueError(message)
    return {**given, **store}


@asynccontextmanager
async def _living(
    filesystem: Filesystem, source: str, mountpoint: str
) -> AsyncIterator[Filesystem]:
    """Check that a store can be reached, and report on it while it is mounted."""
    check = getattr(filesystem, "check", None)
    if check is not None:
        await check(source)
    async with trio.open_nursery() as nursery:
        show = getattr(filesystem, "show_transfers", None)
        if show is not None:
            nursery.start_soon(show)
        async with reporting(filesystem, source, mountpoint):
            yield filesystem
        nursery.cancel_scope.cancel()


def _mirror(source: str, mountpoint: Path) -> Filesystem:
    """Mirror a directory; the kernel reads and writes its files where it can."""
    from triofuse.mirror.filesystem import make

    path = Path(unquote(source.removeprefix("file://")))
    if path.is_file():
        message = (
            f"{source} is a file; what is in an archive is zip::{source}, tar::..."
        )
        raise NotADirectoryError(errno.ENOTDIR, message)
    try:
        return make(path, mountpoint)
    except FileNotFoundError:
        message = f"{source}: there is no such directory"
        raise FileNotFoundError(errno.ENOENT, message) from None


def _fsspec(source: str, options: Mapping[str, Any], **arguments: Any) -> Filesystem:
    """Open a store by fsspec."""
    try:
        import fsspec  # noqa: F401
    except ImportError:
        raise ValueError(_MISSING.format(url=source)) from None
    from triofuse.fsspec import FsspecFilesystem, open_store

    fs, root = open_store(_plain(source), options)
    return FsspecFilesystem(fs, root, **arguments)


def _plain(source: str) -> str:
    """Return a URL as fsspec wants it: it does not decode those of files."""
    if source.startswith("file://"):
        return unquote(source)
    return source


def _raise_limit_of_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
