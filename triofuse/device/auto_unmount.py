"""The server's side of ``auto_unmount``: start and control the watcher process.

The law: the watcher is a program of its own, `watcher`, and inherits one descriptor, its
socket.  If it inherited /dev/fuse, it would keep the filesystem alive.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from typing import Final

import attrs

from triofuse.device import watcher
from triofuse.device.forks import belongs_to_parent, no_fork
from triofuse.device.fusermount import find_fusermount
from triofuse.device.mount_error import MountError

__all__ = ["Watcher"]

#: Seconds to wait for the process; it takes 0.01 to start and less to end.
_TIMEOUT: Final = 10.0


@attrs.define(eq=False, repr=False)
class Watcher:
    """The owner of a process that unmounts one mount when this process dies.

    Our death closes our end of the socket; then the process unmounts.  Forked children
    of ours do not keep that end open.  The process is in a session of its own and blocks
    all signals: neither Ctrl-C nor the SIGTERM that a service manager sends to the whole
    service ends it before us.  It keeps the user and the mount namespace that it was
    started with, so it can unmount even when we no longer may.

    Attributes:
      path: The mountpoint, for errors.
      process: The watcher process.
      socket: Our end of its socket.
    """

    path: str
    process: subprocess.Popen[bytes]
    socket: socket.socket

    def __attrs_post_init__(self) -> None:
        belongs_to_parent(self)

    @classmethod
    def start(cls, path: str) -> Watcher:
        """Start the process; blocks until it is ready.

        Raises:
          MountError: The process does not start.
        """
        if getattr(sys, "frozen", False) or not sys.executable:
            raise MountError(errno.ENOSYS, path, "auto_unmount")
        try:
            started = _start(path)
        except OSError as exc:
            raise MountError(exc.errno or errno.EIO, path, "auto_unmount") from None
        try:
            ready = started.socket.recv(1) == watcher.READY
        except OSError:
            ready = False
        if not ready:
            started.dismiss()
            raise MountError(errno.ENOEXEC, path, "auto_unmount")
        return started

    def watch(self, mount_id: int, unique_id: int) -> None:
        """Tell the process which mount to unmount.

        Args:
          mount_id: As in ``MountEntry``.
          unique_id: As in ``MountEntry``.

        Raises:
          MountError: EPIPE: the process has been killed.
        """
        try:
            self.socket.sendall(watcher.MOUNT.pack(mount_id, unique_id))
        except OSError as exc:
            number = exc.errno or errno.EIO
            raise MountError(number, self.path, "auto_unmount") from None

    def unmount(self) -> bool:
        """Have the process unmount lazily now; blocks until it has tried.

        Returns:
          Whether the mount is gone.  If not, the process continues to watch.
        """
        try:
            self.socket.sendall(watcher.UNMOUNT)
            return self.socket.recv(1) == watcher.GONE
        except OSError:
            return False

    def disown(self) -> None:
        """Close the socket in a forked child, without sending anything."""
        self.socket.close()

    def dismiss(self) -> None:
        """End the process without an unmount; may block for a short time."""
        with contextlib.suppress(OSError):  # if it has been killed
            self.socket.sendall(watcher.DISMISSED)
        self.socket.close()
        try:
            self.process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(PermissionError):  # if we have changed our user
                self.process.kill()
                self.process.wait()


def _start(path: str) -> Watcher:
    program = os.path.abspath(watcher.__file__)
    # -I: nothing from the environment or the current directory is run.  -S: without
    # site-packages it starts four times as fast.
    command = [sys.executable, "-I", "-S", program, find_fusermount() or ""]
    with no_fork, contextlib.ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        # The child inherits the blocked signals, so they are blocked from its start.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            ours.settimeout(_TIMEOUT)
            process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        stack.pop_all()
        theirs.close()
        return Watcher(path, process, ours)
