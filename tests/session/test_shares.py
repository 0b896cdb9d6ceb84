"""One user cannot starve the others, however many requests it has blocked."""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.clients import outcome, start, until
from tests.session.probe import FILES, Probe
from triofuse.session.scheduling.polling import Polling
from triofuse.session.scheduling.shares import Shares
from triofuse.testing import FakeKernel, open_kernel
from triofuse.testing.messages import encode_request
from triofuse.wire import layouts
from triofuse.wire.opcodes import Opcode

SIZE = 256 << 10


class Blocking(Probe):
    """READs and WRITEs block until the test releases them; GETATTRs do not.

    WRITEs to one file come at a time: they are direct, and within its size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.order: list[int] = []
        self.most: Counter[int] = Counter()
        self.now: Counter[int] = Counter()

    def attr(self, nodeid: int) -> t.FileAttr:
        attr = super().attr(nodeid)
        attr.size = 1 << 30
        return attr

    async def open(self, request: t.Open) -> t.Opened:
        opened = await super().open(request)
        opened.flags |= t.OpenFlags.PARALLEL_DIRECT_WRITES
        return opened

    async def _wait(self, uid: int) -> None:
        self.order.append(uid)
        self.now[uid] += 1
        self.most[uid] = max(self.most[uid], self.now[uid])
        try:
            await self.let_go.wait()
        finally:
            self.now[uid] -= 1

    async def read(self, request: t.Read) -> bytes:
        await self._wait(request.uid)
        return b""

    async def write(self, request: t.Write) -> int:
        await self._wait(request.uid)
        return request.size


def send(
    kernel: FakeKernel, opcode: Opcode, unique: int, uid: int, body: bytes
) -> None:
    """Have a request at the device whose answer the fake kernel does not expect."""
    message = encode_request(opcode, unique, FILES["plain"], (uid, 0, 0), body)
    os.write(kernel._socket.fileno(), message)


def read(kernel: FakeKernel, unique: int, uid: int) -> None:
    send(kernel, Opcode.READ, unique, uid, layouts.READ_IN.pack(1, 0, 1, 0, 0, 0))


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_beside_more_blocked_reads_than_handlers_another_user_is_served() -> None:
    blocking = Blocking()
    with trio.fail_after(10):
        async with open_kernel(blocking, max_handlers=20) as kernel:
            for number in range(30):
                read(kernel, 4000 + 2 * number, uid=1)
                await settled()

            assert (await kernel.getattr(FILES["plain"])).ino == FILES["plain"]

            assert blocking.now[1] < 20  # the rest is kept for others
            assert kernel.session.statistics().queued == 30 - blocking.now[1]
            blocking.let_go.set()
            await settled()
            assert len(blocking.order) == 30


async def test_at_the_limit_the_user_with_the_fewest_blocked_requests_is_next() -> None:
    blocking = Blocking()
    with trio.fail_after(10):
        async with open_kernel(blocking, max_handlers=2) as kernel:
            for number, uid in enumerate([1, 1, 1, 1, 2]):
                read(kernel, 4000 + 2 * number, uid)
                await settled()
            blocking.let_go.set()
            await settled()

    assert blocking.order.index(2) == 2  # before the two of the first that came sooner


async def test_requests_that_wait_for_a_lock_leave_all_handlers_to_others() -> None:
    class Locking(Blocking):
        async def setlkw(self, request: t.Setlkw) -> None:
            await self.arrived.wait()

    locking = Locking()
    with trio.fail_after(10):
        async with (
            open_kernel(locking, max_handlers=1) as kernel,
            trio.open_nursery() as nursery,
        ):
            for _ in range(10):
                nursery.start_soon(kernel.setlkw, 2, 7, t.FileLock(type=1))
            await settled()
            await kernel.getattr(2)
            locking.arrived.set()


async def write(kernel: FakeKernel, done: list[int]) -> None:
    done.append(await kernel.write(FILES["plain"], 1, 0, bytes(SIZE)))


async def test_beside_blocked_writes_others_are_served_and_no_write_is_lost() -> None:
    blocking = Blocking()
    done: list[int] = []
    with trio.fail_after(20):
        async with open_kernel(blocking, max_payload=4 * SIZE) as kernel:
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(write, kernel, done)
                while kernel.session.statistics().queued < 16:  # left with the kernel
                    await trio.sleep(0.001)

                await kernel.getattr(FILES["plain"])

                assert blocking.most[0] == 4
                blocking.let_go.set()

            assert done == [SIZE] * 20
            assert kernel.session.statistics().in_flight == 0


async def test_a_write_that_is_left_with_the_kernel_can_be_interrupted() -> None:
    blocking = Blocking()
    with trio.fail_after(20):
        async with open_kernel(blocking, max_payload=SIZE) as kernel:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(write, kernel, [])
                while kernel.session.statistics().queued < 2:
                    await trio.sleep(0.001)
                nursery.cancel_scope.cancel()  # all callers are killed

            assert kernel.session.statistics().in_flight == 0


async def test_a_kernel_that_sends_nothing_again_keeps_writes_to_itself() -> None:
    blocking = Blocking()
    done: list[int] = []
    with trio.fail_after(20):
        async with open_kernel(blocking, minor=39, max_payload=2 * SIZE) as kernel:
            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(write, kernel, done)
                while blocking.most[0] < 2:
                    await trio.sleep(0.001)
                blocking.let_go.set()
            assert done == [SIZE] * 6


#: Writes so many MiB at a time, each with its number in all bytes; prints how many went.
WRITERS = """
import os, sys, threading
threading.stack_size(1 << 17)
done = []
def write(number):
    with open(sys.argv[1], "r+b", buffering=0) as file:
        done.append(os.pwrite(file.fileno(), bytes([number]) * (1 << 20), number << 20))
