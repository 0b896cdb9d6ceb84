"""Notifications, byte for byte as linux/fuse.h has them."""

from __future__ import annotations

import array

import pytest

from tests.wire import oracle
from tests.wire.messages import OFFSET, u64
from tests.wire.oracle import golden_struct
from triofuse.filesystem.replies import Buffer
from triofuse.wire import notifications as n
from triofuse.wire.opcodes import NotifyCode

NODEID = 0xDEADBEEFBAADF00D

#: Code, message, struct, payload.
GOLDEN: list[tuple[NotifyCode, list[Buffer], bytes, bytes]] = [
    (
        NotifyCode.POLL,
        n.encode_notify_poll(0xCAB1E),
        golden_struct("fuse_notify_poll_wakeup_out", kh=0xCAB1E),
        b"",
    ),
    (
        NotifyCode.INVAL_INODE,
        n.encode_notify_inval_inode(NODEID, -1, 0),
        golden_struct("fuse_notify_inval_inode_out", ino=NODEID, off=-1),
        b"",
    ),
    (
        NotifyCode.INVAL_INODE,
        n.encode_notify_inval_inode(NODEID, OFFSET, 4096),
        golden_struct("fuse_notify_inval_inode_out", ino=NODEID, off=OFFSET, len=4096),
        b"",
    ),
    (
        NotifyCode.INVAL_ENTRY,
        n.encode_notify_inval_entry(NODEID, "name"),
        golden_struct("fuse_notify_inval_entry_out", parent=NODEID, namelen=4),
        b"name\0",
    ),
    (
        NotifyCode.INVAL_ENTRY,
        n.encode_notify_inval_entry(NODEID, "\udcffä", expire_only=True),
        golden_struct("fuse_notify_inval_entry_out", parent=NODEID, namelen=3, flags=1),
        b"\xff\xc3\xa4\0",
    ),
    (
        NotifyCode.DELETE,
        n.encode_notify_delete(NODEID, 99, "name"),
        golden_struct("fuse_notify_delete_out", parent=NODEID, child=99, namelen=4),
        b"name\0",
    ),
    (
        NotifyCode.STORE,
        n.encode_notify_store(NODEID, OFFSET, b"some\0data"),
        golden_struct("fuse_notify_store_out", nodeid=NODEID, offset=OFFSET, size=9),
        b"some\0data",
    ),
    (
        NotifyCode.STORE,
        n.encode_notify_store(NODEID, 0, memoryview(array.array("I", [1, 2]))),
        golden_struct("fuse_notify_store_out", nodeid=NODEID, size=8),
        array.array("I", [1, 2]).tobytes(),
    ),
    (
        NotifyCode.STORE,
        n.encode_notify_store(NODEID, 0, bytearray()),
        golden_struct("fuse_notify_store_out", nodeid=NODEID),
        b"",
    ),
    (
        NotifyCode.RETRIEVE,
        n.encode_notify_retrieve(0xC0FFEE, NODEID, OFFSET, 4096),
        golden_struct(
            "fuse_notify_retrieve_out",
            notify_unique=0xC0FFEE,
            nodeid=NODEID,
            offset=OFFSET,
            size=4096,
        ),
        b"",
    ),
    (NotifyCode.RESEND, n.encode_notify_resend(), b"", b""),
    (NotifyCode.INC_EPOCH, n.encode_notify_inc_epoch(), b"", b""),
    (
        NotifyCode.PRUNE,
        n.encode_notify_prune([7, NODEID]),
        golden_struct("fuse_notify_prune_out", count=2),
        u64(7) + u64(NODEID),
    ),
    (
        NotifyCode.PRUNE,
        n.encode_notify_prune(()),
        golden_struct("fuse_notify_prune_out"),
        b"",
    ),
]


@pytest.mark.parametrize(("code", "message", "struct", "payload"), GOLDEN)
def test_a_notification_is_a_message_without_a_unique(
    code: NotifyCode, message: list[Buffer], struct: bytes, payload: bytes
) -> None:
    length = 16 + len(struct) + len(payload)
    header = golden_struct("fuse_out_header", len=length, error=code, unique=0)

    assert b"".join(message) == header + struct + payload
    assert all(message), "writev() need not be given empty buffers"


@pytest.mark.parametrize(("code", "message", "struct", "payload"), GOLDEN)
def test_a_notification_is_as_long_as_the_header_says(
    code: NotifyCode, message: list[Buffer], struct: bytes, payload: bytes
) -> None:
    assert len(struct) == oracle.NOTIFY[f"FUSE_NOTIFY_{code.name}"]["fixed_size"]


def test_there_is_an_encoder_for_every_notification() -> None:
    assert {code for code, *_ in GOLDEN} == set(NotifyCode)


def test_stored_data_is_not_copied() -> None:
    data = b"x" * 4096

    message = n.encode_notify_store(NODEID, 0, data)

    assert message[1] is data


@pytest.mark.parametrize("name", ["", "a/b", "a\0b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        n.encode_notify_inval_entry(NODEID, name)
    with pytest.raises(ValueError, match="cannot be a name"):
        n.encode_notify_delete(NODEID, 99, name)
