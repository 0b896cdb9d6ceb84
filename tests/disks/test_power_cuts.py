"""Power cuts, on a real mount and on a fake kernel: what is left, and what is not."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import Kernel, fake_kernel, real_kernel
from triofuse.faults import EXT4, NOTHING_ORDERED, POSIX, Disk
from triofuse.testing import open_kernel


def sync(path: Path) -> None:
    """fsync(2) of a file or directory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path)
    sync(path.parent)


@pytest.mark.mount
def test_what_was_synced_survives_and_nothing_else(disk: Disk) -> None:
    write_synced(disk / "kept", b"hello")
    (disk / "lost").write_bytes(b"hello")
    with open(disk / "kept", "ab") as file:
        file.write(b" world")

    crash = disk.power_cut()

    assert os.listdir(disk.path) == ["kept"]
    assert (disk / "kept").read_bytes() == b"hello"
    assert "write kept 5+6" in crash.lost


@pytest.mark.mount
def test_everything_that_was_synced_is_as_it_was(disk: Disk) -> None:
    root = disk.path
    (root / "d").mkdir(mode=0o700)
    (root / "d/file").write_bytes(b"x" * 10_000)
    os.chown(root / "d/file", 12, 34)
    os.chmod(root / "d/file", 0o4755)
    os.setxattr(root / "d/file", "user.colour", b"red")
    os.link(root / "d/file", root / "again")
    os.symlink("d/file", root / "symbolic")
    os.mkfifo(root / "pipe")
    with open(root / "sparse", "wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 20)
        file.write(b"deep")
    (root / "gone").touch()
    (root / "gone").unlink()
    disk.sync()

    disk.power_cut()

    status = os.stat(root / "d/file")
    assert stat.S_IMODE(status.st_mode) == 0o4755
    assert (status.st_uid, status.st_gid, status.st_nlink) == (12, 34, 2)
    assert os.stat(root / "again").st_ino == status.st_ino
    assert stat.S_IMODE(os.stat(root / "d").st_mode) == 0o700
    assert os.getxattr(root / "d/file", "user.colour") == b"red"
    assert os.readlink(root / "symbolic") == "d/file"
    assert stat.S_ISFIFO(os.stat(root / "pipe").st_mode)
    assert os.stat(root / "sparse").st_size == 1 << 30
    assert (root / "symbolic").read_bytes() == b"x" * 10_000
    assert sorted(os.listdir(root)) == ["again", "d", "pipe", "sparse", "symbolic"]


@pytest.mark.mount
def test_open_files_are_dead_and_all_can_be_used_again(disk: Disk) -> None:
    write_synced(disk / "x", b"hello")
    fd = os.open(disk / "x", os.O_RDWR)
    disk.power_cut()
    with pytest.raises(OSError):
        os.write(fd, b"x")
    with pytest.raises(OSError):  # close(2) says so as well
        os.close(fd)

    assert (disk / "x").read_bytes() == b"hello"
    write_synced(disk / "x", b"again")
    disk.power_cut()
    assert (disk / "x").read_bytes() == b"again"


@pytest.mark.mount
@pytest.mark.parametrize("synced", [False, True])
def test_a_mapping_is_in_the_page_cache_until_msync(disk: Disk, synced: bool) -> None:
    program = """if 1:
        import mmap, sys
        with open(sys.argv[1], "rb+") as file:
            with mmap.mmap(file.fileno(), 0) as mapping:
                mapping[:3] = b"new"
                if sys.argv[2] == "True":
                    mapping.flush()
                print("done", flush=True)
                sys.stdin.read()
    """
    write_synced(disk / "x", b"old" + bytes(mmap.PAGESIZE))
    command = [sys.executable, "-c", program, str(disk / "x"), str(synced)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        disk.power_cut()
        process.kill()

    assert (disk / "x").read_bytes()[:3] == (b"new" if synced else b"old")


@pytest.mark.mount
@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC, os.O_DSYNC | os.O_DIRECT])
def test_a_synchronous_write_is_durable(disk: Disk, flag: int) -> None:
    write_synced(disk / "x", b"")
    buffer = mmap.mmap(-1, 4096)  # O_DIRECT wants whole pages
    buffer[:] = b"x" * 4096
    fd = os.open(disk / "x", os.O_WRONLY | flag)
    try:
        os.write(fd, buffer)
    finally:
        os.close(fd)

    disk.power_cut()

    assert (disk / "x").read_bytes() == b"x" * 4096


@pytest.mark.mount
def test_a_synchronous_write_is_durable_without_the_page_cache(disk: Disk) -> None:
    """For a file with DIRECT_IO the kernel sends no FSYNC after it."""
    write_synced(disk / "x", b"old")
    disk.short("read", 4096)
    fd = os.open(disk / "x", os.O_WRONLY | os.O_DSYNC)
    try:
        os.write(fd, b"new")
    finally:
        os.close(fd)

    disk.power_cut()

    assert (disk / "x").read_bytes() == b"new"


@pytest.mark.mount
def test_a_seed_chooses_among_the_states(disk: Disk) -> None:
    def left(seed: int) -> tuple[str, ...]:
        for number in range(8):
            (disk / f"{number}").touch()
        disk.power_cut(NOTHING_ORDERED, seed=seed)
        names = tuple(sorted(os.listdir(disk.path)))
        for name in names:
            (disk / name).unlink()
        disk.sync()
        return names

    seen = [left(seed) for seed in (1, 1, 2, 3, 4)]

    assert seen[0] == seen[1]
    assert len(set(seen)) > 2


