"""The numbers of the protocol: opcodes, notifications, limits (linux/fuse.h)."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "FUSE_KERNEL_MINOR_VERSION",
    "FUSE_KERNEL_VERSION",
    "FUSE_MIN_READ_BUFFER",
    "FUSE_ROOT_ID",
    "FUSE_UNIQUE_RESEND",
    "HEADER_ROOM",
    "INTERRUPT_BIT",
    "NotifyCode",
    "Opcode",
]

FUSE_KERNEL_VERSION = 7
FUSE_KERNEL_MINOR_VERSION = 45
FUSE_ROOT_ID = 1
#: The smallest buffer for a read of the device, bytes.
FUSE_MIN_READ_BUFFER = 8192
#: Set in ``unique`` of a request that is sent again after NOTIFY_RESEND.
FUSE_UNIQUE_RESEND = 1 << 63
#: Set in ``unique`` of an INTERRUPT; the other bits are those of its request.
INTERRUPT_BIT = 1
#: The bytes of a WRITE before its data: fuse_in_header and fuse_write_in.
HEADER_ROOM = 80


class Opcode(IntEnum):
    """The operation of a request (``FUSE_*``, fuse_in_header.opcode)."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53
    CUSE_INIT = 4096
    CUSE_INIT_BSWAP_RESERVED = 1 << 20
    INIT_BSWAP_RESERVED = 26 << 24


class NotifyCode(IntEnum):
    """The kind of a notification (``FUSE_NOTIFY_*``, fuse_out_header.error)."""

    POLL = 1
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RETRIEVE = 5
    DELETE = 6
    RESEND = 7
    INC_EPOCH = 8
    PRUNE = 9
