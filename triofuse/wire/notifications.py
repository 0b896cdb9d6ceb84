"""Encoders of notifications: messages to the kernel that answer no request.

Each function returns a whole message as a list of buffers for one ``writev``.  The
kernel's answer is the result of that write.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from triofuse.filesystem.replies import Buffer
from triofuse.wire import layouts
from triofuse.wire.encode import encode_name
from triofuse.wire.layouts import Layout
from triofuse.wire.opcodes import NotifyCode

__all__ = [
    "SINCE",
    "encode_notify_delete",
    "encode_notify_expire_entry",
    "encode_notify_inc_epoch",
    "encode_notify_inval_entry",
    "encode_notify_inval_inode",
    "encode_notify_poll",
    "encode_notify_prune",
    "encode_notify_resend",
    "encode_notify_retrieve",
    "encode_notify_store",
]

#: The first minor version of the protocol with a notification (linux/fuse.h).
SINCE: Final = {
    "poll": 11,
    "inval_inode": 12,
    "inval_entry": 12,
    "store": 15,
    "retrieve": 15,
    "delete": 18,
    "expire_entry": 38,
    "resend": 40,
    "inc_epoch": 44,
    "prune": 45,
}

#: NOTIFY_INVAL_ENTRY: only expire the name (FUSE_EXPIRE_ONLY).
_EXPIRE_ONLY = 1


def _message(
    code: NotifyCode, layout: Layout, *fields: int, payload: Buffer = b""
) -> list[Buffer]:
    size = layouts.OUT_HEADER.size + layout.size + len(payload)
    fixed = layouts.OUT_HEADER.pack(size, code, 0) + layout.pack(*fields)
    return [fixed, payload] if payload else [fixed]


def encode_notify_poll(kh: int) -> list[Buffer]:
    """Wake the callers that poll ``kh`` (``struct fuse_notify_poll_wakeup_out``)."""
    return _message(NotifyCode.POLL, layouts.NOTIFY_POLL_WAKEUP_OUT, kh)


def encode_notify_inval_inode(nodeid: int, offset: int, length: int) -> list[Buffer]:
    """Drop cached attributes, and cached data from ``offset`` on.

    A negative ``offset`` drops no data.  ``length`` is in bytes; 0 or less means to
    the end of the file.
    """
    layout = layouts.NOTIFY_INVAL_INODE_OUT
    return _message(NotifyCode.INVAL_INODE, layout, nodeid, offset, length)


def encode_notify_inval_entry(
    parent: int, name: str, *, expire_only: bool = False
) -> list[Buffer]:
    """Drop a cached name, or only let it expire."""
    encoded = encode_name(name)
    layout = layouts.NOTIFY_INVAL_ENTRY_OUT
    fields = (parent, len(encoded), _EXPIRE_ONLY if expire_only else 0)
    return _message(NotifyCode.INVAL_ENTRY, layout, *fields, payload=encoded + b"\0")


def encode_notify_expire_entry(parent: int, name: str) -> list[Buffer]:
    """Let a cached name expire, but keep its dentry and those below."""
    return encode_notify_inval_entry(parent, name, expire_only=True)


def encode_notify_delete(parent: int, child: int, name: str) -> list[Buffer]:
    """Say that ``name`` in ``parent``, which was the node ``child``, is gone."""
    encoded = encode_name(name)
    layout = layouts.NOTIFY_DELETE_OUT
    fields = (parent, child, len(encoded))
    return _message(NotifyCode.DELETE, layout, *fields, payload=encoded + b"\0")


def encode_notify_store(nodeid: int, offset: int, data: Buffer) -> list[Buffer]:
    """Put data into the kernel's cache."""
    payload = data if isinstance(data, bytes) else memoryview(data).cast("B")
    layout = layouts.NOTIFY_STORE_OUT
    fields = (nodeid, offset, len(payload))
    return _message(NotifyCode.STORE, layout, *fields, payload=payload)


def encode_notify_retrieve(
    notify_unique: int, nodeid: int, offset: int, size: int
) -> list[Buffer]:
    """Ask for cached data; a NOTIFY_REPLY with this ``unique`` carries it."""
    layout = layouts.NOTIFY_RETRIEVE_OUT
    return _message(NotifyCode.RETRIEVE, layout, notify_unique, nodeid, offset, size)


def encode_notify_resend() -> list[Buffer]:
    """Have the kernel send again all requests that were read but not answered."""
    return _message(NotifyCode.RESEND, layouts.NOTHING)


def encode_notify_inc_epoch() -> list[Buffer]:
    """Make all cached names stale."""
    return _message(NotifyCode.INC_EPOCH, layouts.NOTHING)


def encode_notify_prune(nodeids: Sequence[int]) -> list[Buffer]:
    """Have the kernel forget nodes that are not in use."""
    payload = struct.pack(f"={len(nodeids)}Q", *nodeids)
    layout = layouts.NOTIFY_PRUNE_OUT
    return _message(NotifyCode.PRUNE, layout, len(nodeids), payload=payload)
