"""INTERRUPT: callers of a FakeKernel that are cancelled."""

from __future__ import annotations

import errno
import stat

import pytest
import trio

from tests.testing.scripted import (
    SILENCE,
    Call,
    fails,
    reply,
    scripted,
    until,
)
from triofuse.filesystem import requests as r
from triofuse.filesystem.replies import (
    Entry,
    FileAttr,
    Opened,
)
from triofuse.wire.control import Interrupt
from triofuse.wire.opcodes import Opcode

FILE = FileAttr(7, stat.S_IFREG | 0o644)
ENTRY = Entry(FILE)


async def test_a_cancelled_caller_interrupts_once_and_waits_for_the_answer() -> None:
    async with scripted({Opcode.GETATTR: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.getattr, 7)
            await until(lambda: Opcode.GETATTR in server.opcodes)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await until(lambda: Opcode.INTERRUPT in server.opcodes)
                await kernel.interrupt(4)
                assert list(kernel.pending) == [4]
                assert kernel.pending[4].interrupted
                await server.send(reply(4, error=-errno.EINTR))
        assert kernel.pending == {}

    assert server.requests[1:] == [Interrupt(5, 0, 0, 0, 0, 4)]
    assert kernel.refusals == []


async def test_an_interrupted_caller_gets_eintr() -> None:
    async with scripted({Opcode.GETATTR: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.EINTR, kernel.getattr, 7)
            await until(lambda: bool(kernel.pending))
            await kernel.interrupt(4)
            await server.send(reply(4, error=-errno.EINTR))


async def test_what_is_not_pending_is_not_interrupted() -> None:
    async with scripted() as (kernel, server):
        await kernel.interrupt(4)

    assert server.requests == []


async def test_an_interrupt_may_be_answered_itself() -> None:
    async with scripted({Opcode.GETATTR: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.ENOENT, kernel.getattr, 7)
            await until(lambda: bool(kernel.pending))
            await kernel.interrupt(4)
            await server.send(reply(5, b"x"))  # more than a header
            await server.send(reply(5))
            await server.send(reply(5, error=-errno.EAGAIN))  # not known yet
            await until(lambda: server.opcodes.count(Opcode.INTERRUPT) == 2)
            await server.send(reply(5, error=-errno.ENOSYS))  # never again
            await until(lambda: Opcode.INTERRUPT in kernel.unsupported)
            kernel.pending[4].interrupted = False
            await kernel.interrupt(4)
            await server.send(reply(4, error=-errno.ENOENT))

    assert server.opcodes.count(Opcode.INTERRUPT) == 2
    assert [refusal.errno for refusal in kernel.refusals] == [errno.EINVAL]


async def test_a_request_that_is_cancelled_before_it_goes_out_never_was() -> None:
    async with scripted({Opcode.GETATTR: FILE}) as (kernel, server):
        with trio.CancelScope() as scope:
            scope.cancel()
            await kernel.getattr(7)

        assert scope.cancelled_caught
        assert kernel.pending == {}

    assert server.requests == []


async def test_a_request_that_is_cancelled_while_it_waits_to_go_out_never_was() -> None:
    async with scripted({Opcode.GETATTR: FILE}) as (kernel, server):
        async with kernel._turn, trio.open_nursery() as nursery:
            nursery.start_soon(kernel.getattr, 7)
            await until(lambda: kernel.pending)
            nursery.cancel_scope.cancel()
        assert kernel.pending == {}

    assert server.requests == []


@pytest.mark.parametrize(
    ("call", "opcode", "value", "released"),
    [
        (
            lambda k: k.open(7),
            Opcode.OPEN,
            Opened(0xF00),
            r.Release(6, 7, 0, 0, 0, 0xF00, 0, 0, 0),
        ),
        (
            lambda k: k.opendir(7),
            Opcode.OPENDIR,
            Opened(0xF00),
            r.Releasedir(6, 7, 0, 0, 0, 0xF00, 0, 0, 0),
        ),
        (
            lambda k: k.create(1, "a"),
            Opcode.CREATE,
            (ENTRY, Opened(0xF00)),
            r.Release(6, 7, 0, 0, 0, 0xF00, 0, 0, 0),
        ),
        (lambda k: k.lookup(1, "a"), Opcode.LOOKUP, ENTRY, None),
    ],
)
async def test_what_is_opened_for_a_caller_that_is_gone_is_released(
    call: Call, opcode: Opcode, value: object, released: r.Request | None
) -> None:
    answers: dict[int, object] = {
        opcode: SILENCE,
        Opcode.RELEASE: None,
        Opcode.RELEASEDIR: None,
    }

    async with scripted(answers) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, kernel)
            await until(lambda: opcode in server.opcodes)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await until(lambda: Opcode.INTERRUPT in server.opcodes)
                body = bytes(server.rows[opcode].encode(value, server.requests[0]))
                await server.send(reply(4, body))
        assert sum(kernel.lookups.values()) == (
            opcode in (Opcode.CREATE, Opcode.LOOKUP)
        )

    after = server.requests[2:]
    assert after == ([] if released is None else [released])
