"""READs that are answered with an open file in place of its bytes."""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.shelf import CONTENTS, PAGE, PLAIN, Shelf, drop, fake
from triofuse.session.answering.file_buffers import FileBuffers, read_file
from triofuse.testing import FakeKernel, open_kernel


async def errno_of_read(kernel: FakeKernel) -> int | None:
    with pytest.raises(OSError, match="Errno") as caught:
        await kernel.read(PLAIN, 1, 0, 100)
    return caught.value.errno


def tells(path: Path) -> bool:
    """Whether the filesystem supports RWF_NOWAIT."""
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except OSError as exc:
            return exc.errno != errno.EOPNOTSUPP
    return True


@asynccontextmanager
async def no_threads(kernel: FakeKernel) -> AsyncIterator[None]:
    """Use up all threads of a session for the length of a block."""
    service = kernel.session._service
    assert service is not None
    limiter = service._buffers.readers
    before, limiter.total_tokens = limiter.total_tokens, 1
    try:
        async with limiter:
            yield
    finally:
        limiter.total_tokens = before


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 1), (0, PAGE), (PAGE - 1, 2), (0, 1 << 20), (17, 1 << 20), (1 << 20, 5)],
)
async def test_the_bytes_of_the_file_are_the_reply(
    shelf: Shelf, offset: int, size: int
) -> None:
    async with fake(shelf) as kernel:
        data = await kernel.read(PLAIN, 1, offset, size)

    assert data == CONTENTS[offset : offset + size]


async def test_the_end_of_the_file_is_a_short_reply(shelf: Shelf) -> None:
    async with fake(shelf) as kernel:
        across = await kernel.read(PLAIN, 1, len(CONTENTS) - 3, 100)
        beyond = await kernel.read(PLAIN, 1, len(CONTENTS) + 3, 100)

    assert (across, beyond) == (CONTENTS[-3:], b"")


async def test_what_was_sent_is_counted(shelf: Shelf) -> None:
    with trio.fail_after(10):
        async with open_kernel(shelf, measure=True) as kernel:
            await kernel.read(PLAIN, 1, 0, 1000)
            await kernel.read(PLAIN, 1, len(CONTENTS) - 7, 1000)
            statistics = kernel.session.statistics()

    assert statistics.bytes_sent == 1007
    assert statistics.operations["READ"].handled == 2


async def test_less_than_was_asked_for_may_be_named(shelf: Shelf) -> None:
    shelf.change = lambda data: attrs.evolve(data, size=min(data.size, 10))

    async with fake(shelf) as kernel:
        assert await kernel.read(PLAIN, 1, 5, 100) == CONTENTS[5:15]


async def test_a_file_that_has_shrunk_is_a_short_reply(shelf: Shelf) -> None:
    os.truncate(shelf.path, 50)

    async with fake(shelf) as kernel:
        assert await kernel.read(PLAIN, 1, 40, 100) == CONTENTS[40:50]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"fd": 1 << 20}, errno.EBADF),
        ({"offset": (1 << 63) - 1, "size": 2}, errno.EINVAL),
    ],
)
async def test_an_error_of_the_file_is_the_callers(
    shelf: Shelf, changes: dict[str, int], error: int
) -> None:
    shelf.change = lambda data: attrs.evolve(data, **changes)

    async with fake(shelf) as kernel:
        assert await errno_of_read(kernel) == error
        statistics = kernel.session.statistics()

    assert statistics.operations["READ"].failed == {error: 1}


