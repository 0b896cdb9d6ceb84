"""Requests that the session handles itself, not the filesystem."""

from __future__ import annotations

import attrs

from triofuse.filesystem.requests import Forget, Request
from triofuse.wire import layouts
from triofuse.wire.decode import Decoder, arrayed, fixed, with_payload
from triofuse.wire.opcodes import Opcode

__all__ = [
    "CONTROL",
    "BatchForget",
    "CuseInit",
    "Destroy",
    "Interrupt",
    "NotifyReply",
    "Removemapping",
    "Setupmapping",
]


@attrs.define(eq=False, repr=False)
class BatchForget(Request):
    """Several FORGETs in one (``struct fuse_batch_forget_in``).

    Attributes:
      items: Pairs of nodeid and nlookup.
    """

    items: tuple[tuple[int, int], ...]


@attrs.define(eq=False, repr=False)
class Interrupt(Request):
    """The caller of a request got a signal (``struct fuse_interrupt_in``).

    Attributes:
      target: The ``unique`` of that request.
    """

    target: int


@attrs.define(eq=False, repr=False)
class NotifyReply(Request):
    """The data that a NOTIFY_RETRIEVE asked for (``struct fuse_notify_retrieve_in``).

    ``unique`` is the number that the notification carried.

    Attributes:
      offset: Bytes from the start of the file.
      size: Bytes of ``data``.
      data: The cached bytes; may be empty.
    """

    offset: int
    size: int
    data: memoryview = attrs.field(repr=False)


class Destroy(Request):
    """The filesystem is unmounted (FUSE_DESTROY); only fuseblk mounts send it."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Setupmapping(Request):
    """Map a file for DAX (``struct fuse_setupmapping_in``); virtiofs only.

    Attributes:
      fh: The file handle.
      foffset: Bytes from the start of the file.
      len: Bytes.
      flags: FUSE_SETUPMAPPING_FLAG_WRITE (1), _READ (2).
      moffset: Bytes from the start of the window.
    """

    fh: int
    foffset: int
    len: int
    flags: int
    moffset: int


@attrs.define(eq=False, repr=False)
class Removemapping(Request):
    """Unmap files from DAX (``struct fuse_removemapping_in``); virtiofs only.

    Attributes:
      items: Pairs of offset in the window and length, bytes.
    """

    items: tuple[tuple[int, int], ...]


@attrs.define(eq=False, repr=False)
class CuseInit(Request):
    """Make a character device (``struct cuse_init_in``); /dev/cuse only.

    Attributes:
      major: Of the protocol.
      minor: Of the protocol.
      flags: CUSE_UNRESTRICTED_IOCTL (1).
    """

    major: int
    minor: int
    flags: int


#: Decoders by opcode of what the session handles itself or refuses.  INIT is in
#: `triofuse.wire.handshake`.
CONTROL: dict[int, Decoder[Request]] = {
    Opcode.FORGET: fixed(Forget, layouts.FORGET_IN),
    Opcode.BATCH_FORGET: arrayed(
        BatchForget, layouts.BATCH_FORGET_IN, layouts.FORGET_ONE
    ),
    Opcode.INTERRUPT: fixed(Interrupt, layouts.INTERRUPT_IN),
    Opcode.NOTIFY_REPLY: with_payload(NotifyReply, layouts.NOTIFY_RETRIEVE_IN, "size"),
    Opcode.DESTROY: fixed(Destroy),
    Opcode.SETUPMAPPING: fixed(Setupmapping, layouts.SETUPMAPPING_IN),
    Opcode.REMOVEMAPPING: arrayed(
        Removemapping, layouts.REMOVEMAPPING_IN, layouts.REMOVEMAPPING_ONE
    ),
    Opcode.CUSE_INIT: fixed(CuseInit, layouts.CUSE_INIT_IN),
}
