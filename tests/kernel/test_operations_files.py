"""What is asked about open files, beyond one request and its answer."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

import pytest

import triofuse as t
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_client import served
from tests.kernel.operations_probe import FILE, OTHER, TEXT, Probe, attr, new
from tests.kernel.operations_syscalls import O_LARGEFILE

pytestmark = pytest.mark.mount

_USER, _GROUP = 1234, 5678
_MANY = t.MountOptions(allow_other=True)
_DIRECT = t.Opened(fh=77, flags=t.OpenFlags.DIRECT_IO)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.mark.shows("FUSE_OPEN")
@pytest.mark.parametrize(
    ("flags", "arrives"),
    [
        (os.O_RDONLY, os.O_RDONLY),
        (os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND),
        (os.O_RDWR | os.O_NONBLOCK | os.O_SYNC, os.O_RDWR | os.O_NONBLOCK | os.O_SYNC),
        (os.O_RDWR | os.O_CREAT | os.O_NOCTTY, os.O_RDWR),
        (os.O_RDONLY | os.O_DIRECT | os.O_NOATIME, os.O_DIRECT | os.O_NOATIME),
        (os.O_RDONLY | os.O_NOFOLLOW, os.O_NOFOLLOW),
    ],
)
async def test_open_says_how(mountpoint: str, flags: int, arrives: int) -> None:
    probe = Probe()
    async with served(probe, mountpoint) as client:
        await client.call(os.open, f"{mountpoint}/file", flags)

    assert probe.only(t.Open).flags == arrives | O_LARGEFILE


@pytest.mark.shows("FUSE_FLUSH", "FUSE_RELEASE")
async def test_a_file_is_flushed_at_each_close_and_released_at_the_last(
    mountpoint: str,
) -> None:
    probe = Probe(flush=None)
    async with served(probe, mountpoint) as client:
        flags = os.O_RDWR | os.O_APPEND
        fd = await client.call(os.open, f"{mountpoint}/file", flags)
        again = await client.call(os.dup, fd)
        await client.call(os.close, fd)
        assert not probe.all(t.Release)
        await client.call(os.close, again)
        released = await probe.arrival(t.Release)

    first, second = probe.all(t.Flush)
    assert first.fh == second.fh == released.fh == 77
    assert first.lock_owner == second.lock_owner != 0
    assert released.flags == flags | O_LARGEFILE
    assert (released.release_flags, released.lock_owner) == (0, 0)
    assert (released.uid, released.gid, released.pid) == (0, 0, 0)
    assert probe.methods()[-1] == "release"


@pytest.mark.shows("FUSE_READ_LOCKOWNER", "FUSE_WRITE_LOCKOWNER")
async def test_direct_reads_and_writes_name_the_lock_owner(mountpoint: str) -> None:
    probe = Probe(open=_DIRECT, read=TEXT[3:13], write=4, flush=None)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        assert await client.call(os.pread, fd, 10, 3) == TEXT[3:13]
        assert await client.call(os.pwrite, fd, b"text", 5) == 4
        await client.call(os.close, fd)

    read, write = probe.only(t.Read), probe.only(t.Write)
    assert (read.offset, read.size) == (3, 10)
    assert (write.offset, bytes(write.data)) == (5, b"text")
    assert read.flags == write.flags == os.O_RDWR | O_LARGEFILE
    assert read.read_flags == t.ReadFlags.LOCKOWNER
    assert write.write_flags == t.WriteFlags.LOCKOWNER
    owners = {read.lock_owner, write.lock_owner, probe.only(t.Flush).lock_owner}
    assert len(owners) == 1
    assert 0 not in owners


@pytest.mark.shows("FUSE_READ")
async def test_a_short_read_is_the_end_of_the_file(mountpoint: str) -> None:
    probe = Probe(open=_DIRECT, read=lambda request: TEXT[request.offset :])
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        assert await client.call(os.pread, fd, 1000, 90) == TEXT[90:]
        assert await client.call(os.pread, fd, 1000, 100) == b""


@pytest.mark.shows("FUSE_WRITE")
async def test_a_short_write_is_told(mountpoint: str) -> None:
    probe = Probe(open=_DIRECT, write=3)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_WRONLY)
        assert await client.call(os.write, fd, b"12345") == 3


@pytest.mark.shows("FUSE_WRITE_CACHE")
async def test_what_is_written_to_a_mapping_comes_from_the_cache(
    mountpoint: str,
) -> None:
    written = b"9876543210" * 10
    probe = Probe(read=TEXT, write=lambda request: request.size)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        await client.call(syscalls.write_mapped, fd, written)

    request = probe.only(t.Write)
    assert request.write_flags & t.WriteFlags.CACHE
    assert bytes(request.data) == written
    assert (request.uid, request.gid, request.pid) == (0, 0, 0)


@needs_root
@pytest.mark.shows("FUSE_WRITE_KILL_SUIDGID")
async def test_a_strangers_direct_write_is_to_drop_privileges(mountpoint: str) -> None:
    probe = Probe(open=_DIRECT, write=1)
    async with served(probe, mountpoint, _MANY) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_WRONLY)
        await client.call(os.write, fd, b"1")
        await client.call(syscalls.become, _USER, _GROUP, mountpoint)
        await client.call(os.write, fd, b"2")

    by_root, by_stranger = probe.all(t.Write)
    kill = t.WriteFlags.KILL_SUIDGID
    assert not by_root.write_flags & kill
    assert by_stranger.write_flags & kill
    assert (by_stranger.uid, by_stranger.gid) == (_USER, _GROUP)


@needs_root
@pytest.mark.shows("FUSE_OPEN_KILL_SUIDGID", "FUSE_OPEN", "FUSE_CREATE")
async def test_a_strangers_truncating_open_is_to_drop_privileges(
    mountpoint: str,
) -> None:
    flags = t.InitFlags.HANDLE_KILLPRIV_V2 | t.InitFlags.ATOMIC_O_TRUNC
    created = new(stat.S_IFREG | 0o640), t.Opened(fh=78)
    probe = Probe(want=flags, create=created)
    truncate = os.O_WRONLY | os.O_TRUNC
    async with served(probe, mountpoint, _MANY) as client:
        await client.call(os.open, f"{mountpoint}/file", truncate)
        await client.call(syscalls.become, _USER, _GROUP, mountpoint)
        await client.call(os.open, "file", truncate)
        await client.call(os.open, "file", os.O_WRONLY)
        await client.call(os.open, "new", truncate | os.O_CREAT, 0o666)

    kill = t.OpenInFlags.KILL_SUIDGID
    opens = probe.all(t.Open)
    assert [r.open_flags for r in opens] == [0, kill, 0]
    assert [bool(r.flags & os.O_TRUNC) for r in opens] == [True, True, False]
    assert probe.only(t.Create).open_flags == kill


@pytest.mark.shows("FUSE_RELEASE_FLOCK_UNLOCK")
async def test_the_release_of_a_flocked_file_drops_the_lock(mountpoint: str) -> None:
    probe = Probe(setlk=None, setlkw=None, flush=None)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        await client.call(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        await client.call(os.close, fd)
        released = await probe.arrival(t.Release)

    assert released.release_flags == t.ReleaseFlags.FLOCK_UNLOCK
    assert released.lock_owner == probe.only(t.Setlk).owner != 0


@pytest.mark.shows("FUSE_COPY_FILE_RANGE", "FUSE_COPY_FILE_RANGE_64")
async def test_copying_falls_back_to_32_bits_where_64_are_not_known(
    mountpoint: str,
) -> None:
    def answer(request: t.CopyFileRange) -> int:
        if len(probe.all(t.CopyFileRange)) == 1:
            raise t.FuseError(errno.ENOSYS)
        return 4096

    probe = Probe(copy_file_range=answer)
    probe.attrs[FILE].size = 1 << 34
    async with served(probe, mountpoint) as client:
        source = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        target = await client.call(os.open, f"{mountpoint}/other", os.O_RDWR)
        arguments = source, target, 1 << 33, 4096, 8192
        for _ in range(2):
            copied = await client.call(os.copy_file_range, *arguments)
            assert copied == 4096

    wide, *narrow = probe.all(t.CopyFileRange)
    assert (wide.nodeid, wide.off_in, wide.len) == (FILE, 4096, 1 << 33)
    assert (wide.nodeid_out, wide.off_out, wide.flags) == (OTHER, 8192, 0)
    # Of fuse_write_out only 32 bits come back: Linux asks for what fits, in pages.
    assert [request.len for request in narrow] == [0xFFFFF000, 0xFFFFF000]


@pytest.mark.shows("FUSE_COPY_FILE_RANGE_64")
async def test_more_than_four_gibibytes_are_copied_at_once(mountpoint: str) -> None:
    probe = Probe(copy_file_range=(1 << 33) - 1)
    probe.attrs[FILE].size = 1 << 34
    async with served(probe, mountpoint) as client:
        source = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        target = await client.call(os.open, f"{mountpoint}/other", os.O_RDWR)
        copy = os.copy_file_range, source, target, 1 << 33, 0, 0
        assert await client.call(*copy) == (1 << 33) - 1


@pytest.mark.shows("FUSE_FALLOCATE")
@pytest.mark.parametrize("mode", [8, 32, 64])  # COLLAPSE, INSERT, UNSHARE _RANGE
async def test_fallocate_beyond_its_modes_is_refused_by_the_kernel(
    mountpoint: str, mode: int
) -> None:
    probe = Probe(fallocate=None)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        error = await client.errno_of(syscalls.fallocate, fd, mode, 0, 4096)

    assert error == errno.EOPNOTSUPP
    assert not probe.all(t.Fallocate)


@pytest.mark.shows("FUSE_LSEEK")
async def test_only_data_and_holes_are_sought_by_the_filesystem(
    mountpoint: str,
) -> None:
    probe = Probe(lseek=OSError(errno.ENXIO, ""))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        for whence, expected in (
            (os.SEEK_SET, 5),
            (os.SEEK_CUR, 10),
            (os.SEEK_END, 105),
        ):
            assert await client.call(os.lseek, fd, 5, whence) == expected
        assert await client.errno_of(os.lseek, fd, 5, os.SEEK_DATA) == errno.ENXIO

    assert probe.only(t.Lseek).offset == 5


@pytest.mark.shows("FUSE_SETATTR")
async def test_privileges_are_dropped_by_a_setattr_that_changes_nothing(
    mountpoint: str,
) -> None:
    """``file_remove_privs()``: valid is 0, the filesystem is to see to the rest."""
    probe = Probe(
        want=t.InitFlags.HANDLE_KILLPRIV_V2,
        setattr=attr(FILE, stat.S_IFREG | 0o755, size=len(TEXT)),
        getxattr=OSError(errno.ENODATA, ""),
        write=1,
    )
    probe.attrs[FILE].mode = stat.S_IFREG | 0o4755
    options = _MANY if os.geteuid() == 0 else None
    async with served(probe, mountpoint, options) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_WRONLY)
        if os.geteuid() == 0:
            await client.call(syscalls.become, _USER, _GROUP, mountpoint)
        await client.call(os.write, fd, b"1")

    assert probe.all(t.Setattr)[0].valid == 0