threads = [threading.Thread(target=write, args=(k,)) for k in range(int(sys.argv[2]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(done) >> 20)
"""


class Checking(Blocking):
    """Records what is written, once it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.written: Counter[int] = Counter()
        self.size = 0
        self.held = self.most_held = 0

    async def write(self, request: t.Write) -> int:
        # In bytes: what is not aligned comes as one large WRITE and a small one.
        self.held += request.size
        self.most_held = max(self.most_held, self.held)
        written = await super().write(request)
        self.held -= request.size
        content = set(bytes(request.data))
        assert content == {request.offset >> 20}
        self.written.update(content)
        self.size += request.size
        return written


@pytest.mark.mount
async def test_what_was_left_with_the_kernel_comes_whole_and_once(
    mountpoint: str,
) -> None:
    checking = Checking()
    with trio.fail_after(60):
        async with t.mount(
            checking, mountpoint, strict=True, max_payload=4 << 20
        ) as session:
            path = f"{mountpoint}/plain"
            writers = await start(sys.executable, "-c", WRITERS, path, "40")
            await until(lambda: session.statistics().queued >= 36)
            assert await trio.to_thread.run_sync(os.path.exists, path)
            checking.let_go.set()
            assert await outcome(writers) == ("40\n", "")
            assert session.statistics().in_flight == 0

    assert checking.most_held <= 5 << 20
    assert (len(checking.written), checking.size) == (40, 40 << 20)


@pytest.mark.mount
async def test_who_is_killed_is_gone_although_its_writes_were_never_read(
    mountpoint: str,
) -> None:
    blocking = Blocking()
    with trio.fail_after(60):
        async with t.mount(blocking, mountpoint, max_payload=2 << 20) as session:
            path = f"{mountpoint}/plain"
            writers = await start(sys.executable, "-c", WRITERS, path, "20")
            await until(lambda: session.statistics().queued >= 18)
            writers.kill()
            await outcome(writers)
            await until(lambda: session.statistics().in_flight == 0)

    assert len(blocking.order) < 20


@pytest.mark.parametrize("limit", [1, 2, 8, 9, 100, 1000])
def test_one_user_alone_takes_most_and_leaves_some(limit: int) -> None:
    shares = Shares(limit)
    while shares.admits(1):
        shares.take(1)

    assert shares.taken == (limit if limit <= 8 else -(-limit * 8 // 9))
    assert shares.crowded
    assert shares.admits(2) == (shares.taken < limit)


def test_two_users_get_the_same() -> None:
    shares = Shares(1000)
    while shares.admits(1) or shares.admits(2):
        for user in (1, 2):
            if shares.admits(user):
                shares.take(user)

    assert abs(shares.held[1] - shares.held[2]) <= 1
    assert shares.taken < 1000
    for user in (1, 2):
        shares.give_back(user, shares.held[user])
    assert (shares.taken, shares.held, shares.crowded) == (0, {}, False)


async def test_who_has_not_replied_since_it_slept_does_not_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a promoted handler polled, the blocked one could not go on meanwhile."""
    polls: list[int] = []
    monkeypatch.setattr(Polling, "poll", lambda self, answered: polls.append(answered))
    blocking = Blocking()
    with trio.fail_after(10):
        async with open_kernel(blocking) as kernel:
            await kernel.lookup(1, "plain")
            await settled()
            polls.clear()
            read(kernel, 4000, uid=1)
            await settled()
            assert polls == []
            blocking.let_go.set()
            await settled()
            assert polls == [Opcode.READ]
