"""How the connection of a FakeKernel ends."""

from __future__ import annotations

import errno
import os

import trio

from tests.testing.scripted import (
    SILENCE,
    fails,
    reply,
    scripted,
    until,
)
from triofuse.testing import FakeKernel
from triofuse.wire.opcodes import Opcode


async def test_after_an_unmount_nothing_can_be_asked() -> None:
    async with scripted() as (kernel, server):
        kernel.unmount()
        kernel.unmount()
        for call in (kernel.statfs, kernel.forget_all):
            await fails(errno.ENOTCONN, call)
            kernel.lookups[7] = 1

    assert server.requests == []


async def test_what_was_asked_before_an_unmount_is_answered() -> None:
    async with scripted({Opcode.GETATTR: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.ENOENT, kernel.getattr, 7)
            await until(lambda: bool(kernel.pending))
            await server.send(reply(4, error=-errno.ENOENT))
            kernel.unmount()


async def test_who_waits_when_the_server_closes_gets_econnaborted() -> None:
    async with scripted({Opcode.GETATTR: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.ECONNABORTED, kernel.getattr, 7)
            await until(lambda: Opcode.GETATTR in server.opcodes)
            server.socket.shutdown(2)
        await fails(errno.ENOTCONN, kernel.getattr, 7)


async def test_an_abort_lets_everybody_go() -> None:
    async with scripted({Opcode.GETATTR: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.ECONNABORTED, kernel.getattr, 7)
            await until(lambda: Opcode.GETATTR in server.opcodes)
            kernel.abort()
            kernel.abort()
        await fails(errno.ENOTCONN, kernel.getattr, 7)


async def test_a_server_that_closes_unread_messages_is_gone() -> None:
    kernel, fd = FakeKernel.pair()
    try:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.run)
                await until(lambda: bool(kernel.pending))
                os.close(fd)
        await fails(errno.ENOTCONN, kernel.wait_ready)
        await fails(errno.ENOTCONN, kernel.send_raw, b"")
    finally:
        kernel.close()


async def test_a_kernel_that_is_cancelled_lets_everybody_go() -> None:
    kernel, fd = FakeKernel.pair()
    try:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.run)
                await until(lambda: bool(kernel.pending))
                nursery.cancel_scope.cancel()
        assert kernel.pending == {}
    finally:
        kernel.close()
        os.close(fd)


async def test_what_is_sent_to_a_server_that_has_just_closed_is_enotconn() -> None:
    kernel, fd = FakeKernel.pair()
    os.close(fd)
    try:
        await fails(errno.ENOTCONN, kernel.send_raw, b"anything")
    finally:
        kernel.close()
