"""A server with scripted replies, at the other end of a FakeKernel."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from triofuse.filesystem.flags import InitFlags
from triofuse.filesystem.requests import Request
from triofuse.testing import LINUX_6_18, FakeKernel, Offer
from triofuse.wire import layouts
from triofuse.wire.control import CONTROL
from triofuse.wire.decode import peek
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import Operation, operations_for

#: An answer that never comes.
SILENCE = object()

DEFAULTS = InitFlags.INIT_EXT | InitFlags.SETXATTR_EXT | InitFlags.MAX_PAGES


#: A system call.
Call = Callable[[FakeKernel], Awaitable[Any]]


async def fails(error: int, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
    """Check that a call fails with an errno."""
    with pytest.raises(OSError, match=rf"^\[Errno {error}\] "):
        await call(*args)


async def until(condition: Callable[[], object]) -> None:
    """Yield to the other tasks until a condition holds."""
    while not condition():
        await trio.testing.wait_all_tasks_blocked()


def init_out(**fields: int) -> Body:
    """Return a fuse_init_out that accepts everything, except for the given fields."""
    values = {
        "major": 7,
        "minor": 45,
        "max_readahead": 131072,
        "flags": DEFAULTS,
        "max_write": 1 << 20,
        "max_pages": 256,
        **fields,
    }
    names = layouts.INIT_OUT.fields
    return Body(layouts.INIT_OUT.pack(*(values.get(name, 0) for name in names)))


def reply(unique: int, body: bytes = b"", *, error: int = 0) -> bytes:
    """Return a message for the kernel."""
    return layouts.OUT_HEADER.pack(16 + len(body), error, unique) + body


@attrs.frozen
class Body:
    """A reply body in raw bytes, valid or not."""

    content: bytes = b""


@attrs.define(eq=False)
class ScriptedServer:
    """Answers each operation as scripted, and records the requests.

    Attributes:
      answers: By opcode: a value, a function of the request that returns one, an
        OSError, a Body, or SILENCE.  ENOSYS for an opcode that is missing.
      requests: The requests received, without INIT.
      inits: The bodies of the INIT requests.
    """

    socket: trio.socket.SocketType
    answers: dict[int, object]
    rows: dict[int, Operation]
    requests: list[Request] = attrs.field(factory=list)
    opcodes: list[int] = attrs.field(factory=list)
    messages: list[bytes] = attrs.field(factory=list)
    inits: list[bytes] = attrs.field(factory=list)

    async def run(self) -> None:
        try:
            while message := await self.socket.recv(2 << 20):
                await self._serve(message)
        finally:
            self.socket.close()

    async def send(self, message: bytes) -> None:
        await self.socket.send(message)

    async def _serve(self, message: bytes) -> None:
        opcode, unique = peek(message)
        if opcode == Opcode.INIT:
            self.inits.append(message[40:])
            await self._answer(opcode, unique, None)
            return
        self.messages.append(message)
        self.opcodes.append(opcode)
        row = self.rows.get(opcode)
        decode = row.decode if row else CONTROL[opcode]
        request = decode(message)
        self.requests.append(request)
        if row or opcode in self.answers:
            await self._answer(opcode, unique, request)

    async def _answer(self, opcode: int, unique: int, request: Request | None) -> None:
        answer = self.answers.get(opcode, OSError(errno.ENOSYS, ""))
        if answer is SILENCE:
            return
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, OSError):
            assert answer.errno is not None
            await self.send(reply(unique, error=-answer.errno))
            return
        if isinstance(answer, Body):
            await self.send(reply(unique, answer.content))
            return
        await self.send(reply(unique, bytes(self.rows[opcode].encode(answer, request))))


@asynccontextmanager
async def scripted(
    answers: dict[int, object] | None = None,
    *,
    offer: Offer | None = None,
    init: object = None,
    minor: int = 45,
    flags: InitFlags = DEFAULTS,
) -> AsyncIterator[tuple[FakeKernel, ScriptedServer]]:
    """Connect a FakeKernel with a ScriptedServer.

    Args:
      answers: The scripted replies of the server.
      offer: The INIT request of the kernel.
      init: The server's reply to INIT; by default it accepts everything.
      minor: The minor version of the server.
      flags: The flags that the server wants.
    """
    low, high = flags & 0xFFFFFFFF, flags >> 32
    whole = init_out(minor=minor, flags=low, flags2=high)
    script = {Opcode.INIT: whole if init is None else init, **(answers or {})}
    kernel, fd = FakeKernel.pair(offer or Offer(flags=LINUX_6_18))
    end = trio.socket.from_stdlib_socket(socket.socket(fileno=fd))
    server = ScriptedServer(end, script, operations_for(minor, flags))
    try:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.run)
                nursery.start_soon(server.run)
                with suppress(OSError):
                    await kernel.wait_ready()
                yield kernel, server
                kernel.unmount()
    finally:
        kernel.close()
