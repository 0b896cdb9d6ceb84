"""What a writeback cache makes of writes: pages, times and sizes of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import triofuse as t
from tests.kernel.recorder import Recorder, mounted, off_thread

pytestmark = pytest.mark.mount

WRITEBACK = t.InitFlags.WRITEBACK_CACHE
LONG_AGO = 10**18


def write_small(path: Path, count: int, flags: int = os.O_WRONLY | os.O_CREAT) -> None:
    fd = os.open(path, flags)
    try:
        for _ in range(count):
            os.write(fd, b"x" * 64)
    finally:
        os.close(fd)


async def test_without_writeback_each_write_goes_through(mountpoint: str) -> None:
    recorder = Recorder()

    async with mounted(recorder, mountpoint) as root:
        await off_thread(write_small, root / "file", 50)

    writes = recorder.asked(t.Write)
    assert [write.size for write in writes] == [64] * 50
    assert not any(write.write_flags & t.WriteFlags.CACHE for write in writes)
    assert all(write.pid for write in writes)


@pytest.mark.shows("FUSE_WRITEBACK_CACHE", "FUSE_WRITE_CACHE")
async def test_small_writes_are_gathered_and_come_from_nobody(mountpoint: str) -> None:
    recorder = Recorder(WRITEBACK)

    async with mounted(recorder, mountpoint) as root:
        await off_thread(write_small, root / "file", 50)

    (write,) = recorder.asked(t.Write)
    assert (write.offset, write.size) == (0, 3200)
    assert write.write_flags & t.WriteFlags.CACHE
    assert (write.uid, write.gid, write.pid) == (0, 0, 0)


async def test_pages_that_follow_each_other_come_in_one_write(mountpoint: str) -> None:
    recorder = Recorder(WRITEBACK)

    async with mounted(recorder, mountpoint) as root:
        await off_thread((root / "file").write_bytes, b"x" * (1 << 20))

    writes = recorder.asked(t.Write)
    assert sum(write.size for write in writes) == 1 << 20
    assert all(write.offset % 4096 == 0 for write in writes)
    assert max(write.size for write in writes) > 4096


async def test_a_part_of_a_page_is_read_before_it_is_written(mountpoint: str) -> None:
    recorder = Recorder(WRITEBACK)
    nodeid = recorder.put("file", b"a" * 8192)

    def overwrite(path: Path) -> None:
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, b"b", 5000)
        os.close(fd)

    async with mounted(recorder, mountpoint) as root:
        await off_thread(overwrite, root / "file")

    assert [(read.offset, read.size) for read in recorder.asked(t.Read)] == [
        (4096, 4096)
    ]
    assert recorder.asked(t.Read)[0].flags & os.O_ACCMODE == os.O_WRONLY
    assert recorder.content(nodeid) == b"a" * 5000 + b"b" + b"a" * 3191


async def test_an_append_is_placed_by_the_kernel(mountpoint: str) -> None:
    recorder = Recorder(WRITEBACK)
    nodeid = recorder.put("file", b"a" * 10)

    async with mounted(recorder, mountpoint) as root:
        flags = os.O_WRONLY | os.O_APPEND
        await off_thread(write_small, root / "file", 3, flags)

    assert recorder.content(nodeid) == b"a" * 10 + b"x" * 192
    assert all(write.offset == 0 for write in recorder.asked(t.Write))


@pytest.mark.shows("FATTR_MTIME", "FATTR_CTIME", "FATTR_FH")
async def test_the_kernel_keeps_the_times_and_sends_them_at_the_close(
    mountpoint: str,
) -> None:
    recorder = Recorder(WRITEBACK)
    nodeid = recorder.put("file", b"a" * 4096)

    async with mounted(recorder, mountpoint) as root:
        await off_thread(write_small, root / "file", 1)

    flags = t.SetattrValid
    times = flags.MTIME | flags.CTIME | flags.FH
    sent = [r for r in recorder.asked(t.Setattr) if r.valid & times == times]
    assert sent
    assert all(r.nodeid == nodeid and r.fh is not None for r in sent)
    assert all(r.mtime_ns and r.ctime_ns for r in sent)


@pytest.mark.parametrize("writeback", [False, True])
async def test_sizes_and_times_of_the_filesystem_count_without_writeback_only(
    mountpoint: str, writeback: bool
) -> None:
    recorder = Recorder(WRITEBACK if writeback else t.InitFlags(0))
    nodeid = recorder.put("file", b"a" * 4096)

    async with mounted(recorder, mountpoint) as root:
        before = await off_thread((root / "file").stat)
        recorder.attr(nodeid).mtime_ns = LONG_AGO
        recorder.attr(nodeid).size = 17
        seen = await off_thread((root / "file").stat)

    assert (seen.st_mtime_ns == LONG_AGO) != writeback
    assert seen.st_size == (4096 if writeback else 17)
    assert before.st_size == 4096


async def test_fsync_writes_back(mountpoint: str) -> None:
    recorder = Recorder(WRITEBACK)

    def write_and_sync(path: Path) -> int:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            os.write(fd, b"x")
            before = len(recorder.asked(t.Write))
            os.fsync(fd)
            return len(recorder.asked(t.Write)) - before
        finally:
            os.close(fd)

    async with mounted(recorder, mountpoint) as root:
        assert await off_thread(write_and_sync, root / "file") == 1


async def test_the_close_writes_back_what_is_cached(mountpoint: str) -> None:
    recorder = Recorder(WRITEBACK)
    nodeid = recorder.put("file", b"a" * 4096)

    async with mounted(recorder, mountpoint) as root:
        await off_thread(write_small, root / "file", 1)

    assert recorder.content(nodeid) == b"x" * 64 + b"a" * 4032
