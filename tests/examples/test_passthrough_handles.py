"""The mirror: file handles outlive what the kernel knows, or there are none."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from passthrough import Passthrough
from tests.examples.posix import fails
from tests.examples.sources import overlay
from tests.examples.test_passthrough import mirrored, needs_root
from tests.kernel.test_export import name_to_handle, open_by_handle
from triofuse.mirror.handles import HandleNumbers
from triofuse.mirror.nodes import ROOT
from triofuse.testing import open_kernel


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    if HandleNumbers.of_directory(path) is None:
        pytest.skip("no handles here that fit in a node number")
    return path


@pytest.fixture
def without_handles(tmp_path: Path) -> Iterator[Path]:
    with overlay(tmp_path) as path:
        yield path


@needs_root
@pytest.mark.mount
def test_a_file_handle_is_good_in_the_next_life_of_the_mount(
    source: Path, mountpoint: str
) -> None:
    root = Path(mountpoint)
    (source / "one" / "two").mkdir(parents=True)
    (source / "one" / "two" / "file").write_text("text")
    with mirrored(source, root):
        of_file = name_to_handle(root / "one" / "two" / "file")
        of_directory = name_to_handle(root / "one" / "two")

    with mirrored(source, root):
        fd = open_by_handle(root, of_file)
        assert os.read(fd, 10) == b"text"
        os.close(fd)
        fd = open_by_handle(root, of_directory)
        assert os.readlink(f"/proc/self/fd/{fd}") == str(root / "one" / "two")
        assert os.listdir(fd) == ["file"]
        os.close(fd)


@needs_root
@pytest.mark.mount
def test_a_handle_of_a_file_that_is_gone_is_stale_whatever_is_there_now(
    source: Path, mountpoint: str
) -> None:
    root = Path(mountpoint)
    (source / "file").write_text("old")
    with mirrored(source, root):
        handle = name_to_handle(root / "file")
        (root / "file").unlink()
        for number in range(20):  # one of them has its inode number, on ext4
            (root / f"new{number}").write_text("new")
        with fails(errno.ESTALE):
            open_by_handle(root, handle)

    with mirrored(source, root):
        with fails(errno.ESTALE):
            open_by_handle(root, handle)


@needs_root
@pytest.mark.mount
def test_where_the_source_has_no_handles_the_mirror_has_none(
    without_handles: Path, mountpoint: str
) -> None:
    (without_handles / "file").touch()

    with mirrored(without_handles, Path(mountpoint)):
        with fails(errno.EOPNOTSUPP):
            name_to_handle(Path(mountpoint) / "file")


async def test_the_parent_of_what_is_in_the_root_is_the_root(source: Path) -> None:
    (source / "one" / "two").mkdir(parents=True)

    async with open_kernel(Passthrough(source)) as kernel:
        one = await kernel.lookup(ROOT, "one")
        two = await kernel.lookup(one.nodeid, "two")
        assert (await kernel.lookup(two.nodeid, "..")).nodeid == one.nodeid
        assert (await kernel.lookup(one.nodeid, "..")).nodeid == ROOT
        with fails(errno.ESTALE):
            await kernel.lookup(ROOT, "..")


async def test_a_number_that_never_was_is_stale(source: Path) -> None:
    async with open_kernel(Passthrough(source)) as kernel:
        for nodeid in (2**31, 2**32, 2**63 + 2**31):
            with fails(errno.ESTALE):
                await kernel.lookup(nodeid, ".")


#: Handles as filesystems make them: size, type and body; and the two numbers.
HANDLES = {
    "ext4": (struct.pack("=IiII", 8, 1, 12, 0xDEADBEEF), 12, 0xDEADBEEF),
    "tmpfs": (struct.pack("<IiIQ", 12, 1, 0xDEADBEEF, 12), 12, 0xDEADBEEF),
    "xfs": (struct.pack("=IiQI", 12, 0x81, 128, 7), 128, 7),
    "btrfs": (struct.pack("=IiQQI", 20, 0x4D, 257, 5, 9), 257, 9),
}


@pytest.mark.parametrize("kind", HANDLES)
def test_a_handle_is_a_number_and_back(kind: str, tmp_path: Path) -> None:
    handle, number, generation = HANDLES[kind]
    fd = os.open("/dev/shm", os.O_RDONLY)  # small, as XFS must be
    numbers = HandleNumbers.of(fd, handle)
    os.close(fd)

    assert numbers is not None
    assert numbers.nodeid(handle) == generation << 32 | number
    assert numbers.handle(generation << 32 | number) == handle


def test_a_handle_that_does_not_fit_has_no_number() -> None:
    fd = os.open("/dev/shm", os.O_RDONLY)
    try:
        xfs = HandleNumbers.of(fd, struct.pack("=IiQI", 12, 0x81, 128, 7))
        btrfs = HandleNumbers.of(fd, struct.pack("=IiQQI", 20, 0x4D, 257, 5, 9))
        assert HandleNumbers.of(fd, struct.pack("=Ii40x", 40, 1)) is None
    finally:
        os.close(fd)

    assert xfs is not None
    assert xfs.nodeid(struct.pack("=IiQI", 12, 0x81, 2**32, 7)) is None
    assert btrfs is not None
    other_subvolume = struct.pack("=IiQQI", 20, 0x4D, 257, 256, 9)
    assert btrfs.nodeid(other_subvolume) is None
