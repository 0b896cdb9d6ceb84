"""However busy a mount is, the other tasks of the program run."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.probe import Probe
from triofuse.session.scheduling.handlers import Handlers
from triofuse.testing import open_kernel
from triofuse.testing.messages import encode_request
from triofuse.wire.opcodes import Opcode

#: Asks for a name as fast as it can until standard input is closed.
HAMMER = """
import os, select, sys
while not select.select([0], [], [], 0)[0]:
    for _ in range(50):
        os.stat(sys.argv[1])
"""


@asynccontextmanager
async def ticking(every: float) -> AsyncIterator[list[float]]:
    """Tick, and record by how many seconds each tick is late."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            due = trio.current_time() + every
            await trio.sleep_until(due)
            late.append(trio.current_time() - due)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        yield late
        nursery.cancel_scope.cancel()


@pytest.mark.mount
async def test_a_task_ticks_beside_a_saturated_mount(mountpoint: str) -> None:
    async with t.mount(Probe(), mountpoint) as session, ticking(0.01) as late:

        def popen() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", HAMMER, f"{mountpoint}/plain"]
            return subprocess.Popen(command, stdin=subprocess.PIPE)

        clients = [await trio.to_thread.run_sync(popen) for _ in range(4)]
        while session.statistics().handled < 100_000:
            await trio.sleep(0.05)
        for client in clients:
            await trio.to_thread.run_sync(client.communicate)

    # 1 ms on an idle machine; a busy one takes the CPU away for longer.
    assert sorted(late)[len(late) * 9 // 10] < 0.03


class Toiling(Probe):
    """Takes 50 us for a GETATTR once it may begin, and for ever for a READ."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        super().__init__()
        self.clock = clock
        self.may_begin = trio.Event()
        self.done = 0

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        if not self.done:
            await self.may_begin.wait()
        self.done += 1
        self.clock.jump(50e-6)
        return await super().getattr(request)

    async def read(self, request: t.Read) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize(("waiting", "turns"), [(0, 4), (1, 16)])
async def test_others_run_every_millisecond_and_sooner_where_a_handler_waits(
    waiting: int, turns: int, mock_clock: trio.testing.MockClock
) -> None:
    toiling = Toiling(mock_clock)
    turns_of_others = 0

    async with (
        open_kernel(toiling, max_handlers=1 + waiting, busy_poll=0) as kernel,
        trio.open_nursery() as callers,
    ):
        for _ in range(waiting):
            callers.start_soon(kernel.read, 1, 1)
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(100):
            callers.start_soon(kernel.getattr, 1)
        await trio.testing.wait_all_tasks_blocked()  # 99 wait for the one handler
        toiling.may_begin.set()
        while toiling.done < 100:
            await trio.lowlevel.checkpoint()
            turns_of_others += 1
        callers.cancel_scope.cancel()

    assert turns <= turns_of_others <= 2 * turns  # in 5 ms


class Flooded(Toiling):
    """Queues a hundred requests at each LOOKUP."""

    flood: Callable[[], None] | None = None
    handlers: Handlers | None = None
    most = 0

    async def lookup(self, request: t.Lookup) -> t.Entry:
        assert self.flood is not None
        self.flood()
        return await super().lookup(request)

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        assert self.handlers is not None
        self.most = max(self.most, self.handlers.running)
        return await super().getattr(request)


async def test_who_waits_for_nothing_is_served_by_few_handlers(
    mock_clock: trio.testing.MockClock,
) -> None:
    flooded = Flooded(mock_clock)
    flooded.may_begin.set()

    async with open_kernel(flooded, busy_poll=0) as kernel:

        def flood() -> None:
            for number in range(1000, 1100):
                message = encode_request(
                    Opcode.GETATTR, 2 * number, 1, (0, 0, 0), bytes(16)
                )
                os.write(kernel._socket.fileno(), message)

        flooded.flood = flood
        flooded.handlers = kernel.session._handlers
        await kernel.lookup(1, "plain")
        while flooded.done < 100:  # with pauses, in which the reader could read
            await trio.lowlevel.checkpoint()

    assert flooded.most <= 4  # one, but for a reply that has no room in the socket


class Counting(Probe):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten: Counter[int] = Counter()

    def forget(self, request: t.Forget) -> None:
        self.forgotten[request.nodeid] += request.nlookup


async def test_the_largest_batch_of_forgets_lets_others_run() -> None:
    counting = Counting()
    count = 65_000
    items = b"".join(struct.pack("=2Q", nodeid, 2) for nodeid in range(2, count + 2))
    body = struct.pack("=2I", count, 0) + items
    head = struct.pack(
        "=2I2Q4I", 40 + len(body), Opcode.BATCH_FORGET, 1000, 0, 0, 0, 0, 0
    )

    async with open_kernel(counting) as kernel:
        await kernel.send_raw(head + body)
        while not counting.forgotten:
            await trio.lowlevel.checkpoint()
        entry = await kernel.lookup(1, "plain")  # before the last has been forgotten
        assert len(counting.forgotten) < count
        assert entry.nodeid
        while len(counting.forgotten) < count:
            await trio.lowlevel.checkpoint()

    assert set(counting.forgotten.values()) == {2}
