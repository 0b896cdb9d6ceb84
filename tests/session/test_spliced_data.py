"""Large READs from the page cache are spliced, not copied."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

import triofuse as t
from tests.session.shelf import CONTENTS, PAGE, PLAIN, Shelf, drop, fake
from triofuse.device import splicer
from triofuse.device.splicer import SPLICED, Splicer
from triofuse.wire.encode import encode_header

MEBIBYTE = 1 << 20

#: Fits into a pipe, however memory is cut up.
LARGE = MEBIBYTE - 2 * PAGE


@attrs.define
class Record:
    """The calls of splicers, and whether each was spliced.

    Attributes:
      sent: By request, in order.
    """

    sent: list[bool] = attrs.Factory(list)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    record, send = Record(), Splicer.send

    def recorded(self: Splicer, header: bytes, data: t.FileData) -> bool:
        record.sent.append(send(self, header, data))
        return record.sent[-1]

    monkeypatch.setattr(Splicer, "send", recorded)
    return record


@pytest.fixture
def _can_tell(shelf: Shelf) -> None:
    fd = shelf.file.fileno()
    device = t.DevFuse(os.dup(fd))
    known = Splicer(device)._is_cached(t.FileData(fd, 0, PAGE))
    device.close()
    if not known:
        pytest.skip("what is cached cannot be told here")


can_tell = pytest.mark.usefixtures("_can_tell")


class Client:
    """Reads a file of a mount, from other threads; every READ is its own."""

    def __init__(self, mountpoint: str) -> None:
        self.fd = os.open(f"{mountpoint}/plain", os.O_RDONLY)

    async def read(self, offset: int, size: int) -> bytes:
        buffer = mmap.mmap(-1, size)  # from a page on, or it takes two READs
        got = await trio.to_thread.run_sync(os.preadv, self.fd, (buffer,), offset)
        return buffer[:got]


@asynccontextmanager
async def mounted(shelf: Shelf, mountpoint: str) -> AsyncIterator[Client]:
    with trio.fail_after(20):
        async with t.mount(shelf, mountpoint, strict=True):
            client = await trio.to_thread.run_sync(Client, mountpoint)
            try:
                yield client
            finally:
                await trio.to_thread.run_sync(os.close, client.fd)


@can_tell
@pytest.mark.mount
@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, SPLICED),
        (17, SPLICED + 1),
        (0, MEBIBYTE - PAGE),  # fills the pipe
        (1, MEBIBYTE - PAGE),
        (0, MEBIBYTE - PAGE + 1),
        (0, MEBIBYTE),
        (5, MEBIBYTE),
    ],
)
async def test_what_is_cached_is_spliced(
    shelf: Shelf, mountpoint: str, record: Record, offset: int, size: int
) -> None:
    async with mounted(shelf, mountpoint) as client:
        got = [await client.read(offset, size) for _ in range(3)]

    assert got == [CONTENTS[offset : offset + size]] * 3
    # The largest need 16 KiB of memory in one piece, which nobody promises.
    assert record.sent == [True] * 3 or size > MEBIBYTE - PAGE


@pytest.mark.mount
async def test_what_is_small_is_not_spliced(
    shelf: Shelf, mountpoint: str, record: Record
) -> None:
    async with mounted(shelf, mountpoint) as client:
        assert await client.read(0, SPLICED - 1) == CONTENTS[: SPLICED - 1]

    assert record.sent == []


@pytest.mark.mount
async def test_what_is_not_cached_is_not_spliced(
    shelf: Shelf, mountpoint: str, record: Record
) -> None:
    async with mounted(shelf, mountpoint) as client:
        drop(shelf.path)
        assert await client.read(0, MEBIBYTE) == CONTENTS[:MEBIBYTE]

    assert record.sent == [False]


@pytest.mark.mount
async def test_the_end_of_a_file_is_not_spliced(
    shelf: Shelf, mountpoint: str, record: Record
) -> None:
    async with mounted(shelf, mountpoint) as client:
        across = await client.read(6, MEBIBYTE)
        far = await client.read(MEBIBYTE // 2, MEBIBYTE)

    assert across == CONTENTS[6:]
    assert far == CONTENTS[MEBIBYTE // 2 :]
    assert record.sent == [False, False]


@pytest.mark.mount
@pytest.mark.parametrize("size", [0, 1, PAGE, SPLICED, LARGE - 1])
async def test_a_file_that_shrinks_at_the_last_moment_spoils_no_pipe(
    shelf: Shelf,
    mountpoint: str,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    monkeypatch.setattr(Splicer, "_is_cached", lambda *_: True)

    async with mounted(shelf, mountpoint) as client:
        assert await client.read(0, LARGE) == CONTENTS[:LARGE]
        os.truncate(shelf.path, size)
        assert await client.read(0, LARGE) == CONTENTS[:size]
        shelf.path.write_bytes(CONTENTS[::-1])
        assert await client.read(1, LARGE) == CONTENTS[::-1][1 : LARGE + 1]

    assert record.sent == [True, False, True]


@can_tell
@pytest.mark.mount
async def test_a_reply_that_nobody_waits_for_leaves_nothing_behind(
    shelf: Shelf, mountpoint: str, record: Record
) -> None:
    nobody, data = 1 << 40, t.FileData(shelf.file.fileno(), 0, LARGE)

    async def read(request: t.Read) -> t.FileData:
        service = session._service
        assert service is not None
        assert service._splicer.send(encode_header(nobody, data.size), data)
        return t.FileData(data.fd, request.offset, request.size)

    shelf.read = read  # type: ignore[method-assign]
    with trio.fail_after(20):
        async with t.mount(shelf, mountpoint, strict=True) as session:
            client = await trio.to_thread.run_sync(Client, mountpoint)
            got = await client.read(5, LARGE)
            await trio.to_thread.run_sync(os.close, client.fd)

    assert got == CONTENTS[5 : LARGE + 5]
    assert record.sent == [True, True]


@pytest.mark.mount
async def test_where_a_pipe_cannot_be_large_bytes_are_read(
    shelf: Shelf, mountpoint: str, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of /proc/sys/fs/pipe-user-pages-soft: EPERM."""
    calls = []

    def refuse(*args: int) -> None:
        calls.append(args)
        raise PermissionError(errno.EPERM, "too many pipes")

    monkeypatch.setattr(Splicer, "_is_cached", lambda *_: True)
    monkeypatch.setattr(fcntl, "fcntl", refuse)

    async with mounted(shelf, mountpoint) as client:
        got = [await client.read(0, MEBIBYTE) for _ in range(3)]

    assert got == [CONTENTS[:MEBIBYTE]] * 3
    assert record.sent == [False] * 3
    assert len(calls) == 1


