"""FOPEN flags, and flags of INIT about opening and mapping files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.kernel.recorder import (
    Recorder,
    in_child,
    mounted,
    off_thread,
    until,
    until_or_clearly_not,
)

pytestmark = pytest.mark.mount

TEXT = b"text of a file\n" * 1000


@pytest.mark.shows("FUSE_ATOMIC_O_TRUNC", "FATTR_SIZE")
@pytest.mark.parametrize("atomic", [False, True])
async def test_with_atomic_o_trunc_the_open_is_to_empty_the_file(
    mountpoint: str, atomic: bool
) -> None:
    recorder = Recorder(t.InitFlags.ATOMIC_O_TRUNC if atomic else t.InitFlags(0))
    recorder.put("file", TEXT)

    async with mounted(recorder, mountpoint) as root:
        fd = await off_thread(os.open, root / "file", os.O_WRONLY | os.O_TRUNC)
        await off_thread(os.close, fd)

    (opened,) = recorder.asked(t.Open)
    sizes = [r.size for r in recorder.asked(t.Setattr) if r.size is not None]
    assert bool(opened.flags & os.O_TRUNC) == atomic
    assert sizes == ([] if atomic else [0])


@pytest.mark.shows("FOPEN_DIRECT_IO")
async def test_with_direct_io_each_read_goes_through_as_it_is(mountpoint: str) -> None:
    recorder = Recorder(opens_with=t.OpenFlags.DIRECT_IO)
    recorder.put("file", TEXT)

    def read_bits(path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            for _ in range(3):
                file.seek(7)
                assert file.read(5) == TEXT[7:12]

    async with mounted(recorder, mountpoint) as root:
        await off_thread(read_bits, root / "file")

    assert [(r.offset, r.size) for r in recorder.asked(t.Read)] == [(7, 5)] * 3


async def test_without_direct_io_reads_are_of_pages_and_once(mountpoint: str) -> None:
    recorder = Recorder()
    recorder.put("file", TEXT)

    def read_bits(path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            for _ in range(3):
                assert os.pread(file.fileno(), 5, 7) == TEXT[7:12]

    async with mounted(recorder, mountpoint) as root:
        await off_thread(read_bits, root / "file")

    (read,) = recorder.asked(t.Read)
    assert (read.offset, read.size % 4096) == (0, 0)


#: Maps a file, writes to it, reads it; or says with which errno that failed.
MAP = """
import mmap, sys
with open(sys.argv[1], "r+b", buffering=0) as file:
    try:
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED)
    except OSError as exc:
        print(exc.errno)
    else:
        mapped[:2] = b"TE"
        mapped.flush()
        print(mapped[:4].decode())
