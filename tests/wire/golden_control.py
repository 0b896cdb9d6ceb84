"""Golden messages for the runtime itself, and those of older protocols."""

from __future__ import annotations

import os

import attrs

from tests.wire.messages import (
    CALLER,
    FH,
    LENGTH,
    OFFSET,
    UNIQUE,
    Golden,
    pad,
    u32,
    u64,
)
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import InitFlags
from triofuse.wire import control as c
from triofuse.wire.handshake import Init
from triofuse.wire.opcodes import Opcode

#: What the runtime deals with.
CONTROL = [
    Golden(Opcode.FORGET, u64(3), r.Forget(*CALLER, 3)),
    Golden(
        Opcode.BATCH_FORGET,
        u32(2)  # count
        + pad(4)
        + (u64(7) + u64(1))  # nodeid, nlookup
        + (u64(8) + u64(LENGTH)),
        c.BatchForget(*CALLER, ((7, 1), (8, LENGTH))),
    ),
    Golden(
        Opcode.BATCH_FORGET,
        u32(0) + pad(4),
        c.BatchForget(*CALLER, ()),
        variant="of nothing",
    ),
    Golden(Opcode.INTERRUPT, u64(UNIQUE - 1), c.Interrupt(*CALLER, UNIQUE - 1)),
    Golden(
        Opcode.NOTIFY_REPLY,
        pad(8)
        + u64(OFFSET)
        + u32(6)  # size
        + pad(4)
        + pad(16)
        + b"cached",
        c.NotifyReply(*CALLER, OFFSET, 6, memoryview(b"cached")),
    ),
    Golden(Opcode.DESTROY, b"", c.Destroy(*CALLER)),
    Golden(
        Opcode.SETUPMAPPING,
        u64(FH)
        + u64(OFFSET)  # foffset
        + u64(LENGTH)
        + u64(3)  # flags
        + u64(0x200000),  # moffset
        c.Setupmapping(*CALLER, FH, OFFSET, LENGTH, 3, 0x200000),
    ),
    Golden(
        Opcode.REMOVEMAPPING,
        u32(1)  # count
        + (u64(0x200000) + u64(0x1000)),  # moffset, len
        c.Removemapping(*CALLER, ((0x200000, 0x1000),)),
    ),
    Golden(
        Opcode.CUSE_INIT,
        u32(7) + u32(45) + pad(4) + u32(1),  # major, minor, -, flags
        c.CuseInit(*CALLER, 7, 45, 1),
    ),
]

INIT = Golden(
    Opcode.INIT,
    u32(7)  # major
    + u32(45)  # minor
    + u32(0x20000)  # max_readahead
    + u32(0x73FFFFFB)  # flags: those of Linux 6.18
    + u32(0x5FD)  # flags2
    + pad(44),
    Init(*CALLER, 7, 45, 0x20000, InitFlags(0x5FD_73FFFFFB)),
)


@attrs.frozen
class Older:
    """A message of an older protocol.

    Attributes:
      minor: The last minor version that has it.
      flags: What INIT agreed on.
      golden: The message.
    """

    minor: int
    flags: InitFlags
    golden: Golden


_EXT = InitFlags.SETXATTR_EXT

OLDER = [
    Older(
        8,
        _EXT,
        Golden(
            Opcode.WRITE,
            u64(FH) + u64(OFFSET) + u32(4) + u32(1) + b"data",
            r.Write(*CALLER, FH, OFFSET, 4, 1, 0, 0, memoryview(b"data")),
        ),
    ),
    Older(
        11,
        _EXT,
        Golden(
            Opcode.MKNOD,
            u32(0o100644) + u32(0) + b"file\0",
            r.Mknod(*CALLER, 0o100644, 0, 0, "file"),
        ),
    ),
    Older(
        11,
        _EXT,
        Golden(
            Opcode.CREATE,
            u32(os.O_RDWR) + u32(0o100644) + b"file\0",
            r.Create(*CALLER, os.O_RDWR, 0o100644, 0, 0, "file"),
        ),
    ),
    Older(
        45,
        InitFlags(0),
        Golden(
            Opcode.SETXATTR,
            u32(5) + u32(1) + b"user.x\0" + b"value",
            r.Setxattr(*CALLER, 5, 1, 0, "user.x", memoryview(b"value")),
        ),
    ),
]