@pytest.mark.mount
async def test_what_does_not_fit_into_a_pipe_is_read(
    shelf: Shelf, mountpoint: str, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Splicer, "_is_cached", lambda *_: True)
    monkeypatch.setattr(splicer, "_PIPE_SIZE", SPLICED)

    async with mounted(shelf, mountpoint) as client:
        much = await client.read(0, MEBIBYTE)
        less = await client.read(7, SPLICED)
        monkeypatch.undo()
        assert much == CONTENTS[:MEBIBYTE]
        assert less == CONTENTS[7 : SPLICED + 7]

    assert record.sent == [False, False]


@can_tell
@pytest.mark.mount
async def test_the_end_of_a_session_closes_the_pipe(
    shelf: Shelf, mountpoint: str, record: Record
) -> None:
    def pipes() -> list[str]:
        paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        names = [os.readlink(path) for path in paths if os.path.exists(path)]
        return [name for name in names if name.startswith("pipe:")]

    before = pipes()
    async with mounted(shelf, mountpoint) as client:
        await client.read(0, LARGE)
        assert len(pipes()) > len(before)
    assert pipes() == before
    assert record.sent == [True]


@can_tell
@pytest.mark.mount
async def test_what_was_spliced_is_counted_and_traced(
    shelf: Shelf, mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(20), caplog.at_level("DEBUG", "triofuse.trace"):
        async with t.mount(shelf, mountpoint, measure=True) as session:
            client = await trio.to_thread.run_sync(Client, mountpoint)
            await client.read(0, LARGE)
            statistics = session.statistics()
            await trio.to_thread.run_sync(os.close, client.fd)

    assert statistics.operations["READ"].handled == 1
    assert statistics.bytes_sent >= LARGE
    assert f"<- OK, {LARGE} bytes" in caplog.text


async def test_a_socket_in_place_of_the_device_gets_one_message(
    shelf: Shelf, record: Record
) -> None:
    async with fake(shelf) as kernel:
        got = [await kernel.read(PLAIN, 1, 3, MEBIBYTE) for _ in range(2)]

    assert got == [CONTENTS[3 : MEBIBYTE + 3]] * 2
    assert record.sent
    assert not any(record.sent)


@pytest.mark.parametrize(
    ("fd", "offset"), [(1 << 20, 0), (-1, 0), (None, (1 << 63) - 1), (None, 1 << 62)]
)
async def test_what_is_no_place_in_a_file_is_not_cached(
    shelf: Shelf, fd: int | None, offset: int
) -> None:
    number = shelf.file.fileno() if fd is None else fd
    device = t.DevFuse(os.dup(shelf.file.fileno()))

    sent = Splicer(device).send(b"", t.FileData(number, offset, SPLICED))
    device.close()

    assert not sent


async def test_a_directory_and_a_pipe_are_not_cached(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    out, into = os.pipe()
    device = t.DevFuse(os.dup(directory))
    idle = Splicer(device)

    sent = [idle.send(b"", t.FileData(fd, 0, SPLICED)) for fd in (directory, out, into)]
    device.close()
    for fd in (directory, out, into):
        os.close(fd)

    assert sent == [False] * 3
