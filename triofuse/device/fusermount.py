"""fusermount3: the set-user-ID program that mounts for those who may not."""

from __future__ import annotations

import array
import errno
import itertools
import logging
import os
import socket
import subprocess

from triofuse.device.mount_error import MountError, errno_of_words
from triofuse.device.options import MountOptions

__all__ = [
    "find_fusermount",
    "mount_with_fusermount",
    "unmount_with_fusermount",
]

_logger = logging.getLogger(__name__)

#: PATH is not asked: whoever runs a privileged program may have set it. The first
#: three are where NixOS and Guix keep what is set-user-ID.
_DIRECTORIES: tuple[str, ...] = (
    "/run/wrappers/bin",
    "/run/privileged/bin",
    "/run/setuid-programs",
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
)

#: Both speak the same to us; the second is that of fuse 2.
_NAMES = ("fusermount3", "fusermount")


#: All that it is told by the environment: ours may have been made by somebody whom
#: it must not obey, and its words are looked for in English.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def find_fusermount() -> str | None:
    """Return the path of fusermount3; None if it is not installed.

    It is looked for where systems install it, and nowhere else: no variable of the
    environment names another one.
    """
    for name, directory in itertools.product(_NAMES, _DIRECTORIES):
        program = f"{directory}/{name}"
        if os.access(program, os.X_OK):
            return program
    return None


def mount_with_fusermount(program: str, path: str, options: MountOptions) -> int:
    """Let fusermount3 mount; blocks until it has.

    Args:
      program: Its path.
      path: The mountpoint.
      options: How to mount.

    Returns:
      The descriptor of /dev/fuse, non-blocking and close-on-exec.

    Raises:
      MountError: With what fusermount3 said.
    """
    try:
        fd, words = _run(program, path, options)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "fusermount3") from None
    if fd is None:
        raise MountError(errno_of_words(words), path, "fusermount3", words)
    if words:
        _logger.warning("mounting on %s: %s", path, words)
    return fd


def unmount_with_fusermount(path: str, *, lazy: bool) -> None:
    """Let fusermount3 unmount; blocks until it has.

    Raises:
      MountError: With what fusermount3 said.
    """
    program = find_fusermount()
    if program is None:
        raise MountError(errno.EPERM, path, "umount2")
    try:
        done = subprocess.run(
            [program, "-u", *(["-z"] if lazy else []), "--", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            check=False,
        )
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "fusermount3 -u") from None
    if done.returncode:
        words = _words(done.stderr) or f"{program} ended with {done.returncode}"
        raise MountError(errno_of_words(words), path, "fusermount3 -u", words)


def _run(program: str, path: str, options: MountOptions) -> tuple[int | None, str]:
    """Return the descriptor, and what it said."""
    process, ours = _start(program, path, options)
    with ours, process:
        fd = _receive_fd(ours)
        _, output = process.communicate()
    words = _words(output)
    if fd is None and not words:
        words = f"{program} ended with status {process.returncode}"
    return fd, words


def _start(
    program: str, path: str, options: MountOptions
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [program, "-o", options.fusermount_text(), "--", path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**_ENVIRONMENT, "_FUSE_COMMFD": str(theirs.fileno())},
                # Ctrl-C is for us: it must not end halfway.
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def _receive_fd(sock: socket.socket) -> int | None:
    # Not socket.recv_fds, which drops its flags in Python 3.11: a process that
    # another thread starts just now would inherit the descriptor.
    fds = array.array("i")
    _, ancillary, _, _ = sock.recvmsg(
        1, socket.CMSG_LEN(fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: fds.itemsize])
            os.set_blocking(fds[0], False)
            return fds[0]
    return None


def _words(output: bytes) -> str:
    return "; ".join(os.fsdecode(output).split("\n")).strip("; ")
