"""/dev/fuse: the file descriptor for requests and replies."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

import attrs
import trio

from triofuse.device.forks import belongs_to_parent, no_fork

__all__ = ["DevFuse", "DeviceError"]

DEV_FUSE = "/dev/fuse"

_REMEDIES = {
    errno.ENOENT: "load it with 'modprobe fuse'; in a container, pass '--device {path}'",
    errno.ENODEV: "load it with 'modprobe fuse'",
    errno.ENXIO: "load it with 'modprobe fuse'",
    errno.EACCES: "its mode is usually 0666: ask the administrator for access",
    errno.EPERM: "in a container, pass '--device {path}'",
}


class DeviceError(OSError):
    """The device cannot be used; the message names device, reason and remedy.

    Attributes:
      errno: The errno of the system call that failed.
      filename: The path of the device.
    """

    def __init__(
        self,
        error: int,
        path: str,
        step: str,
        remedies: Mapping[int, str] = _REMEDIES,
    ) -> None:
        remedy = remedies.get(error, "").format(path=path)
        reason = f"cannot {step}: {os.strerror(error)}"
        super().__init__(error, f"{reason} ({remedy})" if remedy else reason, path)


@attrs.define(eq=False)
class DevFuse:
    """An open /dev/fuse: the one owner of its file descriptor.

    It is closed in forked children: an open descriptor keeps the connection alive.  Until
    it is served it may be inherited: a daemon may mount, fork, and serve in the child.

    Attributes:
      fd: The descriptor, non-blocking and close-on-exec.  -1 once it is closed, so
        that a number which the kernel has reused is never touched.
      path: The path that was opened.
      is_inherited: Whether forked children keep it.
    """

    fd: int
    path: str = DEV_FUSE
    is_inherited: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        os.set_blocking(self.fd, False)
        os.set_inheritable(self.fd, False)
        belongs_to_parent(self)

    @classmethod
    def open(cls, path: str = DEV_FUSE) -> DevFuse:
        """Open the device; mount(2) connects it to a filesystem.

        Raises:
          DeviceError: The device is missing, or this user may not open it.
        """
        with no_fork:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as exc:
                number = exc.errno or errno.EIO
                raise DeviceError(number, path, f"open {path}") from None
            return cls(fd, path)

    @classmethod
    def duplicate(cls, other: DevFuse) -> DevFuse:
        """Return another descriptor of the same connection.

        Raises:
          OSError: EMFILE: no descriptor is free.
        """
        with no_fork:
            return cls(os.dup(other.fd), other.path)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self.fd

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Close the device, once.  Tasks that wait for it get ClosedResourceError.

        The last descriptor ends the connection: callers that are blocked get
        ECONNABORTED, later ones ENOTCONN.
        """
        with no_fork:
            fd, self.fd = self.fd, -1
            if fd == -1:
                return
            try:
                trio.lowlevel.notify_closing(fd)
            except RuntimeError:
                pass  # outside of trio: only trio's own thread can wake waiting tasks
            finally:
                os.close(fd)

    def disown(self) -> None:
        """Close the descriptor in a forked child, without notifying trio.

        The child shares trio's epoll descriptor with its parent.
        """
        if self.is_inherited:
            return
        fd, self.fd = self.fd, -1
        if fd != -1:
            os.close(fd)
