"""The attributes of lsattr(1) and chattr(1), and project ids: passed on by ioctl(2).

For each of them the kernel opens the file once more and sends IOCTL with that handle;
who may change what is checked by the kernel, and again below with what rights the
caller has of those that count there.  Source: ``fuse_fileattr_get()`` and
``fuse_fileattr_set()`` in fs/fuse/ioctl.c.
"""

from __future__ import annotations

import errno
import fcntl

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import IoctlReply
from triofuse.filesystem.requests import Ioctl
from triofuse.mirror import libc
from triofuse.mirror.credentials import Caller, Capability, using

#: _IOR('f', 1, long) and _IOW('f', 2, long), which are really of an int.
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
#: _IOR('X', 31, struct fsxattr) and _IOW('X', 32, struct fsxattr).
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820

#: Bytes that the ioctl(2) below reads or writes.
_SIZES = {
    FS_IOC_GETFLAGS: 4,
    FS_IOC_SETFLAGS: 4,
    FS_IOC_FSGETXATTR: 28,
    FS_IOC_FSSETXATTR: 28,
}
_SETTING = frozenset({FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR})

#: What filesystems ask for before they change an attribute: the caller must have it.
_ASKED = (Capability.LINUX_IMMUTABLE, Capability.SYS_ADMIN, Capability.SYS_RESOURCE)


def changes(request: Ioctl) -> bool:
    """Whether a command sets attributes."""
    return request.cmd in _SETTING


def relay(fd: int, request: Ioctl) -> IoctlReply:
    """Do what a command asks, on the file that is open as ``fd``.

    Raises:
      OSError: ENOTTY: another command, which could do anything; or what the
        filesystem below says.
    """
    size = _SIZES.get(request.cmd)
    if size is None:
        raise FuseError(errno.ENOTTY)
    if not changes(request):
        buffer = bytearray(size)
        fcntl.ioctl(fd, request.cmd, buffer)
        return IoctlReply(data=bytes(buffer[: request.out_size]))
    if len(request.data) < size:
        raise FuseError(errno.EINVAL)
    caller, rights = Caller.of(request), libc.effective()
    for capability in _ASKED:
        bit = 1 << capability
        rights = rights | bit if caller.may(capability) else rights & ~bit
    with using(rights):
        fcntl.ioctl(fd, request.cmd, bytes(request.data[:size]))
    return IoctlReply()
