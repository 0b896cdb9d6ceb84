"""Notifications as a FakeKernel receives them."""

from __future__ import annotations

import errno
import struct

import attrs
import pytest
import trio

from tests.testing.scripted import (
    SILENCE,
    fails,
    reply,
    scripted,
    until,
)
from triofuse.testing import Notification
from triofuse.wire import layouts, notifications as n
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND, NotifyCode, Opcode


async def test_notifications_are_decoded_in_their_order() -> None:
    told = [
        (n.encode_notify_poll(5), NotifyCode.POLL, {"kh": 5}, b""),
        (
            n.encode_notify_inval_inode(7, -1, 0),
            NotifyCode.INVAL_INODE,
            {"ino": 7, "off": -1, "len": 0},
            b"",
        ),
        (
            n.encode_notify_inval_entry(1, "name", expire_only=True),
            NotifyCode.INVAL_ENTRY,
            {"parent": 1, "namelen": 4, "flags": 1},
            b"name",
        ),
        (
            n.encode_notify_delete(1, 7, "name"),
            NotifyCode.DELETE,
            {"parent": 1, "child": 7, "namelen": 4},
            b"name",
        ),
        (
            n.encode_notify_store(7, 5, b"data"),
            NotifyCode.STORE,
            {"nodeid": 7, "offset": 5, "size": 4},
            b"data",
        ),
        (
            n.encode_notify_retrieve(9, 7, 5, 4),
            NotifyCode.RETRIEVE,
            {"notify_unique": 9, "nodeid": 7, "offset": 5, "size": 4},
            b"",
        ),
        (n.encode_notify_inc_epoch(), NotifyCode.INC_EPOCH, {}, b""),
        (
            n.encode_notify_prune([7]),
            NotifyCode.PRUNE,
            {"count": 1},
            struct.pack("=Q", 7),
        ),
    ]

    async with scripted() as (kernel, server):
        for buffers, code, fields, payload in told:
            await server.send(b"".join(buffers))
            received = await kernel.notifications.receive()
            assert received == Notification(code, fields, payload)

    assert kernel.refusals == []
    with pytest.raises(trio.EndOfChannel):
        await kernel.notifications.receive()


@pytest.mark.parametrize(
    "message",
    [
        reply(0, error=99),
        reply(0, error=-1),
        reply(0, error=NotifyCode.POLL),
        reply(0, bytes(7), error=NotifyCode.POLL),
        reply(0, bytes(9), error=NotifyCode.POLL),
        reply(
            0, layouts.NOTIFY_STORE_OUT.pack(7, 0, 4) + b"dat", error=NotifyCode.STORE
        ),
        reply(
            0,
            layouts.NOTIFY_INVAL_ENTRY_OUT.pack(1, 4, 0) + b"name",
            error=NotifyCode.INVAL_ENTRY,
        ),
    ],
)
async def test_a_notification_that_makes_no_sense_is_refused(message: bytes) -> None:
    async with scripted() as (kernel, server):
        await server.send(message)
        await until(lambda: bool(kernel.refusals))

    assert [refusal.errno for refusal in kernel.refusals] == [errno.EINVAL]
    assert kernel.notifications.statistics().current_buffer_used == 0


async def test_requests_are_sent_again_when_the_server_wants_that() -> None:
    async with scripted({Opcode.GETATTR: SILENCE, Opcode.STATX: SILENCE}) as (
        kernel,
        server,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.ENOENT, kernel.getattr, 7)
            await until(lambda: bool(server.requests))
            await server.send(b"".join(n.encode_notify_resend()))
            await until(lambda: len(server.requests) == 2)
            assert list(kernel.pending) == [4 | FUSE_UNIQUE_RESEND]
            await server.send(reply(4))
            await server.send(reply(4 | FUSE_UNIQUE_RESEND, error=-errno.ENOENT))

    first, again = server.requests
    assert again == attrs.evolve(first, unique=4 | FUSE_UNIQUE_RESEND)
    assert [refusal.errno for refusal in kernel.refusals] == [errno.ENOENT]
