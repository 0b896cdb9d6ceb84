"""What unmounts a filesystem whose server has been killed: the server's end of it.

The law: it is a program of its own, `watcher`, which has one descriptor of ours, its
socket; with /dev/fuse it would keep alive the very filesystem whose end it awaits.
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

#: Seconds; it takes 0.01 to start and less to end.
_PATIENCE: Final = 10.0


@attrs.define(eq=False, repr=False)
class Watcher:
    """The owner of a process that watches over one mount.

    The process unmounts as soon as our end of its socket is closed by our death; a
    forked child of ours does not keep it open.  It is in a session of its own and blocks
    all signals: neither Ctrl-C nor the SIGTERM that a service manager sends to everybody
    ends it before us.  It stays what its user was when it was started, and in the mount
    namespace of then: it may unmount what we may not any more.

    Attributes:
      path: The mountpoint, for errors.
      process: The process.
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
          MountError: It does not start.
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
        """Tell what there is to unmount.

        Args:
          mount_id: As in ``MountEntry``.
          unique_id: As in ``MountEntry``.

        Raises:
          MountError: EPIPE: it has been killed.
        """
        try:
            self.socket.sendall(watcher.MOUNT.pack(mount_id, unique_id))
        except OSError as exc:
            number = exc.errno or errno.EIO
            raise MountError(number, self.path, "auto_unmount") from None

    def unmount(self) -> bool:
        """Have the process unmount lazily, here and now; blocks until it has tried.

        Returns:
          Whether the mount is gone.  If not, the process goes on watching.
        """
        try:
            self.socket.sendall(watcher.UNMOUNT)
            return self.socket.recv(1) == watcher.GONE
        except OSError:
            return False

    def disown(self) -> None:
        """Close the socket without a word: this is a forked child."""
        self.socket.close()

    def dismiss(self) -> None:
        """End the process without letting it unmount anything; may block shortly."""
        with contextlib.suppress(OSError):  # if it has been killed
            self.socket.sendall(watcher.DISMISSED)
        self.socket.close()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(PermissionError):  # if we are another user by now
                self.process.kill()
                self.process.wait()


def _start(path: str) -> Watcher:
    program = os.path.abspath(watcher.__file__)
    # Isolated, so that nothing in the environment or the current directory is run;
    # without site-packages, for it starts four times as fast.
    command = [sys.executable, "-I", "-S", program, find_fusermount() or ""]
    with no_fork, contextlib.ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        # A blocked signal stays blocked in the child: from its first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            ours.settimeout(_PATIENCE)
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
