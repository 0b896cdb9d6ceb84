"""What memfs does where no mount can show it: the kernel would not ask, or not tell."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time

import pytest

import triofuse
from memfs import MemFS
from triofuse import Entry, FuseError
from triofuse.posix import acl
from triofuse.posix.space import PAGE
from triofuse.tree.names import LINK_MAX
from triofuse.tree.table import ROOT


@pytest.fixture
def memfs() -> MemFS:
    return MemFS(size=100 * PAGE)


async def made(memfs: MemFS, name: str, parent: int = ROOT) -> Entry:
    """Make a file that nobody has open."""
    mode = stat.S_IFREG | 0o644
    return await memfs.mknod(triofuse.Mknod(0, parent, 0, 0, 0, mode, 0, 0, name))


async def made_directory(memfs: MemFS, name: str, parent: int = ROOT) -> int:
    request = triofuse.Mkdir(0, parent, 0, 0, 0, 0o755, 0, name)
    return (await memfs.mkdir(request)).nodeid


async def unlinked(memfs: MemFS, name: str) -> None:
    await memfs.unlink(triofuse.Unlink(0, ROOT, 0, 0, 0, name))


async def opened(memfs: MemFS, nodeid: int) -> int:
    """Open a file and return its handle."""
    flags = os.O_RDWR
    return (await memfs.open(triofuse.Open(0, nodeid, 0, 0, 0, flags, 0))).fh


async def released(memfs: MemFS, nodeid: int, fh: int) -> None:
    await memfs.release(triofuse.Release(0, nodeid, 0, 0, 0, fh, 0, 0, 0))


async def written(memfs: MemFS, nodeid: int, fh: int, data: bytes) -> None:
    request = triofuse.Write(
        0, nodeid, 0, 0, 0, fh, 0, len(data), 0, 0, 0, memoryview(data)
    )
    assert await memfs.write(request) == len(data)


async def in_use(memfs: MemFS) -> tuple[int, int]:
    """Return how many nodes and pages are in use."""
    status = await memfs.statfs(triofuse.StatfsRequest(0, ROOT, 0, 0, 0))
    return status.files - status.ffree, status.blocks - status.bfree


def fails(error: int) -> pytest.RaisesExc[FuseError]:
    return pytest.raises(FuseError, check=lambda exc: exc.errno == error)


# --- How long a node lives


@pytest.mark.parametrize("order", list(itertools.permutations("nlo")), ids="".join)
async def test_a_node_goes_with_the_last_of_name_lookup_and_handle(
    memfs: MemFS, order: tuple[str, ...]
) -> None:
    nodeid = (await made(memfs, "file")).nodeid
    fh = await opened(memfs, nodeid)
    await written(memfs, nodeid, fh, b"contents")

    for what in order:
        assert await in_use(memfs) == (2, 1 + ("n" in order[order.index(what) :]))
        if what == "n":
            await unlinked(memfs, "file")
        elif what == "l":
            memfs.forget(triofuse.Forget(0, nodeid, 0, 0, 0, nlookup=1))
        else:
            await released(memfs, nodeid, fh)

    assert await in_use(memfs) == (1, 0)
    with fails(errno.ESTALE):
        await memfs.getattr(triofuse.Getattr(0, nodeid, 0, 0, 0, 0, None))


async def test_only_what_has_a_name_outlives_the_mount(memfs: MemFS) -> None:
    for name in ("kept", "lost"):
        entry = await made(memfs, name)
        fh = await opened(memfs, entry.nodeid)
        await written(memfs, entry.nodeid, fh, b"contents")
    await unlinked(memfs, "lost")

    await memfs.destroy()

    assert await in_use(memfs) == (2, 2)  # the name takes one
    entry = await memfs.lookup(triofuse.Lookup(0, ROOT, 0, 0, 0, "kept"))
    assert entry.attr.size == 8


async def test_only_entries_that_the_kernel_takes_count_as_lookups(
    memfs: MemFS,
) -> None:
    nodeids = [(await made(memfs, name)).nodeid for name in ("a", "b")]
    for nodeid in nodeids:
        memfs.forget(triofuse.Forget(0, nodeid, 0, 0, 0, nlookup=1))

    listing = await memfs.readdirplus(
        triofuse.Readdirplus(0, ROOT, 0, 0, 0, 1, 0, 4096, 0, 0, 0)
    )
    taken = list(itertools.islice(listing, 1))

    assert [entry.name for entry in taken] == ["a"]
    await unlinked(memfs, "a")
    await unlinked(memfs, "b")
    assert await in_use(memfs) == (2, 0)


# --- What the kernel would refuse first


async def test_a_removed_directory_takes_no_names(memfs: MemFS) -> None:
    removed = await made_directory(memfs, "removed")
    file = await made(memfs, "file")
    await memfs.rmdir(triofuse.Rmdir(0, ROOT, 0, 0, 0, "removed"))

    with fails(errno.ENOENT):
        await made(memfs, "new", removed)
    with fails(errno.ENOENT):
        await made_directory(memfs, "new", removed)
    with fails(errno.ENOENT):
        await memfs.link(triofuse.Link(0, removed, 0, 0, 0, file.nodeid, "new"))
    with fails(errno.ENOENT):
        await memfs.rename(triofuse.Rename(0, ROOT, 0, 0, 0, removed, "file", "new"))


async def test_a_directory_does_not_get_into_itself(memfs: MemFS) -> None:
    outer = await made_directory(memfs, "outer")
    inner = await made_directory(memfs, "inner", outer)

    for target in (outer, inner):
        with fails(errno.EINVAL):
            await memfs.rename(
                triofuse.Rename(0, ROOT, 0, 0, 0, target, "outer", "new")
            )


async def test_two_names_of_one_file_both_survive_a_rename(memfs: MemFS) -> None:
    file = await made(memfs, "old")
    await memfs.link(triofuse.Link(0, ROOT, 0, 0, 0, file.nodeid, "new"))

    await memfs.rename(triofuse.Rename(0, ROOT, 0, 0, 0, ROOT, "old", "new"))

    assert file.attr.nlink == 2


async def test_a_namespace_alone_is_no_name(memfs: MemFS) -> None:
    file = await made(memfs, "file")

    for name, error in (("user.", errno.EINVAL), ("system.x", errno.EOPNOTSUPP)):
        header = (0, file.nodeid, 0, 0, 0)
        request = triofuse.Setxattr(*header, 1, 0, 0, name, memoryview(b"x"))
        with fails(error):
            await memfs.setxattr(request)


async def test_bytes_that_are_no_access_list_change_nothing(memfs: MemFS) -> None:
    file = await made(memfs, "file")

    value = memoryview(b"no list")
    request = triofuse.Setxattr(0, file.nodeid, 0, 0, 0, 7, 0, 0, acl.ACCESS, value)
    with fails(errno.EINVAL):
        await memfs.setxattr(request)

    listing = await memfs.listxattr(triofuse.Listxattr(0, file.nodeid, 0, 0, 0, 0))
    assert list(listing) == []
    assert stat.S_IMODE(file.attr.mode) == 0o644


# --- Limits


async def test_a_node_has_so_many_names_and_no_more() -> None:
    memfs = MemFS(size=1 << 26)
    file = await made(memfs, "file")
    for number in range(1, LINK_MAX):
        request = triofuse.Link(0, ROOT, 0, 0, 0, file.nodeid, str(number))
        await memfs.link(request)

    with fails(errno.EMLINK):
        await memfs.link(triofuse.Link(0, ROOT, 0, 0, 0, file.nodeid, "more"))
    # A rename takes a name away as well.
    await memfs.rename(triofuse.Rename(0, ROOT, 0, 0, 0, ROOT, "file", "renamed"))


async def test_nodes_are_limited_as_pages_are(memfs: MemFS) -> None:
    for number in range(99):
        await made(memfs, str(number))

    with fails(errno.ENOSPC):
        await made(memfs, "more")
    await unlinked(memfs, "0")
    memfs.forget(triofuse.Forget(0, ROOT + 1, 0, 0, 0, nlookup=1))
    await made(memfs, "more")


async def test_a_write_without_space_changes_nothing(memfs: MemFS) -> None:
    file = await made(memfs, "file")
    fh = await opened(memfs, file.nodeid)
    await written(memfs, file.nodeid, fh, bytes(98 * PAGE))
    other = await made(memfs, "other")  # the names take the hundredth
    fh = await opened(memfs, other.nodeid)

    with fails(errno.ENOSPC):
        await written(memfs, other.nodeid, fh, bytes(2 * PAGE))

    assert (other.attr.size, other.attr.blocks) == (0, 0)
    await written(memfs, other.nodeid, fh, bytes(PAGE))


# --- Times


async def test_the_kernels_coarse_clock_does_not_turn_time_back(memfs: MemFS) -> None:
    file = await made(memfs, "file")
    born = file.attr.mtime_ns
    tick = born - 4_000_000
    valid = triofuse.SetattrValid.MTIME | triofuse.SetattrValid.MTIME_NOW

    await memfs.setattr(triofuse.Setattr(0, file.nodeid, 0, 0, 0, valid, mtime_ns=tick))

    assert born <= file.attr.mtime_ns <= time.time_ns()
