"""fusermount3: the set-user-ID program that mounts for those who may not."""

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


def mount_with_fusermount(program: str, path: str, options: MountOptions) -> DevFuse:
    """Let fusermount3 mount; blocks until it has.

    Args:
      program: Its path.
      path: The mountpoint.
      options: How to mount.

    Returns:
      The device that serves it.

    Raises:
      MountError: With what fusermount3 said.
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
    """Let fusermount3 unmount what is in the current directory; blocks until it has.

    It walks the path that leads here anew, with the rights of its user, and unmounts
    nothing but what this user has mounted.

    Args:
      name: The name of the mountpoint in the current directory of this thread.
      path: The whole path, for errors.
      lazy: Take it out of the tree even if it is in use.

    Raises:
      MountError: With what fusermount3 said.
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
    """Return the status of a command, and what it complained of."""
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
        return _complete_unheard(command), b""
    return done.returncode, done.stderr


def _complete_unheard(command: list[str]) -> int:
    """Run a command that takes no descriptor of ours; it is given room for its own."""
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
    """Return the device, and what it said."""
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
                # Ctrl-C is for us: it must not end halfway.
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def _receive_device(sock: socket.socket) -> DevFuse | None:
    # Not socket.recv_fds, which drops its flags in Python 3.11: a process that
    # another thread starts just now would inherit the descriptor.
    fds = array.array("i")
    size = socket.CMSG_LEN(fds.itemsize)
    sock.recv(1, socket.MSG_PEEK)  # wait, while others may fork
    with no_fork:
        _, ancillary, _, _ = sock.recvmsg(1, size, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[: fds.itemsize])
                return DevFuse(fds[0])
    return None


def _words(output: bytes) -> str:
    return "; ".join(os.fsdecode(output).split("\n")).strip("; ")
