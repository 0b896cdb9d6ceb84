"""The negotiation of INIT: protocol version, flags and sizes.

The law: the kernel offers, the filesystem chooses, and the smaller minor applies.  The
result is an `Agreement`; no other module compares minors.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping

import attrs

from triofuse.filesystem.capabilities import DEFAULT_FLAGS, IMPLIED_FLAGS, names_of
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.flags import InitFlags
from triofuse.filesystem.requests import Request
from triofuse.wire.decode import Message, fixed, malformed, peek
from triofuse.wire.errors import HandshakeError
from triofuse.wire.layouts import IN_HEADER, INIT_IN, INIT_OUT
from triofuse.wire.opcodes import (
    FUSE_KERNEL_MINOR_VERSION,
    FUSE_KERNEL_VERSION,
    FUSE_MIN_READ_BUFFER,
    HEADER_ROOM,
    Opcode,
)

__all__ = [
    "Agreement",
    "Init",
    "agree",
    "decode_init",
    "encode_init",
    "encode_version",
    "propose",
]

#: Pages in a request if the kernel does not offer MAX_PAGES.
_DEFAULT_MAX_PAGES = 32

#: The largest SETXATTR, for any max_write: value, name, structs.
_XATTR_ROOM = (64 << 10) + FUSE_MIN_READ_BUFFER

#: Replies to INIT of older minors are shorter: below which minor, and their size.
_INIT_OUT_SIZES = [(5, 8), (23, 24)]

_LOW_WORD = (1 << 32) - 1


@attrs.define(eq=False, repr=False)
class Init(Request):
    """The first request on a mount (``struct fuse_init_in``).

    Attributes:
      major: 7.
      minor: The kernel's minor version.
      max_readahead: The most that the kernel reads ahead, bytes.
      flags: All flags that the kernel offers, ``flags2`` included.
    """

    major: int
    minor: int
    max_readahead: int
    flags: InitFlags


@attrs.frozen
class Agreement:
    """The result of the negotiation; ``str()`` shows all of it.

    Attributes:
      minor: The protocol in use is 7.minor.
      offered: The flags that the kernel offers.
      implied: The flags that the filesystem's methods ask for.
      wanted: All flags that were asked for, implied ones included.
      flags: The flags that were granted.
      refused: The flags that were wanted but not granted, each with the reason.
      max_write: Bytes in the largest WRITE.
      max_pages: Pages in the largest request.
      max_readahead: Bytes to read ahead; the kernel may be able to do less.
      receive_size: The size of the buffer for a read of the device, bytes.
      request_timeout: Seconds without an answer after which the kernel aborts the
        connection; 0 means never.
    """

    minor: int
    offered: InitFlags
    implied: InitFlags
    wanted: InitFlags
    flags: InitFlags
    refused: Mapping[InitFlags, str]
    max_write: int
    max_pages: int
    max_readahead: int
    receive_size: int
    request_timeout: int

    def __str__(self) -> str:
        own = self.wanted & ~self.implied & ~DEFAULT_FLAGS
        figures = (
            f"protocol 7.{self.minor}, max_write {self.max_write} bytes, "
            f"{self.max_pages} pages in a request, "
            f"request timeout {self.request_timeout or 'none'}"
        )
        lines = [
            figures,
            f"granted: {names_of(self.flags)}",
            f"  of these implied by methods: {names_of(self.flags & self.implied)}",
            f"  of these asked for by init(): {names_of(self.flags & own)}",
            f"offered, not wanted: {names_of(self.offered & ~self.wanted)}",
        ]
        refused = [f"refused: {f.name}: {why}" for f, why in self.refused.items()]
        return "\n".join(lines + refused)


def _init(
    unique: int,
    nodeid: int,
    uid: int,
    gid: int,
    pid: int,
    major: int,
    minor: int,
    max_readahead: int,
    flags: int,
    flags2: int,
) -> Init:
    if flags & InitFlags.INIT_EXT:
        flags |= flags2 << 32
    offer = InitFlags(flags)
    return Init(unique, nodeid, uid, gid, pid, major, minor, max_readahead, offer)


_decode_known = fixed(_init, INIT_IN)


def decode_init(message: Message) -> Init:
    """Decode INIT; its body is shorter in old kernels and may be longer in new ones.

    Raises:
      ProtocolError: The message is not INIT, or too short for a version.
    """
    opcode, _ = peek(message)
    if opcode != Opcode.INIT:
        raise malformed(message, "opcode", "comes before INIT")
    size = IN_HEADER.size + INIT_IN.size
    if len(message) < IN_HEADER.size + struct.calcsize("=2I"):
        raise malformed(message, "fuse_init_in", "has no version")
    return _decode_known(bytes(message[:size]).ljust(size, b"\0"))


def propose(
    init: Init,
    implemented: frozenset[str],
    *,
    default_permissions: bool | None = None,
    allow_root: bool = False,
) -> KernelConfig:
    """Return the configuration that follows from the filesystem's methods.

    Args:
      init: The kernel's offer.
      implemented: The methods that the filesystem has of its own.
      default_permissions: Whether it is mounted with that option; None if unknown.
      allow_root: Whether it is mounted with that option.

    Raises:
      HandshakeError: The kernel speaks a protocol before 7.
    """
    if init.major < FUSE_KERNEL_VERSION:
        message = f"the kernel speaks FUSE {init.major}.{init.minor}, 7.0 is the oldest"
        raise HandshakeError(message)
    implied = InitFlags(0)
    for methods, flags in IMPLIED_FLAGS.items():
        if methods <= implemented:
            implied |= flags
    config = KernelConfig(
        minor=min(init.minor, FUSE_KERNEL_MINOR_VERSION),
        offered=init.flags,
        wanted=DEFAULT_FLAGS | implied,
        implemented=implemented,
        implied=implied,
        default_permissions=default_permissions,
        allow_root=allow_root,
    )
    if not init.max_readahead:  # before protocol 7.6
        config.max_readahead = 0
    return config


def agree(config: KernelConfig, max_pages_limit: int) -> Agreement:
    """Return the result of the negotiation.

    Args:
      config: As the filesystem left it.
      max_pages_limit: The sysctl fs.fuse.max_pages_limit.
    """
    flags = config.granted
    wanted_pages = -(-config.max_write // mmap.PAGESIZE)
    most = max_pages_limit if flags & InitFlags.MAX_PAGES else _DEFAULT_MAX_PAGES
    max_pages = min(wanted_pages, most)
    max_write = min(config.max_write, max_pages * mmap.PAGESIZE)
    return Agreement(
        minor=config.minor,
        offered=config.offered,
        implied=config.implied,
        wanted=config.wanted,
        flags=flags,
        refused=config.refused,
        max_write=max_write,
        max_pages=max_pages,
        max_readahead=config.max_readahead,
        receive_size=max(max_write + HEADER_ROOM, _XATTR_ROOM),
        request_timeout=(
            config.request_timeout if flags & InitFlags.REQUEST_TIMEOUT else 0
        ),
    )


def encode_init(config: KernelConfig, agreement: Agreement) -> bytes:
    """Encode ``struct fuse_init_out``."""
    flags = agreement.flags
    body = INIT_OUT.pack(
        FUSE_KERNEL_VERSION,
        agreement.minor,
        config.max_readahead,
        flags & _LOW_WORD,
        config.max_background,
        config.congestion_threshold,
        agreement.max_write,
        config.time_gran,
        agreement.max_pages,
        0,
        flags >> 32,
        config.max_stack_depth if flags & InitFlags.PASSTHROUGH else 0,
        agreement.request_timeout,
    )
    for before, size in _INIT_OUT_SIZES:
        if agreement.minor < before:
            return body[:size]
    return body


def encode_version() -> bytes:
    """Encode the reply to a kernel with a newer major: only our version."""
    size = _INIT_OUT_SIZES[0][1]
    fields = (0,) * (len(INIT_OUT.fields) - 2)
    whole = INIT_OUT.pack(FUSE_KERNEL_VERSION, FUSE_KERNEL_MINOR_VERSION, *fields)
    return whole[:size]
