"""What is asked about names, beyond one request and its answer, on a real mount."""

from __future__ import annotations

import errno
import os
import stat
from operator import attrgetter
from pathlib import Path

import pytest

import triofuse as t
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_client import served
from tests.kernel.operations_probe import DIR, FILE, NEW, OTHER, ROOT, Probe, attr, new
from tests.kernel.operations_syscalls import O_LARGEFILE, UMASK

pytestmark = pytest.mark.mount

_DEVICE = os.makedev(259, 70_000)


@pytest.mark.shows("FUSE_MKNOD")
@pytest.mark.parametrize(
    ("kind", "rdev"),
    [
        pytest.param(stat.S_IFREG, 0, id="file"),
        pytest.param(stat.S_IFIFO, 0, id="pipe"),
        pytest.param(stat.S_IFSOCK, 0, id="socket"),
        pytest.param(stat.S_IFCHR, _DEVICE, id="character device"),
        pytest.param(stat.S_IFBLK, _DEVICE, id="block device"),
    ],
)
async def test_every_kind_of_node_is_made(
    mountpoint: str, kind: int, rdev: int
) -> None:
    made = new(kind | 0o640, rdev=rdev)
    found = iter([t.Entry.negative(0), made])
    probe = Probe(mknod=made, lookup=lambda _: next(found))
    async with served(probe, mountpoint) as client:
        await client.call(os.mknod, f"{mountpoint}/new", kind | 0o666, rdev)
        seen = await client.call(os.lstat, f"{mountpoint}/new")

    request = probe.only(t.Mknod)
    assert (request.nodeid, request.name) == (ROOT, "new")
    assert (request.mode, request.umask) == (kind | 0o640, UMASK)
    assert request.rdev == seen.st_rdev == rdev
    assert seen.st_mode == kind | 0o640


@pytest.mark.shows("FUSE_MKNOD")
async def test_an_errno_of_mknod_gets_back(mountpoint: str) -> None:
    probe = Probe(mknod=OSError(errno.EDQUOT, ""))
    async with served(probe, mountpoint) as client:
        error = await client.errno_of(os.mkfifo, f"{mountpoint}/new")

    assert error == errno.EDQUOT


async def test_creating_needs_no_create(mountpoint: str) -> None:
    probe = Probe(mknod=new(stat.S_IFREG | 0o640))
    async with served(probe, mountpoint) as client:
        flags = os.O_CREAT | os.O_WRONLY
        await client.call(os.open, f"{mountpoint}/new", flags, 0o666)

    assert probe.only(t.Mknod).mode == stat.S_IFREG | 0o640
    assert probe.only(t.Open).nodeid == NEW


@pytest.mark.shows("FUSE_CREATE", "FUSE_WRITE", "FUSE_RELEASE")
async def test_a_created_file_is_used_by_the_handle_that_create_gave(
    mountpoint: str,
) -> None:
    created = new(stat.S_IFREG | 0o640), t.Opened(fh=78)
    probe = Probe(create=created, write=4)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/new", flags, 0o666)
        await client.call(os.write, fd, b"text")
        await client.call(os.close, fd)
        released = await probe.arrival(t.Release)

    assert probe.only(t.Create).flags == flags | O_LARGEFILE
    written = probe.only(t.Write)
    assert (written.nodeid, written.fh) == (NEW, 78)
    assert (released.nodeid, released.fh) == (NEW, 78)
    assert "open" not in probe.methods()


@pytest.mark.shows("FUSE_TMPFILE", "FUSE_LINK")
async def test_a_nameless_file_is_written_and_gets_a_name(mountpoint: str) -> None:
    nameless = new(stat.S_IFREG | 0o640, nlink=0), t.Opened(fh=78)
    linked = t.Entry(attr(NEW, stat.S_IFREG | 0o640), entry_valid=0)
    probe = Probe(tmpfile=nameless, link=linked, write=4)
    async with served(probe, mountpoint) as client:
        flags = os.O_TMPFILE | os.O_RDWR
        fd = await client.call(os.open, f"{mountpoint}/dir", flags, 0o666)
        await client.call(os.write, fd, b"text")
        await client.call(syscalls.link_fd, fd, f"{mountpoint}/new")

    asked = probe.only(t.Tmpfile)
    assert (asked.nodeid, asked.name) == (DIR, "/")
    assert (asked.mode, asked.umask) == (stat.S_IFREG | 0o640, UMASK)
    assert asked.flags == flags | O_LARGEFILE
    assert probe.only(t.Write).fh == 78
    link = probe.only(t.Link)
    assert (link.nodeid, link.oldnodeid, link.newname) == (ROOT, NEW, "new")


@pytest.mark.shows("FUSE_RENAME2")
async def test_renaming_with_flags_is_refused_where_only_rename_is_written(
    mountpoint: str,
) -> None:
    probe = Probe(rename=None)
    async with served(probe, mountpoint) as client:
        names = f"{mountpoint}/file", f"{mountpoint}/other"
        for flag in t.RenameFlags:
            error = await client.errno_of(syscalls.renameat2, *names, flag)
            # WHITEOUT and NOREPLACE of what exists: the kernel itself says EEXIST.
            wanted = errno.EEXIST if flag is t.RenameFlags.NOREPLACE else errno.EINVAL
            assert error == wanted

    assert "rename" not in probe.methods()


@pytest.mark.shows("FUSE_FORGET")
async def test_a_node_that_goes_is_forgotten_as_often_as_it_was_looked_up(
    mountpoint: str,
) -> None:
    probe = Probe(unlink=None)
    async with served(probe, mountpoint) as client:
        # Open, so that nothing but the test can make the kernel drop it.
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        for _ in range(3):
            await client.call(os.stat, f"{mountpoint}/file")
        await client.call(os.unlink, f"{mountpoint}/file")  # the fifth
        assert not probe.all(t.Forget)
        await client.call(os.close, fd)
        forgotten = await probe.arrival(t.Forget)

    assert (forgotten.nodeid, forgotten.nlookup) == (FILE, 5)
    assert forgotten.unique != 0
    assert len(probe.all(t.Lookup)) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops caches")
@pytest.mark.shows("FUSE_BATCH_FORGET")
async def test_nodes_that_go_together_are_forgotten_in_one_request(
    mountpoint: str,
) -> None:
    probe = Probe()
    async with served(probe, mountpoint) as client:
        for name in ("file", "other"):
            await client.call(os.stat, f"{mountpoint}/{name}")
        # On the loop's thread: the session reads nothing before all are queued.
        Path("/proc/sys/vm/drop_caches").write_text("2")
        await probe.arrival(t.Forget, 2)

    forgotten = sorted(probe.all(t.Forget), key=attrgetter("nodeid"))
    assert [(f.nodeid, f.nlookup) for f in forgotten] == [(FILE, 1), (OTHER, 1)]
    assert [f.unique for f in forgotten] == [0, 0]  # the requests of a batch have none


@pytest.mark.shows("FUSE_LOOKUP")
async def test_a_name_is_passed_byte_for_byte(mountpoint: str) -> None:
    names: list[str] = []

    def absent(request: t.Lookup) -> t.Entry:
        names.append(request.name)
        raise t.FuseError(errno.ENOENT)

    async with served(Probe(lookup=absent), mountpoint) as client:
        for name in (
            "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
            "\udcff\udc80",
            "x" * 255,
        ):
            assert (
                await client.errno_of(os.stat, f"{mountpoint}/{name}") == errno.ENOENT
            )
            assert names.pop() == name
