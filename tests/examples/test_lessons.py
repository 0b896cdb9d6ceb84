"""What the lessons do beyond what their text shows."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from floppy import BLOCK, BLOCKS, DATA, LAST, SLOTS, Floppy
from tests.examples.conftest import EXAMPLES, serving
from triofuse.testing import open_kernel

LESSONS = EXAMPLES / "lessons"

Serve = Callable[..., AbstractContextManager[Path]]


@pytest.fixture
def lesson(mountpoint: str) -> Serve:
    """Return what mounts a lesson in the foreground; it ends on Ctrl-C."""

    @contextmanager
    def serve(name: str, *source: str | Path) -> Iterator[Path]:
        words = [str(LESSONS / f"{name}.py"), *map(str, source), mountpoint, "-f"]
        with serving(*words, mountpoint=mountpoint):
            yield Path(mountpoint)

    return serve


# --- 4: a store


@pytest.mark.mount
def test_notes_are_there_after_the_next_mount(lesson: Serve, tmp_path: Path) -> None:
    store = tmp_path / "notes.json"
    with lesson("04_store", store) as mount:
        mount.joinpath("a").write_text("first\n")
        mount.joinpath("b").write_text("second\n")
        mount.joinpath("a").rename(mount / "b")
        with open(mount / "c", "wb") as file:
            file.seek(3)
            file.write(b"x")
            file.truncate(6)
        with pytest.raises(PermissionError):
            mount.joinpath("d").mkdir()

    with lesson("04_store", store) as mount:
        assert sorted(os.listdir(mount)) == ["b", "c"]
        assert mount.joinpath("b").read_text() == "first\n"
        assert mount.joinpath("c").read_bytes() == b"\0\0\0x\0\0"


@pytest.mark.mount
def test_a_note_that_cannot_be_saved_is_an_error_of_close(
    lesson: Serve, tmp_path: Path
) -> None:
    store = tmp_path / "there" / "notes.json"
    store.parent.mkdir()
    with lesson("04_store", store) as mount:
        file = os.open(mount / "a", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"text")
        store.parent.rmdir()
        with pytest.raises(FileNotFoundError):
            os.close(file)


# --- 6: threads


#: Reads the same file from two threads, by one descriptor.
TWO_THREADS = """
import os, sys, threading
fd = os.open(sys.argv[1], os.O_RDONLY)
expected = b"".join(b"%d\\n" % n for n in range(1, 100_001))
def read(start):
    for offset in range(start, len(expected), 8192):
        assert os.pread(fd, 4096, offset) == expected[offset:offset + 4096], offset
