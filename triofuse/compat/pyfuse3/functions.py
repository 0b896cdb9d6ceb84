"""The functions of pyfuse3 that have nothing to do with a mount."""

from __future__ import annotations

import ctypes
import os

__all__ = ["get_sup_groups", "getxattr", "listdir", "setxattr", "syncfs"]


def listdir(path: str) -> list[str]:
    """Return the names in a directory, as ``os.listdir`` does."""
    _check_str("path", path)
    return os.listdir(path)


def syncfs(path: str) -> None:
    """Write the filesystem of a directory to stable storage (syncfs(2)).

    Raises:
      OSError: It cannot be opened or written.
    """
    fd = os.open(path, os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def setxattr(path: str, name: str, value: bytes, namespace: str = "user") -> None:
    """Set an extended attribute; ``namespace`` has no effect on Linux.

    Raises:
      OSError: The attribute cannot be set.
    """
    _check_names(path, name, namespace)
    given: object = value
    if not isinstance(given, bytes):
        message = f"value must be bytes, not {type(given).__name__}"
        raise TypeError(message)
    os.setxattr(path, name, value)


def getxattr(
    path: str,
    name: str,
    size_guess: int = 128,  # noqa: ARG001  (os.getxattr makes its own guess)
    namespace: str = "user",
) -> bytes:
    """Return an extended attribute; the last two arguments have no effect.

    Raises:
      OSError: The attribute cannot be read.
    """
    _check_names(path, name, namespace)
    return os.getxattr(path, name)


def get_sup_groups(pid: int) -> set[int]:
    """Return the supplementary groups of a process, from /proc.

    Raises:
      OSError: There is no such process.
    """
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Groups:"):
                return {int(word) for word in line.split()[1:]}
    message = f"/proc/{pid}/status does not name the groups"
    raise RuntimeError(message)


def _check_names(path: object, name: object, namespace: object) -> None:
    _check_str("path", path)
    _check_str("name", name)
    if namespace not in ("system", "user"):
        message = f"namespace must be 'system' or 'user', not {namespace!r}"
        raise ValueError(message)


def _check_str(name: str, value: object) -> None:
    if not isinstance(value, str):
        message = f"{name} must be a str, not {type(value).__name__}"
        raise TypeError(message)
