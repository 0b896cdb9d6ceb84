"""What is asked about open directories, on a real mount."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import pytest

import triofuse as t
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_client import served
from tests.kernel.operations_probe import DIR, FILE, ROOT, Probe, attr
from tests.kernel.operations_syscalls import O_LARGEFILE

pytestmark = pytest.mark.mount

_OPENED = t.Opened(fh=55)


@pytest.mark.shows("FUSE_OPENDIR", "FUSE_RELEASEDIR", "FUSE_FSYNCDIR")
async def test_a_directory_is_opened_synced_and_released(mountpoint: str) -> None:
    probe = Probe(opendir=_OPENED, fsyncdir=None, releasedir=None)
    async with served(probe, mountpoint) as client:
        flags = os.O_RDONLY | os.O_DIRECTORY
        fd = await client.call(os.open, f"{mountpoint}/dir", flags)
        await client.call(os.fsync, fd)
        await client.call(os.fdatasync, fd)
        await client.call(os.close, fd)
        released = await probe.arrival(t.Releasedir)

    opened = probe.only(t.Opendir)
    assert (opened.nodeid, opened.flags) == (DIR, flags | O_LARGEFILE)
    synced = probe.all(t.Fsyncdir)
    assert [r.fsync_flags for r in synced] == [0, t.FsyncFlags.FDATASYNC]
    assert {(r.nodeid, r.fh) for r in synced} == {(DIR, 55)}
    assert (released.nodeid, released.fh) == (DIR, 55)
    assert (released.flags, released.release_flags) == (flags | O_LARGEFILE, 0)


@pytest.mark.shows("FUSE_OPENDIR", "FUSE_FSYNCDIR", "FUSE_READDIR", "FUSE_READDIRPLUS")
@pytest.mark.parametrize("method", ["opendir", "fsyncdir", "readdir", "readdirplus"])
async def test_the_errno_of_a_directory_gets_back(mountpoint: str, method: str) -> None:
    probe = Probe(**{method: OSError(errno.EDQUOT, "")})
    path = f"{mountpoint}/dir"
    async with served(probe, mountpoint) as client:
        if method == "fsyncdir":
            fd = await client.call(os.open, path, os.O_DIRECTORY)
            error = await client.errno_of(os.fsync, fd)
        else:
            error = await client.errno_of(os.listdir, path)

    assert error == errno.EDQUOT


def _entries(start: int) -> Iterator[t.DirEntry]:
    """Number the entries from 1 on, with cookies a thousand apart."""
    for number in range(start // 1000 + 1, 1001):
        cookie = number * 1000
        yield t.DirEntry(f"name{number}", 100 + number, stat.S_IFREG, cookie)


@pytest.mark.shows("FUSE_READDIR")
async def test_a_directory_is_read_from_any_cookie_that_it_gave(
    mountpoint: str,
) -> None:
    probe = Probe(
        opendir=_OPENED, readdir=lambda request: list(_entries(request.offset))
    )
    async with served(probe, mountpoint) as client:
        stream = await client.call(syscalls.opendir, mountpoint)
        first = await client.call(syscalls.readdir, stream, 3)
        here = await client.call(syscalls.telldir, stream)
        rest = await client.call(syscalls.readdir, stream)
        await client.call(syscalls.seekdir, stream, here)
        again = await client.call(syscalls.readdir, stream, 1)
        await client.call(syscalls.seekdir, stream, 700_000)
        late = await client.call(syscalls.readdir, stream, 1)
        await client.call(syscalls.closedir, stream)

    wanted = [(e.name, e.ino, e.offset) for e in _entries(0)]
    assert first + rest == wanted
    assert here == 3000
    assert again == wanted[3:4]
    assert late == wanted[700:701]
    requests = probe.all(t.Readdir)
    assert {(r.nodeid, r.fh) for r in requests} == {(ROOT, 55)}
    assert requests[0].offset == 0
    assert all(4096 <= r.size <= 1 << 20 for r in requests)
    assert [r.offset for r in requests[-2:]] == [3000, 700_000]


@pytest.mark.shows("FUSE_READDIR")
async def test_a_listing_that_the_runtime_pages_can_be_sought_in(
    mountpoint: str,
) -> None:
    names = [f"name{number}" for number in range(1000)]
    listing = [t.DirEntry(name, 100 + i) for i, name in enumerate(names)]
    probe = Probe(readdir=listing)
    async with served(probe, mountpoint) as client:
        stream = await client.call(syscalls.opendir, mountpoint)
        seen = await client.call(syscalls.readdir, stream)
        _, _, cookie = seen[500]
        await client.call(syscalls.seekdir, stream, cookie)
        after = await client.call(syscalls.readdir, stream)

    assert [name for name, _, _ in seen] == [".", "..", *names]
    assert after == seen[501:]


@pytest.mark.shows("FUSE_READDIRPLUS", "FUSE_FORGET")
async def test_a_listing_with_entries_spares_the_lookups(mountpoint: str) -> None:
    plain = stat.S_IFREG | 0o644
    kept = t.Entry(attr(FILE, plain, size=123, attr_valid=60), entry_valid=60)
    listing = [t.DirEntry("file", FILE, plain, entry=kept), t.DirEntry("bare", 99)]
    probe = Probe(
        opendir=_OPENED, readdirplus=lambda r: listing, unlink=None, releasedir=None
    )
    async with served(probe, mountpoint) as client:
        names = await client.call(os.listdir, mountpoint)
        status = await client.call(os.stat, f"{mountpoint}/file")
        assert not probe.all(t.Lookup)
        assert await client.errno_of(os.stat, f"{mountpoint}/bare") == errno.ENOENT
        await client.call(os.unlink, f"{mountpoint}/file")
        forgotten = await probe.arrival(t.Forget)

    assert sorted(names) == ["bare", "file"]
    assert (status.st_ino, status.st_size) == (FILE, 123)
    assert [r.name for r in probe.all(t.Lookup)] == ["bare"]
    assert (forgotten.nodeid, forgotten.nlookup) == (FILE, 1)
    request = probe.all(t.Readdirplus)[0]
    assert (request.nodeid, request.fh, request.offset) == (ROOT, 55, 0)
    assert (request.uid, request.gid, request.pid) == (0, 0, client.pid)