threads = [threading.Thread(target=read, args=(n * 4096,)) for n in (0, 1)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.mount
def test_two_threads_read_one_packed_file(lesson: Serve, tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/z && seq 100000 | gzip > {tmp_path}/z/n.gz"
    subprocess.run(script, shell=True, check=True)
    with lesson("06_threads", tmp_path / "z") as mount:
        command = [sys.executable, "-c", TWO_THREADS, str(mount / "n")]
        client = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (client.returncode, client.stderr) == (0, "")


# --- 9: layers


@pytest.mark.mount
def test_what_is_read_a_second_time_does_not_pass_the_layer(lesson: Serve) -> None:
    with lesson("09_layers") as mount:
        began = time.monotonic()
        mount.joinpath("one").read_text()
        first = time.monotonic() - began
        again = []
        for _ in range(5):  # the best of them: the machine may be busy
            began = time.monotonic()
            mount.joinpath("one").read_text()
            again.append(time.monotonic() - began)

    assert first >= 0.5
    assert min(again) < 0.25


# --- 11: a service


@pytest.mark.mount
def test_an_archive_keeps_modes_times_and_links(lesson: Serve, tmp_path: Path) -> None:
    store = tmp_path / "home.tar"
    with lesson("11_service", store) as mount:
        mount.joinpath("d/e").mkdir(parents=True)
        mount.joinpath("d/e/f").write_text("text")
        mount.joinpath("d/e/f").chmod(0o640)
        os.utime(mount / "d/e/f", (1_000_000_000, 1_000_000_000))
        mount.joinpath("l").symlink_to("d/e/f")

    with tarfile.open(store) as archive:
        assert archive.getmember("d/e/f").mode == 0o640
    with lesson("11_service", store) as mount:
        status = mount.joinpath("l").stat()
        assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1_000_000_000)
        assert mount.joinpath("l").read_text() == "text"


@pytest.mark.mount
def test_a_mount_that_fails_leaves_the_archive_alone(tmp_path: Path) -> None:
    store = tmp_path / "home.tar"
    command = [sys.executable, str(LESSONS / "11_service.py"), str(store)]

    done = subprocess.run([*command, str(tmp_path / "missing")], capture_output=True)

    assert done.returncode == 32
    assert not store.exists()


# --- 13: a disk image


def check(disk: Floppy, image: Path) -> dict[bytes, bytes]:
    """Check all of a disk, as fsck does; return its files."""
    files: dict[bytes, bytes] = {}
    used: set[int] = set()
    for slot in range(SLOTS):
        name, size, *_ = disk.entry(slot)
        chain = list(disk.chain(slot))
        assert len(chain) == -(-size // BLOCK)
        assert not used.intersection(chain)
        used.update(chain)
        if name:
            pieces = disk.pieces(slot, 0, size)
            data = image.read_bytes()
            files[name] = b"".join(data[piece] for piece in pieces)
    free = BLOCKS - DATA - len(used)
    assert disk.free == free
    return files


@pytest.mark.parametrize("seed", range(5))
def test_a_disk_holds_what_was_written(tmp_path: Path, seed: int) -> None:
    """At random, against a dictionary, until it is full and beyond."""
    dice, image = random.Random(seed), tmp_path / "disk"
    disk, expected = Floppy(image), dict[bytes, bytearray]()
    full = 0
    for _ in range(400):
        name = b"file %d" % dice.randrange(20)
        slot = disk.slot_of(name)
        if slot is None:
            slot = disk.slot_of(b"")
            assert slot is not None
            disk.put_entry(slot, name, 0, LAST, 0, 0)
            expected[name] = bytearray()
        if dice.random() < 0.1:
            disk.erase(slot)
            del expected[name]
            continue
        size = dice.randrange(200_000)
        try:
            disk.resize(slot, size)
        except OSError:
            assert -(-size // BLOCK) > len(list(disk.chain(slot))) + disk.free
            full += 1
            continue
        del expected[name][size:]
        expected[name].extend(bytes(size - len(expected[name])))
        data = dice.randbytes(dice.randrange(size + 1))
        offset = dice.randrange(size - len(data) + 1)
        written = memoryview(data)
        for piece in disk.pieces(slot, offset, len(data)):
            count = piece.stop - piece.start
            disk.disk[piece], written = written[:count], written[count:]
        expected[name][offset : offset + len(data)] = data

    assert full
    assert image.stat().st_size == 2880 * 512
    assert check(disk, image) == expected
    assert check(Floppy(image), image) == expected


def test_what_is_no_disk_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "letter"
    image.write_text("Dear kernel")

    with pytest.raises(ValueError, match="is not a disk of this lesson"):
        Floppy(image)


@pytest.mark.mount
def test_a_disk_is_the_same_after_the_next_mount(lesson: Serve, tmp_path: Path) -> None:
    image = tmp_path / "disk"
    with lesson("13_image", image) as mount:
        mount.joinpath("a").write_bytes(b"a" * 1000)
        mount.joinpath("b").write_bytes(b"b" * 100_000)
        mount.joinpath("a").chmod(0o600)
        os.truncate(mount / "b", 700)
        os.truncate(mount / "b", 1500)
        mount.joinpath("a").rename(mount / "c")
        with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
            mount.joinpath("n" * 49).touch()

    with lesson("13_image", image) as mount:
        assert sorted(os.listdir(mount)) == ["b", "c"]
        assert mount.joinpath("c").read_bytes() == b"a" * 1000
        assert mount.joinpath("c").stat().st_mode & 0o777 == 0o600
        assert mount.joinpath("b").read_bytes() == b"b" * 700 + bytes(800)
    check(Floppy(image), image)


async def test_a_file_that_the_kernel_forgets_is_still_on_the_disk(
    tmp_path: Path,
) -> None:
    tree = import_module("13_image").make(tmp_path / "disk")
    async with open_kernel(tree) as kernel:
        await kernel.path("/a").write_bytes(b"text")  # forgets all nodes at its end
        free = tree.disk.free

        assert await kernel.path("/a").read_bytes() == b"text"
        assert tree.disk.free == free

        await kernel.path("/a").unlink()
        await tree.told()
        assert tree.disk.free == free + 1


@pytest.mark.mount
def test_a_file_that_is_removed_keeps_its_blocks_until_it_is_closed(
    lesson: Serve, tmp_path: Path
) -> None:
    with lesson("13_image", tmp_path / "disk") as mount:
        total = os.statvfs(mount).f_bfree
        with open(mount / "a", "w+b") as file:
            file.write(b"x" * 5000)
            file.flush()
            mount.joinpath("b").write_bytes(b"y" * 600)
            mount.joinpath("b").rename(mount / "a")
            assert os.statvfs(mount).f_bfree == total - 12
            assert os.pread(file.fileno(), 5000, 0) == b"x" * 5000
        deadline = time.monotonic() + 20
        while os.statvfs(mount).f_bfree != total - 2:  # FORGET comes when it comes
            assert time.monotonic() < deadline
        assert mount.joinpath("a").read_bytes() == b"y" * 600


@pytest.mark.mount
def test_an_orphan_is_freed_by_the_next_mount(lesson: Serve, tmp_path: Path) -> None:
    image = tmp_path / "disk"
    disk = Floppy(image)
    disk.put_entry(0, b"", 0, LAST, 0, 0)
    disk.resize(0, 5000)
    lost = disk.free

    with lesson("13_image", image) as mount:
        assert os.statvfs(mount).f_bfree == lost + 10
        assert os.listdir(mount) == []
