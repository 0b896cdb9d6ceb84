"""Mounting by fsopen(2), fsconfig(2), fsmount(2) and move_mount(2).

They report errors in the kernel's own words, which mount(2) does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ["STRING_LIMIT", "FsContext", "move_mount"]

#: The most bytes in a value: ``strndup_user(_value, 256)`` in fs/fsopen.c.
STRING_LIMIT: Final = 255

# From linux/mount.h.
_FSOPEN_CLOEXEC: Final = 1
_FSCONFIG_SET_FLAG: Final = 0
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_FSMOUNT_CLOEXEC: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40

#: Bytes, more than a message has: ``kasprintf()`` of short formats in fs/fs_context.c.
_MESSAGE_SIZE: Final = 4096

_ARGUMENTS = {
    "fsopen": (ctypes.c_char_p, ctypes.c_uint),
    "fsconfig": (
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_int,
    ),
    "fsmount": (ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
    "move_mount": (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ),
}

_libc = ctypes.CDLL(None, use_errno=True)


@attrs.define(eq=False, repr=False)
class FsContext:
    """A filesystem that is being configured, and not yet mounted.

    Attributes:
      fd: The owned descriptor; read(2) returns the kernel's messages.

    Source: ``SYSCALL_DEFINE5(fsconfig)`` in fs/fsopen.c; fsopen(2).
    """

    fd: int

    @classmethod
    def open(cls, fstype: str) -> FsContext:
        """Open a context for a filesystem type.

        Raises:
          OSError: ENOSYS: the kernel (before 5.2) or the C library (glibc before
            2.36, musl) has no fsopen(2).  EPERM: this user may not mount.  ENODEV:
            there is no such filesystem type.
        """
        return cls(_call("fsopen", os.fsencode(fstype), _FSOPEN_CLOEXEC))

    def configure(self, parameters: Iterable[tuple[str, str | None]]) -> None:
        """Set parameters: names, and values of at most ``STRING_LIMIT`` bytes.

        Raises:
          OSError: ``strerror`` is the kernel's message, or the errno's text if
            there is none.
        """
        for name, value in parameters:
            command, text = _FSCONFIG_SET_FLAG, None
            if value is not None:
                command, text = _FSCONFIG_SET_STRING, os.fsencode(value)
            self._config(command, os.fsencode(name), text)

    def mount(self, attributes: int) -> int:
        """Create the filesystem, and a mount that is not yet attached to the tree.

        Args:
          attributes: ``MOUNT_ATTR_*`` of linux/mount.h.

        Returns:
          A descriptor of the mount.  Closing it unmounts, unless ``move_mount`` has
          attached the mount.

        Raises:
          OSError: As ``configure`` does.
        """
        self._config(_FSCONFIG_CMD_CREATE, None, None)
        try:
            return _call("fsmount", self.fd, _FSMOUNT_CLOEXEC, attributes)
        except OSError as exc:
            raise self._explained(exc) from None

    def close(self) -> None:
        """Close the context; its mounts stay."""
        os.close(self.fd)

    def _config(self, command: int, name: bytes | None, value: bytes | None) -> None:
        try:
            _call("fsconfig", self.fd, command, name, value, 0)
        except OSError as exc:
            raise self._explained(exc) from None

    def _explained(self, exc: OSError) -> OSError:
        words = []
        # ENODATA after the last message.  A message begins with its level, as in
        # "e fuse: Unknown parameter 'x'".
        with contextlib.suppress(OSError):
            while True:
                words.append(os.read(self.fd, _MESSAGE_SIZE)[2:].strip(b" \n"))
        text = "; ".join(map(os.fsdecode, words)) or exc.strerror
        return OSError(exc.errno, text)


def move_mount(mount: int, place: int) -> None:
    """Attach a mount at a descriptor; no path is walked.

    Args:
      mount: The descriptor that ``FsContext.mount`` returned.
      place: A descriptor of the mountpoint; O_PATH is enough.

    Raises:
      OSError: As move_mount(2) says.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _call("move_mount", mount, b"", place, b"", flags)


def _call(name: str, *arguments: int | bytes | None) -> int:
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    function.argtypes = _ARGUMENTS[name]
    result: int = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
