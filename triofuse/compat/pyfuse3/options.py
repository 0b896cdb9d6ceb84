"""pyfuse3's mount options: a set of words, those of libfuse's ``-o``."""

from __future__ import annotations

import os
from collections.abc import Iterable

import attrs

from triofuse.compat.debugging import log_requests
from triofuse.device.options import MountOptions

__all__ = ["read_options"]

#: Options of libfuse that are settings of the session: fields of `KernelConfig`.
_NUMBERS = {
    "max_write": "max_write",
    "max_readahead": "max_readahead",
    "max_background": "max_background",
    "congestion_threshold": "congestion_threshold",
}

#: Options of libfuse that change nothing here.
_NO_EFFECT = frozenset(
    [
        "async_read",
        "sync_read",
        "atomic_o_trunc",
        "no_remote_lock",
        "no_remote_flock",
        "no_remote_posix_lock",
        "splice_write",
        "no_splice_write",
        "splice_move",
        "no_splice_move",
        "splice_read",
        "no_splice_read",
        "auto_inval_data",
        "no_auto_inval_data",
        "readdirplus",
        "async_dio",
        "no_async_dio",
        "writeback_cache",
        "no_writeback_cache",
        "time_gran",
        "clone_fd",
    ]
)


def read_options(
    words: Iterable[str],
) -> tuple[MountOptions, dict[str, int]]:
    """Return the options of the mount, and the settings of the session.

    Without ``subtype`` and ``fsname`` the mount is called as libfuse calls it.

    Raises:
      TypeError: The options are not a set of str.
      ValueError: A word cannot be honoured, is misspelled, or has an invalid value.
    """
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        message = f"options are a set of str, not {words!r:.80}"
        raise TypeError(message)
    numbers: dict[str, int] = {}
    kept = []
    for word in ",".join(words).split(","):
        name, _, value = word.partition("=")
        if name in ("debug", "-d", "--debug"):
            log_requests(lambda: os.fdopen(os.dup(2), "w"))
        elif name in _NUMBERS:
            numbers[_NUMBERS[name]] = _number(name, value)
        elif name not in _NO_EFFECT:
            kept.append(word)
    options = MountOptions.parse(",".join(kept))
    given = {word.partition("=")[0] for word in kept}
    subtype = options.subtype if "subtype" in given else ""
    fsname = options.fsname if "fsname" in given else subtype or "/dev/fuse"
    return attrs.evolve(options, subtype=subtype, fsname=fsname), numbers


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        message = f"{name} takes a number, not {value!r}"
        raise ValueError(message) from None