"""


@pytest.mark.shows("FUSE_DIRECT_IO_ALLOW_MMAP")
@pytest.mark.parametrize("allowed", [False, True])
async def test_a_direct_file_is_mapped_with_direct_io_allow_mmap_only(
    mountpoint: str, allowed: bool
) -> None:
    flag = t.InitFlags.DIRECT_IO_ALLOW_MMAP if allowed else t.InitFlags(0)
    recorder = Recorder(flag, opens_with=t.OpenFlags.DIRECT_IO)
    nodeid = recorder.put("file", TEXT)

    async with mounted(recorder, mountpoint) as root:
        seen = await in_child(MAP, root / "file")

    assert seen == ("TExt" if allowed else str(errno.ENODEV))
    assert recorder.content(nodeid)[:4] == (b"TExt" if allowed else b"text")


@pytest.mark.shows("FOPEN_NONSEEKABLE", "FOPEN_STREAM")
@pytest.mark.parametrize("flag", [t.OpenFlags.NONSEEKABLE, t.OpenFlags.STREAM])
async def test_what_is_not_seekable_is_read_from_the_start(
    mountpoint: str, flag: t.OpenFlags
) -> None:
    recorder = Recorder(opens_with=flag)
    recorder.put("file", TEXT)

    def use(path: Path) -> list[int | None]:
        errors = []
        with path.open("rb", buffering=0) as file:
            assert os.read(file.fileno(), 4) == b"text"
            for call in (os.lseek, os.pread):
                try:
                    call(file.fileno(), 1, 0)
                except OSError as exc:
                    errors.append(exc.errno)
        return errors

    async with mounted(recorder, mountpoint) as root:
        assert await off_thread(use, root / "file") == [errno.ESPIPE] * 2


@pytest.mark.shows("FOPEN_NOFLUSH")
@pytest.mark.parametrize("flags", [0, t.OpenFlags.NOFLUSH])
@pytest.mark.parametrize("writeback", [False, True])
async def test_with_noflush_no_flush_comes_but_for_a_writeback_cache(
    mountpoint: str, flags: int, writeback: bool
) -> None:
    class Flushing(Recorder):
        async def flush(self, request: t.Flush) -> None:
            self.requests.append(request)

    wants = t.InitFlags.WRITEBACK_CACHE if writeback else t.InitFlags(0)
    flushing = Flushing(wants, opens_with=flags)
    flushing.put("file", TEXT)

    async with mounted(flushing, mountpoint) as root:
        await off_thread((root / "file").read_bytes)
        await until(lambda: flushing.asked(t.Release))

    assert bool(flushing.asked(t.Flush)) == (writeback or not flags)


@pytest.mark.shows("FOPEN_PARALLEL_DIRECT_WRITES")
@pytest.mark.parametrize("parallel", [False, True])
async def test_direct_writes_to_a_file_go_on_at_once_if_they_may(
    mountpoint: str, parallel: bool
) -> None:
    flags = t.OpenFlags.DIRECT_IO
    if parallel:
        flags |= t.OpenFlags.PARALLEL_DIRECT_WRITES
    recorder = Recorder(opens_with=flags, valid=60)
    recorder.put("file", bytes(8192))
    recorder.gates["write"] = trio.Event()

    async with mounted(recorder, mountpoint) as root:
        fd = await off_thread(os.open, root / "file", os.O_RDWR)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(off_thread, os.pwrite, fd, b"a" * 4096, 0)
            await until(lambda: recorder.peak["write"])
            nursery.start_soon(off_thread, os.pwrite, fd, b"b" * 4096, 4096)
            wait = until if parallel else until_or_clearly_not
            await wait(lambda: recorder.peak["write"] == 2)
            recorder.gates["write"].set()
        await off_thread(os.close, fd)

    assert recorder.peak["write"] == (2 if parallel else 1)


class Backed(Recorder):
    """Has another file behind its files."""

    sender: t.ChannelSender

    def __init__(self, wants: t.InitFlags, file: int) -> None:
        super().__init__(wants)
        self.file = file
        self.backing: t.BackingId | None = None

    async def open(self, request: t.Open) -> t.Opened:
        opened = await super().open(request)
        try:
            self.backing = self.sender.open_backing(self.file)
        except OSError:
            return opened
        opened.flags = t.OpenFlags.PASSTHROUGH
        opened.backing_id = self.backing.number
        return opened


@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN")
@pytest.mark.shows("FUSE_PASSTHROUGH", "FOPEN_PASSTHROUGH")
@pytest.mark.parametrize("wanted", [False, True])
async def test_a_file_with_another_behind_it_is_read_from_that_with_passthrough(
    mountpoint: str, tmp_path: Path, wanted: bool
) -> None:
    (tmp_path / "behind").write_bytes(TEXT.upper())
    with (tmp_path / "behind").open("rb") as behind:
        flag = t.InitFlags.PASSTHROUGH if wanted else t.InitFlags(0)
        backed = Backed(flag, behind.fileno())
        backed.put("file", TEXT)
        with trio.fail_after(10):
            async with t.mount(backed, mountpoint, strict=True) as session:
                backed.sender = session.channel.sender()
                seen = await off_thread((Path(mountpoint) / "file").read_bytes)
                if backed.backing is not None:
                    backed.backing.close()

    assert (backed.backing is not None) == wanted
    assert seen == (TEXT.upper() if wanted else TEXT)
    assert bool(backed.asked(t.Read)) != wanted