@pytest.mark.mount
def test_a_test_may_choose_by_itself(disk: Disk) -> None:
    for name in "abc":
        (disk / name).touch()

    crash = disk.power_cut(keep=lambda change: change.text == "create b")

    assert os.listdir(disk.path) == ["b"]
    assert crash.survived == ("create b",)


@pytest.mark.mount
def test_the_power_fails_at_an_operation(disk: Disk) -> None:
    write_synced(disk / "x", b"old")
    disk.cut_power_at("rename")
    write_synced(disk / "x.new", b"new")

    with pytest.raises(OSError) as caught:
        os.rename(disk / "x.new", disk / "x")
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError):
        (disk / "y").touch()
    disk.power_cut()

    assert sorted(os.listdir(disk.path)) == ["x", "x.new"]
    assert (disk / "x").read_bytes() == b"old"


# --- fsync that fails


@pytest.mark.mount
@pytest.mark.parametrize(
    ("pages", "read", "durable"),
    [
        ("dirty", b"new", b"new"),
        ("clean", b"new", b"old"),
        ("reverted", b"old", b"old"),
    ],
)
def test_after_a_failed_fsync_the_next_one_succeeds(
    disk: Disk, pages: str, read: bytes, durable: bytes
) -> None:
    write_synced(disk / "x", b"old")
    disk.fail("fsync", errno.EIO, path="x", once=True, pages=pages)
    with open(disk / "x", "rb+", buffering=0) as file:
        file.write(b"new")
        with pytest.raises(OSError) as caught:
            os.fsync(file.fileno())
        os.fsync(file.fileno())

    assert caught.value.errno == errno.EIO
    assert (disk / "x").read_bytes() == read
    disk.power_cut()
    assert (disk / "x").read_bytes() == durable


# --- All states


@pytest.mark.mount
def test_all_states_of_a_program_are_shown_and_at_the_end_all_is_there(
    disk: Disk,
) -> None:
    (disk / "before").touch()

    def program(path: Path) -> None:
        (path / "a").touch()
        disk.mark("a")
        (path / "b").touch()

    found = [
        (crash.step, crash.marks, sorted(os.listdir(crash_path(disk))))
        for crash in disk.crashes(program)
    ]

    assert found == [
        (0, (), ["before"]),
        (2, (), ["a", "before"]),
        (3, ("a",), ["before"]),
        (3, ("a",), ["a", "before"]),
        (5, ("a",), ["a", "b", "before"]),
    ]
    assert sorted(os.listdir(disk.path)) == ["a", "b", "before"]


def crash_path(disk: Disk) -> Path:
    """Return the mountpoint, which is a mount in every state."""
    assert os.path.ismount(disk.path)
    return disk.path


@pytest.mark.mount
def test_a_command_is_a_program(disk: Disk) -> None:
    command = ["sh", "-c", "echo one > x && sync x && sync . && echo two >> x"]

    found = {
        (disk / "x").read_text() if (disk / "x").exists() else None
        for _ in disk.crashes(command, EXT4)
    }

    assert found == {None, "", "one\n", "one\ntwo\n"}


@pytest.mark.mount
def test_a_command_that_fails_is_an_error(disk: Disk) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        list(disk.crashes(["false"]))


@pytest.mark.mount
def test_a_sample_is_bounded_and_its_seed_repeats_it(disk: Disk) -> None:
    def program(path: Path) -> None:
        for number in range(3):
            (path / f"{number}").write_text("hello")

    def stories(seed: int) -> list[str]:
        for name in os.listdir(disk.path):
            (disk / name).unlink()
        crashes = disk.crashes(program, NOTHING_ORDERED, limit=2, seed=seed)
        return [str(crash.lost) for crash in crashes]

    assert stories(1) == stories(1)
    assert len(stories(1)) <= 2 * 13


@pytest.mark.mount
def test_a_state_that_a_check_refuses_stays_for_who_looks_at_it(disk: Disk) -> None:
    with pytest.raises(AssertionError):
        for _ in disk.crashes(["touch", "x"]):
            assert not (disk / "x").exists()

    assert (disk / "x").exists()
    assert "survived (POSIX): create x" in disk.describe()


@pytest.mark.parametrize(
    "kernel",
    [pytest.param(real_kernel, marks=pytest.mark.mount), fake_kernel],
    ids=["real", "fake"],
)
async def test_a_disk_that_others_mount_is_cut_between_two_mounts(
    kernel: Kernel, mountpoint: str
) -> None:
    disk = Disk({"config": "old"})
    async with kernel(disk, mountpoint) as client:
        await client.write("config", b"new")
        await client.mkdir("d")
        disk.journal.sync_directory(1)
    disk.power_cut(POSIX)
    async with kernel(disk, mountpoint) as client:
        assert await client.read("config") == b"old"
        assert await client.names("") == ["config", "d"]


async def test_a_fake_kernel_syncs_as_the_real_one_does() -> None:
    disk = Disk()
    async with open_kernel(disk) as kernel:
        entry, opened = await kernel.create(1, "x")
        await kernel.write(entry.nodeid, opened.fh, 0, b"hello")
        await kernel.fsync(entry.nodeid, opened.fh)
        directory = await kernel.opendir(1)
        await kernel.fsyncdir(1, directory.fh)
        await kernel.write(entry.nodeid, opened.fh, 5, b" world")
    disk.power_cut()
    async with open_kernel(disk) as kernel:
        entry = await kernel.lookup(1, "x")
        assert entry.attr.size == 5
