"""A filesystem served to a FakeKernel: a real session, and no mount."""

from __future__ import annotations

import errno
import logging
import math
import os

import pytest
import trio
import trio.testing

from tests.testing.scripted import fails, until
from tests.testing.shelf import HOUR, Shelf
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.flags import InitFlags
from triofuse.testing import LINUX_6_18, FakeKernel, open_kernel
from triofuse.wire.layouts import READ_IN
from triofuse.wire.opcodes import Opcode


async def test_a_filesystem_is_served_without_a_mount() -> None:
    shelf = Shelf()

    async with open_kernel(shelf) as kernel:
        entry = await kernel.lookup(1, "file2")
        opened = await kernel.open(entry.nodeid)
        content = await kernel.read(entry.nodeid, opened.fh)
        await kernel.release(entry.nodeid, opened.fh)
        listed = [found.name for found in await kernel.readdir()]

        assert content == b"text"
        assert listed == [".", "..", *shelf.names]
        assert (await kernel.getattr(1)).is_dir
        with pytest.raises(FileNotFoundError):
            await kernel.lookup(1, "missing")

    assert shelf.calls["destroy"] == 1
    assert not shelf.handles
    assert kernel.refusals == []


async def test_what_is_written_can_be_read() -> None:
    content = os.urandom(700_000)

    async with open_kernel(Shelf()) as kernel:
        entry, opened = await kernel.create(1, "new", os.O_RDWR)
        written = await kernel.write(entry.nodeid, opened.fh, 0, content)
        read = await kernel.read(entry.nodeid, opened.fh, 0, 1 << 20)

    assert written == len(content)
    assert read == content


@pytest.mark.parametrize("minor", [3, 8, 11, 22, 45])
async def test_every_protocol_is_spoken(minor: int) -> None:
    shelf = Shelf()

    async with open_kernel(shelf, minor=minor) as kernel:
        entry, opened = await kernel.create(1, "new")
        await kernel.write(entry.nodeid, opened.fh, 0, b"content")
        assert (await kernel.lookup(1, "new")).attr.size == 7
        assert (await kernel.getattr(entry.nodeid)).size == 7
        assert await kernel.read(entry.nodeid, opened.fh) == b"content"
        assert (await kernel.statfs()).blocks == 0
        await kernel.forget_all()
        assert kernel.negotiated.minor == minor

    assert kernel.refusals == []
    assert not +shelf.lookups


async def test_the_offer_reaches_the_filesystem() -> None:
    shelf = Shelf()
    flags = LINUX_6_18 & ~InitFlags.ASYNC_READ

    async with open_kernel(shelf, flags=flags, max_readahead=4096) as kernel:
        granted = kernel.negotiated.granted
        assert kernel.negotiated.max_readahead == 4096

    assert shelf.config is not None
    assert shelf.config.offered == flags
    assert InitFlags.ASYNC_READ not in granted
    assert InitFlags.DO_READDIRPLUS in granted, "the method is there"


async def test_two_kernels_do_not_know_each_other() -> None:
    async with open_kernel(Shelf(1)) as one, open_kernel(Shelf(2)) as two:
        assert len(await one.readdir()) + 1 == len(await two.readdir())


# --- Lookup counts


async def test_lookups_balance() -> None:
    shelf = Shelf(100)

    async with open_kernel(shelf) as kernel:
        for name in ("file2", "file3", "file2"):
            await kernel.lookup(1, name)
        await kernel.readdirplus(size=1000)
        await kernel.create(1, "new")
        assert kernel.lookups == shelf.lookups

        await kernel.forget(2, 2)
        await kernel.forget(3)
        await until(lambda: +shelf.lookups == +kernel.lookups)
        await kernel.forget_all()
        await until(lambda: not +shelf.lookups)

    assert not +kernel.lookups


async def test_what_is_looked_up_while_all_is_forgotten_still_counts() -> None:
    shelf = Shelf()

    async with open_kernel(shelf) as kernel:
        await kernel.lookup(1, "file2")
        async with kernel._turn, trio.open_nursery() as nursery:
            nursery.start_soon(kernel.forget_all)
            await trio.testing.wait_all_tasks_blocked()
            kernel.lookups[3] += 1  # the reply to an earlier lookup
            shelf.lookups[3] += 1
            kernel._turn.release()
            await trio.testing.wait_all_tasks_blocked()
            await kernel._turn.acquire()

        assert +kernel.lookups == +shelf.lookups == {3: 1}


async def test_entries_of_a_listing_that_is_left_are_forgotten() -> None:
    shelf = Shelf(100)

    async with open_kernel(shelf) as kernel:
        opened = await kernel.opendir()
        page = READ_IN.pack(opened.fh, 0, 400, 0, 0, 0)
        assert await kernel.request(Opcode.READDIRPLUS, 1, page)
        assert sum(shelf.lookups.values()) == 1, "made, but it did not fit"
        await kernel.releasedir(1, opened.fh)
        assert not +shelf.lookups


# --- Callers that are cancelled


async def test_a_cancelled_caller_cancels_the_method(
    autojump_clock: trio.testing.MockClock,
) -> None:
    shelf = Shelf()

    async with open_kernel(shelf) as kernel:
        with trio.move_on_after(5) as patience:
            await kernel.read(shelf.names["slow"], 0)

        assert patience.cancelled_caught
        assert trio.current_time() < HOUR
        assert kernel.pending == {}
        assert kernel.session.statistics().in_flight == 0

    assert shelf.calls["slow"] == 1


