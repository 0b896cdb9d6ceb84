"""Passthrough: the kernel reads and writes a backing file without the filesystem."""

from __future__ import annotations

import errno
import fcntl
import struct
from typing import Final, Self

import attrs

from triofuse.device.dev_fuse import DevFuse, DeviceError

__all__ = ["BackingId", "open_backing"]

#: linux/fuse.h: _IOW(229, 1, struct fuse_backing_map), _IOW(229, 2, uint32_t).
_IOC_BACKING_OPEN: Final = 0x4010E501
_IOC_BACKING_CLOSE: Final = 0x4004E502

#: fuse_backing_open() in fs/fuse/backing.c.
_REMEDIES: Final = {
    errno.EPERM: "it takes CAP_SYS_ADMIN, and PASSTHROUGH negotiated in INIT",
    errno.ELOOP: "its filesystem is stacked on others: see max_stack_depth",
}


@attrs.define(eq=False)
class BackingId:
    """A backing file that is registered with the connection.

    Answer an OPEN with ``Opened(flags=OpenFlags.PASSTHROUGH, backing_id=b.number)``.
    With ``Opened(backing_fd=fd)`` the session registers and closes it.  Closing the id
    does not affect files that are open.

    Attributes:
      number: The kernel's id, above 0; 0 once it is closed.
    """

    _device: DevFuse
    number: int

    def close(self) -> None:
        """Release the id, once.  The kernel releases it itself with the connection."""
        number, self.number = self.number, 0
        if number == 0 or self._device.fd == -1:
            return
        try:
            fcntl.ioctl(self._device.fd, _IOC_BACKING_CLOSE, struct.pack("=I", number))
        except OSError as exc:
            error = exc.errno or errno.EIO
            step = f"close backing id {number}"
            raise DeviceError(error, self._device.path, step) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_backing(device: DevFuse, fd: int) -> BackingId:
    """Register the regular file ``fd``; see `ChannelSender.open_backing`."""
    if device.fd == -1:
        raise DeviceError(errno.EBADF, device.path, "use a device that is closed")
    argument = bytearray(struct.pack("=iIQ", fd, 0, 0))
    try:
        # With a mutable argument fcntl.ioctl() returns the kernel's return value.
        number = fcntl.ioctl(device.fd, _IOC_BACKING_OPEN, argument)
    except OSError as exc:
        step = f"open a backing id for descriptor {fd}"
        error = exc.errno or errno.EIO
        raise DeviceError(error, device.path, step, _REMEDIES) from None
    return BackingId(device, number)
