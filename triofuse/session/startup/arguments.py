"""Checks the arguments of `triofuse.mount`, `triofuse.run` and others before mounting.

A mount that is not served, because its arguments were wrong, would block every process
that accesses it.
"""

from __future__ import annotations

import logging
import math
import os
import stat
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any

import attrs

from triofuse.device.mount import Mount
from triofuse.device.options import MountOptions
from triofuse.filesystem.checks import check_filesystem, doubts_about
from triofuse.filesystem.filesystem import Filesystem
from triofuse.session.control.deadlines import limits_of

__all__ = ["check_arguments", "check_settings", "log_doubts", "options_for"]

_log = logging.getLogger("triofuse")


def check_arguments(filesystem: object, mountpoint: object, options: object) -> None:
    """Check the filesystem, the mountpoint and the options of a mount.

    Raises:
      TypeError: One of them has the wrong type; the message says what to write.
    """
    if isinstance(filesystem, str | bytes | os.PathLike):
        message = f"the filesystem comes first, then the mountpoint {filesystem!r}"
        raise TypeError(message)
    check_filesystem(filesystem)
    if isinstance(mountpoint, Mount):
        return _check_unserved(mountpoint, options)
    if not isinstance(mountpoint, str | os.PathLike):
        remedy = "; os.fsdecode() makes one" if isinstance(mountpoint, bytes) else ""
        message = f"a mountpoint is a str or a Path, not {mountpoint!r:.80}{remedy}"
        raise TypeError(message)
    if isinstance(os.fspath(mountpoint), bytes):
        message = f"a mountpoint is a path of str: {mountpoint!r:.80}"
        raise TypeError(message)
    _check_path(os.fspath(mountpoint))
    if options is None or isinstance(options, MountOptions):
        return None
    message = f"options are MountOptions(...), not {options!r:.80}"
    if isinstance(options, str):
        message += f"; write MountOptions.parse({options!r})"
    raise TypeError(message)


def options_for(filesystem: Filesystem, given: MountOptions | None) -> MountOptions:
    """Return the options of a mount: those that are given, over the filesystem's own.

    Raises:
      ValueError: The filesystem's ``mount_options`` cannot be read.
      TypeError: They are no str.
    """
    try:
        own = MountOptions.parse(filesystem.mount_options)
    except (TypeError, ValueError) as exc:
        message = f"{type(filesystem).__name__}.mount_options: {exc}"
        raise type(exc)(message) from None
    return own if given is None else given.over(own)


def log_doubts(filesystem: Filesystem, root_type: int | None) -> None:
    """Log what is likely a mistake in a filesystem."""
    is_directory = root_type != stat.S_IFREG
    for doubt in doubts_about(filesystem, is_directory=is_directory):
        _log.warning("%s", doubt)


def _check_unserved(mounted: Mount, options: object) -> None:
    if options is not None:
        message = f"{mounted.path} is mounted: its options were for mount_sync()"
        raise TypeError(message)
    if mounted.device.fd == -1:
        message = f"{mounted.path} was served or unmounted already; mount it again"
        raise ValueError(message)


def _check_path(path: str) -> None:
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        message = f"the mountpoint {path!r:.80} has a character that no path has"
        raise ValueError(message) from None
    if not encoded:
        raise ValueError("the mountpoint is empty")
    if b"\0" in encoded:
        message = f"the mountpoint {path!r:.80} has a NUL, which no path has"
        raise ValueError(message)


def check_settings(settings: Mapping[str, Any], known: Collection[str]) -> None:
    """Check the settings of a session.

    Args:
      settings: The keyword arguments.
      known: The known names.

    Raises:
      TypeError: A name is unknown, or its value has the wrong type.
      ValueError: A value is out of range, or names an unknown operation.
    """
    for name, value in settings.items():
        if name not in known:
            raise TypeError(_unknown(name, value, known))
    for name in ("max_handlers", "max_payload"):
        value = settings.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(_instead_of(name, "an int", value))
        if value < 1:
            message = f"{name} must be at least 1, not {value}"
            raise ValueError(message)
    for name in ("strict", "measure"):
        if not isinstance(value := settings.get(name, False), bool):
            raise TypeError(_instead_of(name, "True or False", value))
    if not isinstance(value := settings.get("trace"), str | os.PathLike | None):
        raise TypeError(_instead_of("trace", "the path of a file", value))
    if not _number("busy_poll", settings.get("busy_poll", 0.0)) >= 0:
        message = f"busy_poll must be at least 0 seconds, not {settings['busy_poll']}"
        raise ValueError(message)
    _check_timeout(settings.get("timeout", math.inf))


def _check_timeout(timeout: Any) -> None:
    named = timeout if isinstance(timeout, Mapping) else {"": timeout}
    for name, seconds in named.items():
        _number(f"timeout of {name}" if name else "timeout", seconds)
    limits_of(timeout)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(_instead_of(name, "a number of seconds", value))
    return float(value)


def _instead_of(name: str, due: str, value: object) -> str:
    return f"{name} is {due}, not {value!r:.80} of class {type(value).__name__}"


def _unknown(name: str, value: object, known: Collection[str]) -> str:
    """Return the message for an unknown argument, with a suggestion."""
    of_mounts = {field.name for field in attrs.fields(MountOptions) if field.init}
    message = f"there is no argument {name!r}"
    if name in of_mounts:
        given = f"MountOptions({name}={value!r:.80})"
        return f"{message}: it is an option of the mount; pass {given} as the options"
    near = get_close_matches(name, {*known, *of_mounts}, n=1, cutoff=0.6)
    if not near:
        return f"{message}; there are {', '.join(sorted(known))}, and MountOptions"
    meant = near[0] if near[0] in known else f"MountOptions({near[0]}=...)"
    return f"{message}; did you mean {meant}?"
