"""Flags of INIT that say how large requests are, and how many there are at a time."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.kernel.recorder import (
    Recorder,
    mounted,
    off_thread,
    until,
    until_or_clearly_not,
)
from triofuse.device import mount

pytestmark = pytest.mark.mount

MEBI = 1 << 20


def read_direct(path: Path, size: int) -> int:
    """Read past the page cache, with one call."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size) as buffer:
            return os.preadv(fd, [buffer], 0)
    finally:
        os.close(fd)


def write(path: Path, size: int) -> None:
    with path.open("wb", buffering=0) as file:
        assert file.write(b"x" * size) == size


async def peak_of_reads(recorder: Recorder, mountpoint: str, direct: bool) -> int:
    """Return how many READs of a page each were in flight at a time."""
    recorder.put("file", bytes(64 * 4096))
    recorder.gates["read"] = trio.Event()
    async with mounted(recorder, mountpoint) as root, trio.open_nursery() as nursery:
        if direct:
            nursery.start_soon(off_thread, read_direct, root / "file", 64 * 4096)
        else:
            nursery.start_soon(off_thread, (root / "file").read_bytes)
        await until(lambda: recorder.peak["read"])
        await until_or_clearly_not(lambda: recorder.peak["read"] > 1)
        recorder.gates["read"].set()
    sizes = {request.size for request in recorder.asked(t.Read)}
    assert sizes == {4096}
    return recorder.peak["read"]


@pytest.mark.shows("FUSE_ASYNC_READ")
async def test_with_async_read_readahead_is_many_reads_at_once(mountpoint: str) -> None:
    recorder = Recorder(max_write=4096)

    assert await peak_of_reads(recorder, mountpoint, direct=False) > 1


async def test_without_async_read_each_read_waits_for_the_last(mountpoint: str) -> None:
    recorder = Recorder(declines=t.InitFlags.ASYNC_READ, max_write=4096)

    assert await peak_of_reads(recorder, mountpoint, direct=False) == 1


@pytest.mark.shows("FUSE_ASYNC_DIO")
async def test_with_async_dio_a_direct_read_is_many_reads_at_once(
    mountpoint: str,
) -> None:
    recorder = Recorder(max_write=4096)

    assert await peak_of_reads(recorder, mountpoint, direct=True) > 1


async def test_without_async_dio_a_direct_read_is_one_read_after_another(
    mountpoint: str,
) -> None:
    recorder = Recorder(declines=t.InitFlags.ASYNC_DIO, max_write=4096)

    assert await peak_of_reads(recorder, mountpoint, direct=True) == 1


async def sizes_of_writes(recorder: Recorder, mountpoint: str, size: int) -> set[int]:
    async with mounted(recorder, mountpoint) as root:
        await off_thread(write, root / "file", size)
    assert sum(request.size for request in recorder.asked(t.Write)) == size
    return {request.size for request in recorder.asked(t.Write)}


@pytest.mark.shows("FUSE_BIG_WRITES")
async def test_with_big_writes_a_write_is_as_large_as_max_write(
    mountpoint: str,
) -> None:
    recorder = Recorder(max_write=MEBI)

    assert await sizes_of_writes(recorder, mountpoint, 2 * MEBI) == {MEBI}


async def test_without_big_writes_a_write_is_a_page(mountpoint: str) -> None:
    recorder = Recorder(declines=t.InitFlags.BIG_WRITES, max_write=MEBI)

    assert await sizes_of_writes(recorder, mountpoint, MEBI) == {4096}


async def test_max_write_is_the_most_that_comes_in_a_write(mountpoint: str) -> None:
    recorder = Recorder(max_write=64 << 10)

    assert await sizes_of_writes(recorder, mountpoint, MEBI) == {64 << 10}


@pytest.mark.shows("FUSE_MAX_PAGES")
async def test_with_max_pages_a_read_is_as_large_as_max_write(mountpoint: str) -> None:
    recorder = Recorder(opens_with=t.OpenFlags.DIRECT_IO)
    recorder.put("file", bytes(MEBI))

    async with mounted(recorder, mountpoint) as root:
        assert await off_thread(read_direct, root / "file", MEBI) == MEBI

    assert [request.size for request in recorder.asked(t.Read)] == [MEBI]


async def test_without_max_pages_a_request_has_32_pages(mountpoint: str) -> None:
    declines = t.InitFlags.MAX_PAGES
    recorder = Recorder(declines=declines, opens_with=t.OpenFlags.DIRECT_IO)
    recorder.put("file", bytes(MEBI))

    async with mounted(recorder, mountpoint) as root:
        assert await off_thread(read_direct, root / "file", MEBI) == MEBI
        await off_thread(write, root / "written", MEBI)

    assert {request.size for request in recorder.asked(t.Read)} == {32 * 4096}
    assert max(request.size for request in recorder.asked(t.Write)) == 32 * 4096


@pytest.mark.parametrize("readahead", [0, 16384, 131072])
async def test_max_readahead_bounds_what_is_read_unasked(
    mountpoint: str, readahead: int
) -> None:
    recorder = Recorder(max_readahead=readahead)
    recorder.put("file", bytes(64 * 4096))

    async with mounted(recorder, mountpoint) as root:
        await off_thread(read_a_page_at_a_time, root / "file")

    sizes = {request.size for request in recorder.asked(t.Read)}
    assert max(sizes) == max(readahead, 4096)


def read_a_page_at_a_time(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(4096):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="writes in sysfs")
@pytest.mark.parametrize(
    ("filesystem", "option", "most"),
    [
        (None, None, MEBI),
        (None, 65536, 65536),
        (None, 4 * MEBI, MEBI),  # each READ has max_write bytes at most
        (65536, None, 65536),
        (65536, 262144, 262144),
        (262144, 0, 4096),
    ],
)
async def test_read_ahead_is_what_the_option_says_else_the_filesystem(
    mountpoint: str, filesystem: int | None, option: int | None, most: int
) -> None:
    recorder = Recorder() if filesystem is None else Recorder(max_readahead=filesystem)
    recorder.put("file", bytes(8 * MEBI))
    options = t.MountOptions(max_readahead=option)

    async with mounted(recorder, mountpoint, options) as root:
        status = await off_thread(root.stat)
        device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
        setting = Path(f"/sys/class/bdi/{device}/read_ahead_kb").read_text()
        await off_thread(read_a_page_at_a_time, root / "file")

    wanted = option if option is not None else filesystem or MEBI
    assert int(setting) * 1024 == wanted
    assert max(request.size for request in recorder.asked(t.Read)) == most


@pytest.mark.parametrize(("option", "warnings"), [(None, 0), (MEBI, 1)])
async def test_who_may_not_raise_read_ahead_is_told_if_it_was_asked_for(
    mountpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    option: int | None,
    warnings: int,
) -> None:
    def refuse(device: tuple[int, int], size: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(mount, "set_readahead", refuse)

    async with mounted(Recorder(), mountpoint, t.MountOptions(max_readahead=option)):
        pass

    assert caplog.text.count("reads ahead 128 KiB at most") == warnings


async def test_a_mount_option_bounds_a_read(mountpoint: str) -> None:
    recorder = Recorder(opens_with=t.OpenFlags.DIRECT_IO)
    recorder.put("file", bytes(MEBI))

    async with mounted(recorder, mountpoint, t.MountOptions(max_read=8192)) as root:
        await off_thread(read_direct, root / "file", MEBI)

    assert {request.size for request in recorder.asked(t.Read)} == {8192}