async def test_an_interrupted_caller_gets_eintr() -> None:
    shelf = Shelf()

    async with open_kernel(shelf) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.EINTR, kernel.read, shelf.names["slow"], 0)
            await until(lambda: shelf.calls["slow"])
            (unique,) = kernel.pending
            await kernel.interrupt(unique)


async def test_a_file_opened_for_a_caller_that_is_gone_is_released() -> None:
    shelf = Shelf()

    async with open_kernel(shelf) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.open, shelf.names["stubborn"])
            await shelf.arrived.wait()
            nursery.cancel_scope.cancel()
            shelf.let_go.set()

        assert shelf.calls["open"] == 1
        assert not shelf.handles


async def test_an_interrupt_passes_requests_that_wait_for_a_handler() -> None:
    shelf = Shelf()
    slow = shelf.names["slow"]

    async with open_kernel(shelf, max_handlers=1) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.EINTR, kernel.read, slow, 0)
            await until(lambda: shelf.calls["slow"])
            nursery.start_soon(kernel.lookup, 1, "file2")
            await until(lambda: kernel.session.statistics().queued)
            await kernel.interrupt(min(kernel.pending))

    assert kernel.lookups == {2: 1}


# --- Time


async def test_an_hour_passes_at_once(autojump_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()
    answers = []

    async def read(kernel: FakeKernel) -> None:
        answers.append(await kernel.read(shelf.names["slow"], 0))

    async with open_kernel(shelf) as kernel:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(read, kernel)
        assert trio.current_time() == HOUR

    assert answers == [b"at last"] * 10


async def test_time_can_be_moved_by_hand(mock_clock: trio.testing.MockClock) -> None:
    shelf = Shelf()

    async with open_kernel(shelf) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.read, shelf.names["slow"], 0)
            await until(lambda: shelf.calls["slow"])
            mock_clock.jump(HOUR - 1)
            await trio.testing.wait_all_tasks_blocked()
            assert kernel.pending
            mock_clock.jump(1)


# --- Bugs and errors


async def test_a_bug_ends_the_block() -> None:
    shelf = Shelf()

    with pytest.raises(ZeroDivisionError, match="a bug"):
        async with open_kernel(shelf) as kernel:
            with pytest.raises(OSError, match="Input/output error"):
                await kernel.read(shelf.names["broken"], 0)
            await trio.sleep(math.inf)

    assert shelf.calls["destroy"] == 1


async def test_a_bug_is_what_is_raised_where_its_caller_fails_too() -> None:
    shelf = Shelf()

    with pytest.raises(ZeroDivisionError, match="a bug") as bug:
        async with open_kernel(shelf) as kernel:
            await kernel.read(shelf.names["broken"], 0)

    assert isinstance(bug.value.__cause__, OSError)


async def test_a_bug_is_eio_where_that_is_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf()

    async with open_kernel(shelf, strict=False) as kernel:
        for _ in range(2):
            await fails(errno.EIO, kernel.read, shelf.names["broken"], 0)

    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_a_filesystem_that_cannot_start_says_why() -> None:
    class Unready(Shelf):
        async def init(self, config: KernelConfig) -> None:
            raise PermissionError(errno.EACCES, "no key")

    with pytest.raises(PermissionError, match="no key"):
        async with open_kernel(Unready()):
            pytest.fail("not reached")


async def test_an_error_in_the_block_is_raised_as_it_is() -> None:
    shelf = Shelf()

    with pytest.raises(LookupError, match="mine"):
        async with open_kernel(shelf):
            raise LookupError("mine")

    assert shelf.calls["destroy"] == 1


async def test_a_block_can_be_cancelled_from_outside() -> None:
    shelf = Shelf()

    with trio.CancelScope() as scope:
        async with open_kernel(shelf) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.read, shelf.names["slow"], 0)
                await until(lambda: shelf.calls["slow"])
                scope.cancel()

    assert scope.cancelled_caught
    assert shelf.calls["destroy"] == 1


# --- The kernel misbehaves, or closes its end


async def test_nonsense_is_eio_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    async with open_kernel(Shelf()) as kernel:
        for opcode in (Opcode.OPEN, Opcode.LOOKUP, Opcode.WRITE, Opcode.SETATTR):
            await fails(errno.EIO, kernel.request, opcode, 1, b"\0\0\0")
        await fails(errno.ENOSYS, kernel.request, 999, 1, b"")
        await kernel.send_raw(b"no message at all")
        await kernel.send_raw(bytes(100))
        assert (await kernel.getattr(1)).is_dir

    assert "makes no sense" in caplog.text
    assert "malformed" in caplog.text


async def test_a_filesystem_may_be_unmounted_from_outside() -> None:
    shelf = Shelf()

    async with open_kernel(shelf) as kernel:
        await kernel.open(2)
        kernel.unmount()
        await kernel.session.wait_unmounted()
        await fails(errno.ENOTCONN, kernel.getattr, 1)

        assert not shelf.handles, "the kernel sends no RELEASE then"
        assert shelf.calls["destroy"] == 1


async def test_an_abort_releases_every_caller() -> None:
    shelf = Shelf()
    slow = shelf.names["slow"]

    async with open_kernel(shelf) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.ECONNABORTED, kernel.read, slow, 0)
            await until(lambda: shelf.calls["slow"])
            kernel.abort()
        await kernel.session.wait_unmounted()

    assert shelf.calls["destroy"] == 1
