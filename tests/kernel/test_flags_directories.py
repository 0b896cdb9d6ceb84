"""Flags of INIT about directories: what is listed how, and what goes on at once."""

from __future__ import annotations

import errno
import os

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

pytestmark = pytest.mark.mount


async def kinds_of_listing(recorder: Recorder, mountpoint: str) -> set[type]:
    for number in range(500):
        recorder.put(f"a-rather-long-name-for-a-file-{number}")
    async with mounted(recorder, mountpoint) as root:
        assert len(await off_thread(os.listdir, root)) == 500
    return {type(request) for request in recorder.requests} & {t.Readdir, t.Readdirplus}


@pytest.mark.shows("FUSE_DO_READDIRPLUS")
async def test_with_do_readdirplus_only_readdirplus_comes(mountpoint: str) -> None:
    recorder = Recorder(declines=t.InitFlags.READDIRPLUS_AUTO)

    assert await kinds_of_listing(recorder, mountpoint) == {t.Readdirplus}


@pytest.mark.shows("FUSE_READDIRPLUS_AUTO")
async def test_with_auto_only_the_first_chunk_is_readdirplus(mountpoint: str) -> None:
    recorder = Recorder()

    kinds = await kinds_of_listing(recorder, mountpoint)

    assert kinds == {t.Readdirplus, t.Readdir}
    assert len(recorder.asked(t.Readdirplus)) == 1


async def test_without_do_readdirplus_only_readdir_comes(mountpoint: str) -> None:
    recorder = Recorder(declines=t.InitFlags.DO_READDIRPLUS)

    assert await kinds_of_listing(recorder, mountpoint) == {t.Readdir}


async def peak_of_lookups(recorder: Recorder, mountpoint: str) -> int:
    """Return how many of two lookups in one directory are in flight at a time."""
    recorder.put("a")
    recorder.put("b")
    recorder.gates["lookup"] = trio.Event()
    async with mounted(recorder, mountpoint) as root, trio.open_nursery() as nursery:
        nursery.start_soon(off_thread, os.stat, root / "a")
        await until(lambda: recorder.peak["lookup"])
        nursery.start_soon(off_thread, os.stat, root / "b")
        await until_or_clearly_not(lambda: recorder.peak["lookup"] == 2)
        recorder.gates["lookup"].set()
    return recorder.peak["lookup"]


@pytest.mark.shows("FUSE_PARALLEL_DIROPS")
async def test_with_parallel_dirops_lookups_in_a_directory_go_on_at_once(
    mountpoint: str,
) -> None:
    assert await peak_of_lookups(Recorder(), mountpoint) == 2


async def test_without_parallel_dirops_lookups_in_a_directory_take_turns(
    mountpoint: str,
) -> None:
    recorder = Recorder(declines=t.InitFlags.PARALLEL_DIROPS)

    assert await peak_of_lookups(recorder, mountpoint) == 1


class Opening(Recorder):
    """Counts what is opened and let go of."""

    def __init__(self, failing: bool) -> None:
        super().__init__()
        self.failing = failing

    async def opendir(self, request: t.Opendir) -> t.Opened:
        self.requests.append(request)
        if self.failing:
            raise t.FuseError(errno.ENOSYS)
        return await super().opendir(request)

    async def releasedir(self, request: t.Releasedir) -> None:
        self.requests.append(request)


@pytest.mark.shows("FUSE_NO_OPENDIR_SUPPORT")
@pytest.mark.parametrize(("failing", "asked"), [(False, 3), (True, 1)])
async def test_where_opendir_is_enosys_directories_are_opened_unasked(
    mountpoint: str, failing: bool, asked: int
) -> None:
    opening = Opening(failing)
    opening.put("file")

    async with mounted(opening, mountpoint) as root:
        for _ in range(3):
            assert await off_thread(os.listdir, root) == ["file"]
        await until(lambda: failing or len(opening.asked(t.Releasedir)) == 3)

    assert t.InitFlags.NO_OPENDIR_SUPPORT in opening.offered
    assert len(opening.asked(t.Opendir)) == asked
    assert bool(opening.asked(t.Releasedir)) != failing


@pytest.mark.shows("FUSE_NO_OPEN_SUPPORT")
@pytest.mark.parametrize(("failing", "asked"), [(False, 3), (True, 1)])
async def test_where_open_is_enosys_files_are_opened_unasked(
    mountpoint: str, failing: bool, asked: int
) -> None:
    recorder = Recorder()
    nodeid = recorder.put("file", b"text")
    if failing:
        recorder.fails["open"] = errno.ENOSYS

    async with mounted(recorder, mountpoint) as root:
        assert await off_thread((root / "file").read_bytes) == b"text"
        recorder.rewrite(nodeid, b"TEXT")
        for _ in range(2):
            seen = await off_thread((root / "file").read_bytes)
        await until(lambda: failing or len(recorder.asked(t.Release)) == 3)

    assert seen == (b"text" if failing else b"TEXT"), "no open, and the cache is kept"
    assert t.InitFlags.NO_OPEN_SUPPORT in recorder.offered
    assert len(recorder.asked(t.Open)) == asked
    assert bool(recorder.asked(t.Release)) != failing
