"""Decoding of notifications as the kernel does it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from triofuse.testing.replies import ReplyRefusedError
from triofuse.wire import layouts
from triofuse.wire.layouts import NOTHING, Layout
from triofuse.wire.opcodes import NotifyCode

__all__ = ["Notification", "decode_notification"]

_LAYOUTS = {
    NotifyCode.POLL: layouts.NOTIFY_POLL_WAKEUP_OUT,
    NotifyCode.INVAL_INODE: layouts.NOTIFY_INVAL_INODE_OUT,
    NotifyCode.INVAL_ENTRY: layouts.NOTIFY_INVAL_ENTRY_OUT,
    NotifyCode.STORE: layouts.NOTIFY_STORE_OUT,
    NotifyCode.RETRIEVE: layouts.NOTIFY_RETRIEVE_OUT,
    NotifyCode.DELETE: layouts.NOTIFY_DELETE_OUT,
    NotifyCode.RESEND: NOTHING,
    NotifyCode.INC_EPOCH: NOTHING,
    NotifyCode.PRUNE: layouts.NOTIFY_PRUNE_OUT,
}

#: The payload after a struct: its length field, bytes per unit, and NULs after a name.
_PAYLOADS = {
    NotifyCode.INVAL_ENTRY: ("namelen", 1, 1),
    NotifyCode.DELETE: ("namelen", 1, 1),
    NotifyCode.STORE: ("size", 1, 0),
    NotifyCode.PRUNE: ("count", 8, 0),
}


@attrs.frozen
class Notification:
    """A notification of the server.

    Attributes:
      code: The kind of notification.
      fields: The fields of its struct, by their names in linux/fuse.h.
      payload: The bytes after the struct: a name without its NUL, data, or nodeids of
        8 bytes each.
    """

    code: NotifyCode
    fields: Mapping[str, int]
    payload: bytes = b""


def decode_notification(code: int, body: bytes) -> Notification:
    """Decode the body of a notification.

    Raises:
      ReplyRefusedError: There is no such notification, or its size is wrong.
    """
    try:
        known = NotifyCode(code)
    except ValueError:
        raise ReplyRefusedError(f"no notification has code {code}") from None
    layout = _LAYOUTS[known]
    if layout is NOTHING:  # the kernel does not look at what follows
        return Notification(known, {})
    if len(body) < layout.size:
        raise ReplyRefusedError(f"{len(body)} bytes of {layout.cname}")
    fields = dict(zip(layout.fields, layout.unpack_from(body), strict=True))
    payload = _payload(known, layout, fields, body[layout.size :])
    return Notification(known, fields, payload)


def _payload(
    code: NotifyCode, layout: Layout, fields: Mapping[str, int], payload: bytes
) -> bytes:
    field, unit, nul = _PAYLOADS.get(code, ("", 0, 0))
    size = fields.get(field, 0) * unit + nul
    if len(payload) != size:
        raise ReplyRefusedError(f"{len(payload)} bytes behind {layout.cname}")
    return payload[: size - nul]
