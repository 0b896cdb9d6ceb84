"""Large requests are held in bounded memory."""

from __future__ import annotations

import struct
from typing import cast

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.probe import FILES, Probe
from triofuse.device.channel import Channel
from triofuse.session.scheduling.receiver import Receiver
from triofuse.testing import FakeKernel, open_kernel
from triofuse.wire.opcodes import Opcode

SIZE = 256 << 10


class Holding(Probe):
    """Blocks every WRITE until the test releases it."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.most = 0
        self.go = trio.Event()

    async def write(self, request: t.Write) -> int:
        self.held += request.size
        self.most = max(self.most, self.held)
        try:
            await self.go.wait()
            return request.size
        finally:
            self.held -= request.size


async def _write(kernel: FakeKernel, done: list[int]) -> None:
    done.append(await kernel.write(FILES["plain"], 1, 0, bytes(SIZE)))


async def test_no_more_payload_is_read_than_there_is_room_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    holding = Holding()
    done: list[int] = []

    async with open_kernel(holding, max_payload=4 * SIZE) as kernel:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(_write, kernel, done)
            await trio.testing.wait_all_tasks_blocked()
            assert holding.held == 4 * SIZE
            holding.go.set()

        assert done == [SIZE] * 20
        assert kernel.session.statistics().in_flight == 0


async def test_an_interrupt_is_found_although_there_is_no_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    holding = Holding()

    async with open_kernel(holding, max_payload=2 * SIZE) as kernel:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(_write, kernel, [])
            await trio.testing.wait_all_tasks_blocked()
            started = trio.current_time()
            nursery.cancel_scope.cancel()  # both callers get a signal

        assert holding.held == 0
        assert trio.current_time() - started <= 0.1


async def test_whoever_looks_for_interrupts_looks_ever_less_often(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each message read may be another WRITE: memory must not grow fast."""
    holding = Holding()

    async with open_kernel(holding, max_payload=SIZE) as kernel:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(_write, kernel, [])
            await trio.sleep(10)
            assert holding.held <= 20 * SIZE
            holding.go.set()


async def test_an_unmount_is_noticed_although_there_is_no_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    holding = Holding()

    with trio.fail_after(5):
        async with open_kernel(holding, max_payload=SIZE) as kernel:

            async def write() -> None:
                with pytest.raises(OSError, match="abort"):
                    await kernel.write(FILES["plain"], 1, 0, bytes(SIZE))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                await trio.testing.wait_all_tasks_blocked()
                kernel.unmount()
            await kernel.session.wait_unmounted()


class Endless:
    """A device that always has the same request."""

    message = struct.pack("=2I2Q4I", SIZE, Opcode.WRITE, 2, 1, 0, 0, 0, 0)

    def receive(self, buffer: bytearray) -> int:
        buffer[: len(self.message)] = self.message
        return SIZE


async def test_whoever_must_look_finds_one_more_although_there_is_no_room() -> None:
    """Resent requests must be read before any other request is answered."""
    channel = cast("Channel", Endless())
    receiver = Receiver(channel, SIZE, {}, lambda unique: None, max_payload=1)
    first = receiver.receive_nowait()
    assert first is not None
    with pytest.raises(BlockingIOError):
        receiver.receive_nowait()

    receiver.admit_one()

    second = receiver.receive_nowait()
    assert second is not None
    with pytest.raises(BlockingIOError):
        receiver.receive_nowait()
    for _, _, message, _ in (first, second):
        receiver.recycle(message)
    assert receiver.receive_nowait() is not None


async def test_writes_one_after_the_other_come_in_one_buffer() -> None:
    """The buffer that is in the CPU's caches."""
    channel = cast("Channel", Endless())
    receiver = Receiver(channel, SIZE, {}, lambda unique: None, max_payload=SIZE)
    buffers = []
    for _ in range(4):
        arrival = receiver.receive_nowait()
        assert arrival is not None
        assert isinstance(arrival[2], memoryview)
        buffers.append(arrival[2].obj)
        receiver.recycle(arrival[2])

    assert buffers[1] is buffers[2] is buffers[3]
