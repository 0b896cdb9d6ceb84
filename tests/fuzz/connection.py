"""A kernel that keeps the books of a session, and refuses replies as Linux does."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Unpack

import attrs
import trio

from tests.fuzz.ledger import Ledger
from triofuse.device.channel import Channel, ChannelSender
from triofuse.device.dev_fuse import DevFuse
from triofuse.filesystem.replies import Buffer
from triofuse.session.session import Session, SessionOptions
from triofuse.testing import FakeKernel
from triofuse.testing.awaited import os_error
from triofuse.wire.decode import peek
from triofuse.wire.layouts import OUT_HEADER
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND, INTERRUPT_BIT, Opcode

__all__ = ["UNANSWERED", "BookKeeper", "connected"]

UNANSWERED = {
    Opcode.FORGET,
    Opcode.BATCH_FORGET,
    Opcode.INTERRUPT,
    Opcode.NOTIFY_REPLY,
}


@attrs.define(eq=False)
class BookKeeper(FakeKernel):
    """Knows what was asked and what was answered.

    Attributes:
      asked: The opcodes of all requests that went out, by ``unique``.
      answers: How often each of them was answered.
      gone: Those whose callers do not wait any more.
      unwanted: What was answered to them.
    """

    asked: dict[int, int] = attrs.field(factory=dict, init=False)
    answers: Counter[int] = attrs.field(factory=Counter, init=False)
    gone: set[int] = attrs.field(factory=set, init=False)
    unwanted: Counter[int] = attrs.field(factory=Counter, init=False)

    async def send_raw(self, message: bytes) -> None:
        await FakeKernel.send_raw(self, message)
        opcode, unique = peek(message)
        if opcode not in UNANSWERED:
            self.asked[unique & ~FUSE_UNIQUE_RESEND] = opcode

    def vanish(self, unique: int) -> None:
        """Let a caller go at once, as when its request is aborted; not if answered."""
        number = unique & ~FUSE_UNIQUE_RESEND
        if not self.answers[number]:
            self.gone.add(number)
            self.pending.pop(unique).fail(os_error(errno.ECONNABORTED))

    def admit(self, buffers: Sequence[Buffer]) -> None:
        """See whether somebody waits for a reply (``fuse_dev_do_write()``).

        Raises:
          FileNotFoundError: Nobody does.
        """
        _, _, unique = OUT_HEADER.unpack_from(buffers[0])
        number = unique & ~FUSE_UNIQUE_RESEND
        if number == 0 or number & INTERRUPT_BIT:
            return
        if number in self.gone:
            self.unwanted[number] += 1
            raise FileNotFoundError(errno.ENOENT, "nobody waits for this")
        self.answers[number] += 1


@attrs.define(eq=False)
class _Sender(ChannelSender):
    kernel: BookKeeper

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        self.kernel.admit(buffers)
        ChannelSender.send_nowait(self, buffers)

    async def send(self, buffers: Sequence[Buffer]) -> None:
        self.kernel.admit(buffers)
        await ChannelSender.send(self, buffers)


@attrs.define(eq=False)
class _Channel(Channel):
    kernel: BookKeeper = attrs.field(kw_only=True)

    def sender(self) -> ChannelSender:
        return _Sender(self.device, self._turn, self.kernel)


@asynccontextmanager
async def connected(
    ledger: Ledger, **options: Unpack[SessionOptions]
) -> AsyncIterator[BookKeeper]:
    """Serve a ledger, not strictly, for the length of a block."""
    kernel, fd = BookKeeper.pair()
    channel = _Channel(DevFuse(fd), kernel=kernel)
    session = Session(ledger, channel, **options)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.run)
            kernel.session = await nursery.start(session.run)
            await kernel.wait_ready()
            yield kernel
            kernel.unmount()
            session.finish()
    finally:
        channel.close()
        kernel.close()
