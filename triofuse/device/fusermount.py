"""fusermount3: the set-user-ID program that mounts for unprivileged users."""

from __future__ import annotations

import array
import errno
import itertools
import logging
import os
import resource
import socket
import subprocess

from triofuse.device.dev_fuse import DevFuse
from triofuse.device.forks import no_fork
from triofuse.device.mount_error import MountError, errno_of_words
from triofuse.device.options import MountOptions
from triofuse.filesystem.words import shown

__all__ = [
    "find_fusermount",
    "mount_with_fusermount",
    "unmount_with_fusermount",
]

_logger = logging.getLogger(__name__)

#: PATH is not used: the caller of a privileged program may have set it.  NixOS and Guix
#: keep set-user-ID programs in the first three.
_DIRECTORIES: tuple[str, ...] = (
    "/run/wrappers/bin",
    "/run/privileged/bin",
    "/run/setuid-programs",
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
)

#: Both have the same interface; the second belongs to fuse 2.
_NAMES = ("fusermount3", "fusermount")


#: The whole environment of fusermount3.  Ours is not passed on: an untrusted user may
#: have set it.  LC_ALL=C: its messages are matched in English.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def find_fusermount() -> str | None:
    """Return the path of fusermount3; None if it is not installed.

    Only the directories where systems install it are searched; no environment variable
    changes that.
    """
    for name, directory in itertools.product(_NAMES, _DIRECTORIES):
        program = f"{directory}/{name}"
        if os.access(program, os.X_OK):
            return program
    return None


def mount_with_fusermount(program: str, path: str, options: MountOptions) -> DevFuse:
    """Mount by fusermount3; blocks until it ends.

    Args:
      program: The path of fusermount3.
      path: The mountpoint.
      options: The mount options.

    Returns:
      The device of the mount.

    Raises:
      MountError: With the message of fusermount3.
    """
    try:
        device, words = _run(program, path, options)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "fusermount3") from None
    if device is None:
        raise MountError(errno_of_words(words), path, "fusermount3", words)
    if words:
        _logger.warning("mounting on %s: %s", shown(path), shown(words))
    return device


def unmount_with_fusermount(name: str, path: str, *, lazy: bool) -> None:
    """Unmount a name of the current directory by fusermount3; blocks until it ends.

    fusermount3 walks the path to the current directory again, with the rights of its
    user, and unmounts only mounts of this user.

    Args:
      name: The name of the mountpoint in the current directory of this thread.
      path: The whole path, for errors.
      lazy: Detach it from the tree even if it is in use.

    Raises:
      MountError: With the message of fusermount3.
    """
    program = find_fusermount()
    if program is None:
        raise MountError(errno.EPERM, path, "umount2")
    command = [program, "-u", *(["-z"] if lazy else []), "--", name]
    try:
        status, output = _complete(command)
    except OSError as exc:
        raise MountError(exc.errno or errno.EIO, path, "fusermount3 -u") from None
    if status:
        words = _words(output) or f"{program} ended with {status}"
        raise MountError(errno_of_words(words), path, "fusermount3 -u", words)


def _complete(command: list[str]) -> tuple[int, bytes]:
    """Run a command; return its exit status and stderr."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            start_new_session=True,
            check=False,
        )
    except OSError as exc:
        if exc.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        return _complete_without_pipe(command), b""
    return done.returncode, done.stderr


def _complete_without_pipe(command: list[str]) -> int:
    """Run a command when no descriptor is free; the child gets the hard limit."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
        copies = [(os.POSIX_SPAWN_DUP2, 0, fd) for fd in (1, 2)]
        pid = os.posix_spawn(
            command[0], command, _ENVIRONMENT, file_actions=[null, *copies], setsid=True
        )
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _run(program: str, path: str, options: MountOptions) -> tuple[DevFuse | None, str]:
    """Run fusermount3; return the device and its message."""
    process, ours = _start(program, path, options)
    device = None
    try:
        with ours, process:
            device = _receive_device(ours)
            _, output = process.communicate()
        words = _words(output)
    except BaseException:
        if device is not None:
            device.close()
        raise
    if device is None and not words:
        words = f"{program} ended with status {process.returncode}"
    return device, words


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
                # Ctrl-C must not end fusermount3 halfway.
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def _receive_device(sock: socket.socket) -> DevFuse | None:
    # Not socket.recv_fds: it drops its flags in Python 3.11, and a process that
    # another thread starts meanwhile would inherit the descriptor.
    fds = array.array("i")
    size = socket.CMSG_LEN(fds.itemsize)
    sock.recv(1, socket.MSG_PEEK)  # wait here, where no_fork is not held
    with no_fork:
        _, ancillary, _, _ = sock.recvmsg(1, size, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[: fds.itemsize])
                return DevFuse(fds[0])
    return None


def _words(output: bytes) -> str:
    return "; ".join(os.fsdecode(output).split("\n")).strip("; ")
