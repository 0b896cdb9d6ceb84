"""INIT from the kernel's side: the offer and the negotiated result."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from triofuse.filesystem.flags import InitFlags
from triofuse.testing.replies import ReplyRefusedError
from triofuse.wire import layouts
from triofuse.wire.layouts import Layout
from triofuse.wire.opcodes import FUSE_KERNEL_VERSION

__all__ = ["LINUX_6_18", "Negotiated", "Offer"]

#: The flags that Linux 6.18 offers in INIT for a plain mount.
LINUX_6_18 = InitFlags(0x5FD_73FFFFFB)

_PAGE = 4096

#: In place of the sysctl fs.fuse.max_pages_limit, which is 256: a socket accepts no
#: message of 1 MiB from a process without privileges.
_MAX_PAGES_LIMIT = 64
_DEFAULT_MAX_PAGES = 32

#: INIT requests that were shorter before a minor: the minor, and the size in bytes.
_OLDER_INIT = [(6, 8), (36, 16)]

#: Structs that were shorter before a minor: the minor, the struct, the size in bytes.
_OLDER = [
    (4, layouts.STATFS_OUT, 48),
    (9, layouts.ENTRY_OUT, 120),
    (9, layouts.ATTR_OUT, 96),
    (9, layouts.WRITE_IN, 24),
    (12, layouts.MKNOD_IN, 8),
    (12, layouts.CREATE_IN, 8),
]

_NOTHING_YET = InitFlags(0)

_SHORT_SETXATTR = layouts.SETXATTR_IN.prefix(8)


@attrs.frozen
class Offer:
    """The kernel's INIT request (``struct fuse_init_in``); Linux 6.18 by default.

    Attributes:
      major: The major version of the protocol.
      minor: The minor version of the protocol.
      max_readahead: The most bytes that it reads ahead.
      flags: The capabilities that it offers, ``flags2`` included.
    """

    major: int = 7
    minor: int = 45
    max_readahead: int = 131072
    flags: InitFlags = LINUX_6_18

    def encode(self) -> bytes:
        """Return the body of the INIT request, in the size of its minor."""
        low, high = self.flags & 0xFFFFFFFF, self.flags >> 32
        body = layouts.INIT_IN.pack(
            self.major, self.minor, self.max_readahead, low, high
        )
        for before, size in _OLDER_INIT:
            if (self.major, self.minor) < (FUSE_KERNEL_VERSION, before):
                return body[:size]
        return body


@attrs.frozen
class Negotiated:
    """The result of INIT (``process_init_reply()`` in fs/fuse/inode.c).

    Attributes:
      minor: The protocol in use is 7.minor.
      granted: The flags that the kernel offered and the server wanted.
      max_readahead: The most bytes that the kernel reads ahead.
      max_background: Asynchronous requests in flight; not enforced here.
      congestion_threshold: Asynchronous requests in flight; not enforced here.
      max_write: Bytes in the largest WRITE.
      max_read: Bytes in the largest READ.
      time_gran: Granularity of timestamps, nanoseconds.
      max_stack_depth: The stacking depth for passthrough.
      request_timeout: Seconds; not enforced here.
    """

    minor: int = 45
    granted: InitFlags = _NOTHING_YET
    max_readahead: int = 0
    max_background: int = 0
    congestion_threshold: int = 0
    max_write: int = _PAGE
    max_read: int = _PAGE
    time_gran: int = 1
    max_stack_depth: int = 0
    request_timeout: int = 0
    _older: Mapping[Layout, Layout] = attrs.field(factory=dict, repr=False)

    @classmethod
    def decode(cls, offer: Offer, body: bytes) -> Negotiated:
        """Decode the reply to an INIT.

        Raises:
          ReplyRefusedError: The kernel would refuse the connection.
        """
        answer = layouts.INIT_OUT.unpack(body.ljust(layouts.INIT_OUT.size, b"\0"))
        values = dict(zip(layouts.INIT_OUT.fields, answer, strict=True))
        if values["major"] != offer.major:
            raise ReplyRefusedError(f"major version {values['major']}")
        minor = min(offer.minor, values["minor"])
        granted = _granted(offer, values)
        pages = _DEFAULT_MAX_PAGES
        if granted & InitFlags.MAX_PAGES:
            pages = min(max(values["max_pages"], 1), _MAX_PAGES_LIMIT)
        return cls(
            minor=minor,
            granted=granted,
            max_readahead=min(values["max_readahead"], offer.max_readahead),
            max_background=values["max_background"],
            congestion_threshold=values["congestion_threshold"],
            max_write=min(max(values["max_write"], _PAGE), pages * _PAGE),
            max_read=pages * _PAGE,
            time_gran=values["time_gran"],
            max_stack_depth=values["max_stack_depth"],
            request_timeout=values["request_timeout"],
            older=_older(minor, granted),
        )

    def layout(self, layout: Layout) -> Layout:
        """Return the layout of a struct in the negotiated protocol."""
        return self._older.get(layout, layout)

    def pack(self, layout: Layout, *fields: int) -> bytes:
        """Encode a struct without the fields that the negotiated protocol lacks."""
        known = self.layout(layout)
        return known.pack(*fields[: len(known.fields)])


def _granted(offer: Offer, values: Mapping[str, int]) -> InitFlags:
    wanted = values["flags"]
    if wanted & InitFlags.INIT_EXT:
        wanted |= values["flags2"] << 32
    return InitFlags(wanted) & offer.flags


def _older(minor: int, granted: InitFlags) -> dict[Layout, Layout]:
    older = {
        layout: layout.prefix(size) for before, layout, size in _OLDER if minor < before
    }
    if not granted & InitFlags.SETXATTR_EXT:
        older[layouts.SETXATTR_IN] = _SHORT_SETXATTR
    return older