async def test_a_pipe_has_no_offsets(shelf: Shelf) -> None:
    read_end, write_end = os.pipe()
    shelf.change = lambda data: attrs.evolve(data, fd=read_end)

    async with fake(shelf) as kernel:
        assert await errno_of_read(kernel) == errno.ESPIPE
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": -1}, "a FileData with size -1"),
        ({"size": 101}, "101 bytes read where 100 were asked for"),
        ({"offset": -1}, "a FileData with offset -1"),
    ],
)
async def test_a_place_that_no_file_has_is_a_bug(
    shelf: Shelf,
    changes: dict[str, int],
    complaint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf.change = lambda data: attrs.evolve(data, **changes)

    with trio.fail_after(10):
        async with open_kernel(shelf, strict=False) as kernel:
            assert await errno_of_read(kernel) == errno.EIO

    assert complaint in caplog.text


async def test_what_the_page_cache_has_takes_no_thread(shelf: Shelf) -> None:
    if not tells(shelf.path):
        pytest.skip("this filesystem cannot tell what is cached")

    async with fake(shelf) as kernel, no_threads(kernel):
        shelf.path.read_bytes()
        assert await kernel.read(PLAIN, 1, 0, 1 << 20) == CONTENTS[: 1 << 20]


async def test_other_requests_are_served_while_a_file_is_read_from_its_disk(
    shelf: Shelf,
) -> None:
    got: list[bytes] = []

    async with fake(shelf) as kernel:

        async def read() -> None:
            got.append(await kernel.read(PLAIN, 1, 0, PAGE))

        async with trio.open_nursery() as nursery:
            async with no_threads(kernel):
                drop(shelf.path)
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                assert shelf.calls["read"] == 1
                await kernel.getattr(PLAIN)
                assert got == []

    assert got == [CONTENTS[:PAGE]]


async def test_a_read_that_waits_for_a_thread_is_interrupted(shelf: Shelf) -> None:
    async with fake(shelf) as kernel, no_threads(kernel):
        drop(shelf.path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.read, PLAIN, 1, 0, PAGE)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()  # the caller gets a signal

        assert kernel.session.statistics().interrupted == 1


async def test_a_program_that_uses_all_threads_can_read_its_own_mount(
    shelf: Shelf,
) -> None:
    common = trio.to_thread.current_default_thread_limiter()

    async with fake(shelf) as kernel:
        async with trio.open_nursery() as nursery:
            for _ in range(int(common.total_tokens)):
                nursery.start_soon(common.acquire_on_behalf_of, object())
        drop(shelf.path)
        assert common.available_tokens == 0
        try:
            assert await kernel.read(PLAIN, 1, 0, PAGE) == CONTENTS[:PAGE]
        finally:
            for borrower in common.statistics().borrowers:
                common.release_on_behalf_of(borrower)


@pytest.fixture
def no_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the start of a thread fail, as at RLIMIT_NPROC or pids.max."""

    async def run_sync(*args: object, **kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


async def test_where_no_thread_can_be_started_the_bytes_are_read_all_the_same(
    shelf: Shelf, no_thread_starts: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake(shelf) as kernel:
        drop(shelf.path)
        assert await kernel.read(PLAIN, 1, 0, PAGE) == CONTENTS[:PAGE]

    if not tells(shelf.path):
        assert "can't start new thread" in caplog.text


async def test_many_files_are_read_at_once(shelf: Shelf) -> None:
    got: dict[int, bytes] = {}

    async with fake(shelf) as kernel:

        async def read(offset: int) -> None:
            got[offset] = await kernel.read(PLAIN, 1, offset, 10 * PAGE)

        async with trio.open_nursery() as nursery:
            drop(shelf.path)
            for page in range(100):
                nursery.start_soon(read, page * PAGE)

    assert all(data == CONTENTS[at : at + 10 * PAGE] for at, data in got.items())
    assert len(got) == 100


@pytest.mark.mount
async def test_a_mount_reads_what_is_in_the_file(shelf: Shelf, mountpoint: str) -> None:
    def read() -> list[bytes]:
        fd = os.open(f"{mountpoint}/plain", os.O_RDONLY)  # DIRECT_IO: as it is asked
        buffer = mmap.mmap(-1, 1 << 20)
        whole = os.preadv(fd, (buffer,), 0)
        first = buffer[:whole]
        parts = [os.pread(fd, 3 * PAGE, 17), os.pread(fd, 100, 1 << 20)]
        beyond = os.pread(fd, 100, len(CONTENTS))
        os.close(fd)
        return [first, *parts, beyond]

    with trio.fail_after(20):
        async with t.mount(shelf, mountpoint, strict=True):
            got = await trio.to_thread.run_sync(read)

    end = CONTENTS[1 << 20 :]
    assert got == [CONTENTS[: 1 << 20], CONTENTS[17 : 17 + 3 * PAGE], end, b""]


@pytest.mark.mount
async def test_a_file_that_is_truncated_meanwhile_breaks_no_message(
    shelf: Shelf, mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = [0, PAGE, 5, 1 << 20, 3 * PAGE - 1]
    done = threading.Event()

    def truncate() -> None:
        for size in itertools.cycle(sizes):
            os.truncate(shelf.path, size)
            if done.is_set():
                break

    def read() -> list[bytes]:
        fd = os.open(f"{mountpoint}/plain", os.O_RDONLY)
        got = [os.pread(fd, 1 << 20, 0) for _ in range(300)]
        os.close(fd)
        done.set()
        return got

    shelf.path.write_bytes(bytes(1 << 20))
    with trio.fail_after(20):
        async with t.mount(shelf, mountpoint), trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, truncate)
            try:
                got = await trio.to_thread.run_sync(read)
            finally:
                done.set()

    assert not any(data.strip(b"\0") for data in got)
    assert caplog.text == ""


# --- The buffers


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_a_buffer_begins_with_a_page() -> None:
    view = FileBuffers().lend(100)

    assert len(view) == 100
    assert address(view) % PAGE == 0


def test_a_buffer_is_lent_again_once_it_is_back() -> None:
    buffers = FileBuffers()
    first, second = buffers.lend(100), buffers.lend(100)

    buffers.take_back(first)
    third = buffers.lend(1 << 20)

    assert first.obj is not second.obj
    assert third.obj is first.obj


def test_few_buffers_are_kept() -> None:
    buffers = FileBuffers()
    lent = [buffers.lend(1) for _ in range(10)]

    for view in lent:
        buffers.take_back(view)
    again = [buffers.lend(1).obj for _ in range(10)]

    assert len([view for view in lent if view.obj in again]) == 4


def test_a_larger_buffer_is_there_for_a_kernel_with_larger_requests() -> None:
    """A kernel whose fs.fuse.max_pages_limit was raised; it is not kept."""
    buffers = FileBuffers()
    view = buffers.lend((1 << 20) + 1)

    buffers.take_back(view)
    small = buffers.lend(1)

    assert len(view) == (1 << 20) + 1
    assert address(view) % PAGE == 0
    assert small.obj is not view.obj


async def test_a_file_is_read_to_its_end_where_its_beginning_is_cached(
    shelf: Shelf,
) -> None:
    """RWF_NOWAIT returns less than requested: that is not yet the end of the file."""
    drop(shelf.path)
    fd = shelf.file.fileno()
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(fd, PAGE, 0)
    view = memoryview(bytearray(1 << 20))

    size = await read_file(t.FileData(fd, 0, 1 << 20), view, FileBuffers().readers)

    assert (size, bytes(view)) == (1 << 20, CONTENTS[: 1 << 20])
