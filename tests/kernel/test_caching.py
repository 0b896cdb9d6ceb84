"""What the kernel keeps of names, attributes, contents and listings, and how long."""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import triofuse as t
from tests.kernel.recorder import Recorder, mounted, off_thread

pytestmark = pytest.mark.mount

OLD, NEW = b"old" * 2000, b"new" * 2000


async def reread(
    recorder: Recorder, mountpoint: str, change: Callable[[int], None]
) -> bytes:
    """Read a file, change it behind the kernel's back, return what is read then."""
    nodeid = recorder.put("file", OLD)
    async with mounted(recorder, mountpoint) as root:
        assert await off_thread((root / "file").read_bytes) == OLD
        change(nodeid)
        return await off_thread((root / "file").read_bytes)


@pytest.mark.shows("FOPEN_KEEP_CACHE")
async def test_with_keep_cache_contents_outlive_an_open(mountpoint: str) -> None:
    recorder = Recorder(opens_with=t.OpenFlags.KEEP_CACHE)

    seen = await reread(recorder, mountpoint, lambda file: recorder.rewrite(file, NEW))

    assert seen == OLD
    assert len(recorder.asked(t.Open)) == 2


async def test_without_keep_cache_each_open_drops_the_contents(mountpoint: str) -> None:
    recorder = Recorder()

    seen = await reread(recorder, mountpoint, lambda file: recorder.rewrite(file, NEW))

    assert seen == NEW


@pytest.mark.shows("FUSE_AUTO_INVAL_DATA")
@pytest.mark.parametrize(
    ("declines", "seen"), [(t.InitFlags(0), NEW), (t.InitFlags.AUTO_INVAL_DATA, OLD)]
)
async def test_a_new_time_drops_contents_with_auto_inval_data_only(
    mountpoint: str, declines: t.InitFlags, seen: bytes
) -> None:
    recorder = Recorder(declines=declines, opens_with=t.OpenFlags.KEEP_CACHE)

    def change(nodeid: int) -> None:
        recorder.rewrite(nodeid, NEW)
        recorder.attr(nodeid).mtime_ns += 10**9

    assert await reread(recorder, mountpoint, change) == seen


@pytest.mark.shows("FUSE_EXPLICIT_INVAL_DATA")
@pytest.mark.parametrize(
    ("wants", "seen"),
    [
        (t.InitFlags(0), NEW + b"!"),
        (t.InitFlags.EXPLICIT_INVAL_DATA, OLD),
    ],
)
async def test_a_new_size_drops_contents_but_with_explicit_inval_data(
    mountpoint: str, wants: t.InitFlags, seen: bytes
) -> None:
    recorder = Recorder(
        wants, t.InitFlags.AUTO_INVAL_DATA, opens_with=t.OpenFlags.KEEP_CACHE
    )

    def change(nodeid: int) -> None:
        recorder.rewrite(nodeid, NEW + b"!")

    assert (await reread(recorder, mountpoint, change))[: len(seen)] == seen


@pytest.mark.shows("FUSE_CACHE_SYMLINKS")
@pytest.mark.parametrize(
    ("wants", "asked"), [(t.InitFlags(0), 2), (t.InitFlags.CACHE_SYMLINKS, 1)]
)
async def test_a_link_is_read_once_with_cache_symlinks(
    mountpoint: str, wants: t.InitFlags, asked: int
) -> None:
    recorder = Recorder(wants)

    async with mounted(recorder, mountpoint) as root:
        await off_thread((root / "link").symlink_to, "target")
        for _ in range(2):
            assert await off_thread(os.readlink, root / "link") == "target"

    assert len(recorder.asked(t.Readlink)) == asked


@pytest.mark.parametrize(("valid", "asked"), [(0, 3), (math.inf, 1)])
async def test_a_name_is_looked_up_again_when_its_time_is_over(
    mountpoint: str, valid: float, asked: int
) -> None:
    recorder = Recorder(valid=valid)
    recorder.put("file")

    async with mounted(recorder, mountpoint) as root:
        for _ in range(3):
            await off_thread((root / "file").stat)

    assert len(recorder.asked(t.Lookup)) == asked


@pytest.mark.parametrize(("valid", "asked"), [(0, 3), (math.inf, 0)])
async def test_attributes_are_asked_again_when_their_time_is_over(
    mountpoint: str, valid: float, asked: int
) -> None:
    recorder = Recorder(valid=valid)
    nodeid = recorder.put("file")

    async with mounted(recorder, mountpoint) as root:
        fd = await off_thread(os.open, root / "file", os.O_RDONLY)
        for _ in range(3):
            await off_thread(os.fstat, fd)
        await off_thread(os.close, fd)

    asked_of_file = [r for r in recorder.asked(t.Getattr) if r.nodeid == nodeid]
    assert len(asked_of_file) == asked


async def absences(recorder: Recorder, mountpoint: str) -> int:
    """Return how often a name was looked up that was asked for three times."""
    async with mounted(recorder, mountpoint) as root:
        for _ in range(3):
            assert not await off_thread((root / "absent").exists)
    return len(recorder.asked(t.Lookup))


@pytest.mark.parametrize(("valid", "asked"), [(0, 3), (math.inf, 1)])
async def test_an_absent_name_is_looked_up_again_when_its_time_is_over(
    mountpoint: str, valid: float, asked: int
) -> None:
    assert await absences(Recorder(valid=valid), mountpoint) == asked


async def test_an_absence_without_a_time_is_not_kept(mountpoint: str) -> None:
    recorder = Recorder(valid=math.inf)
    recorder.fails["lookup"] = errno.ENOENT

    assert await absences(recorder, mountpoint) == 3


class Listing(Recorder):
    """Opens its directories with flags."""

    def __init__(self, flags: t.OpenFlags) -> None:
        super().__init__(declines=t.InitFlags.DO_READDIRPLUS, valid=math.inf)
        self.flags = flags

    async def opendir(self, request: t.Opendir) -> t.Opened:
        opened = await super().opendir(request)
        opened.flags = self.flags
        return opened


@pytest.mark.shows("FOPEN_CACHE_DIR")
@pytest.mark.parametrize(
    ("flags", "again"),
    [
        (t.OpenFlags(0), True),
        (t.OpenFlags.CACHE_DIR | t.OpenFlags.KEEP_CACHE, False),
        (t.OpenFlags.CACHE_DIR, True),
    ],
)
async def test_a_listing_is_kept_with_cache_dir_and_keep_cache(
    mountpoint: str, flags: t.OpenFlags, again: bool
) -> None:
    listing = Listing(flags)
    listing.put("file")

    async with mounted(listing, mountpoint) as root:
        assert await off_thread(os.listdir, root) == ["file"]
        first = len(listing.asked(t.Readdir))
        assert await off_thread(os.listdir, root) == ["file"]

    assert (len(listing.asked(t.Readdir)) > first) == again


async def test_a_kept_listing_is_dropped_when_the_directory_changes(
    mountpoint: str,
) -> None:
    listing = Listing(t.OpenFlags.CACHE_DIR | t.OpenFlags.KEEP_CACHE)

    def touch_and_list(root: Path, name: str) -> list[str]:
        with contextlib.closing((root / name).open("xb")):
            return os.listdir(root)

    async with mounted(listing, mountpoint) as root:
        assert await off_thread(touch_and_list, root, "a") == ["a"]
        assert sorted(await off_thread(touch_and_list, root, "b")) == ["a", "b"]
