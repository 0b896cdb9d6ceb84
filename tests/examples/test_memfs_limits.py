"""All that memfs keeps counts towards its size, on a real mount of a small one."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest

from tests.examples.conftest import EXAMPLES, serving
from tests.examples.posix import NOBODY, as_user, fails
from tests.examples.test_memfs_acl import listed, needs_root
from triofuse.posix.acl import ACCESS

pytestmark = pytest.mark.mount

PAGE = 4096
#: Pages of the filesystem.
TOTAL = 512
#: libc's FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE.
KEEP_SIZE, PUNCH_HOLE = 1, 2


@attrs.frozen
class Small:
    """A filesystem of 2 MiB, and the process that serves it."""

    root: Path
    pid: int

    @property
    def used(self) -> int:
        """Pages that statfs says are taken."""
        status = os.statvfs(self.root)
        return status.f_blocks - status.f_bfree

    @property
    def resident(self) -> int:
        """Pages of memory that the server has."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])

    def fill(self) -> None:
        """Leave no page free."""
        while (free := TOTAL - self.used) > 0:
            with open(self.root / "filler", "ab", buffering=0) as filler:
                filler.write(bytes(free * PAGE))


@pytest.fixture
def small() -> Iterator[Small]:
    """A mount that everybody may enter."""
    with mounted(TOTAL) as filesystem:
        yield filesystem


@pytest.fixture
def larger() -> Iterator[Small]:
    """The same with 16 MiB: more than the memory that is kept for the next file."""
    with mounted(8 * TOTAL) as filesystem:
        yield filesystem


@contextmanager
def mounted(pages: int) -> Iterator[Small]:
    """Mount a filesystem of so many pages."""
    home = Path(tempfile.mkdtemp(prefix="triofuse-"))
    home.chmod(0o755)
    root = home / "mnt"
    root.mkdir()
    options = ["-o", "allow_other,suid"] if os.geteuid() == 0 else []
    size = ["-o", f"size={pages * PAGE}"]
    command = [str(EXAMPLES / "memfs.py"), str(root), *size, *options]
    with serving(*command, mountpoint=str(root)) as server:
        root.chmod(0o777)
        yield Small(root, server.pid)
    shutil.rmtree(home)


def until_full(action: Callable[[int], object]) -> int:
    """Do something until there is no space for it; return how often it was done."""
    for number in range(10 * TOTAL):
        try:
            action(number)
        except OSError as exc:
            if exc.errno != errno.ENOSPC:
                raise
            return number
    pytest.fail("there is no end to it")


def settles(condition: Callable[[], bool]) -> bool:
    """Ask again: nobody waits for the RELEASE of a file, and FORGETs of nodes."""
    return any(condition() for _ in range(1000))


def fallocate(path: Path, mode: int, offset: int, length: int) -> None:
    """Call fallocate(1), for os has posix_fallocate only."""
    flags = ["--punch-hole"] if mode & PUNCH_HOLE else []
    command = ["fallocate", *flags, f"--offset={offset}", f"--length={length}"]
    if mode & KEEP_SIZE:
        command.append("--keep-size")
    subprocess.run([*command, str(path)], check=True, timeout=30)


# --- What counts


def test_an_empty_filesystem_uses_nothing(small: Small) -> None:
    assert small.used == 0


@pytest.mark.parametrize("what", ["name", "link", "target", "xattr"])
def test_what_is_no_contents_fills_the_filesystem_and_gives_it_back(
    what: str, small: Small
) -> None:
    directory = small.root / "directory"
    directory.mkdir()
    file = directory / "file"
    file.touch()
    before = small.used
    long = "n" * 240

    actions: dict[str, Callable[[int], object]] = {
        "name": lambda n: os.mkdir(directory / f"{long}{n}"),
        "link": lambda n: os.link(file, directory / f"{long}{n}"),
        "target": lambda n: os.symlink("t" * 4000, directory / f"{n}"),
        "xattr": lambda n: os.setxattr(file, f"user.{n}", bytes(9000)),
    }
    done = until_full(actions[what]) if what != "name" else _many(actions[what])

    assert done > 10
    assert small.used - before > done * len(long) // PAGE
    assert small.used <= TOTAL
    shutil.rmtree(directory)
    assert settles(lambda: small.used == 0)


def _many(action: Callable[[int], object]) -> int:
    """Make as many as there are nodes: each could take a page."""
    for number in range(TOTAL - 10):
        action(number)
    return TOTAL - 10


def test_memory_stays_within_the_size(larger: Small) -> None:
    file = larger.root / "file"
    file.touch()
    before = larger.resident

    until_full(lambda n: os.setxattr(file, f"user.{n}", os.urandom(60_000)))
    until_full(lambda n: os.link(file, larger.root / f"{n:0250}"))

    assert larger.resident - before < 2 * 8 * TOTAL


def test_a_removed_attribute_gives_back_what_it_took(small: Small) -> None:
    file = small.root / "file"
    file.touch()
    before = small.used

    os.setxattr(file, "user.large", bytes(60_000))
    assert small.used >= before + 14
    os.setxattr(file, "user.large", bytes(9_000))
    assert small.used <= before + 4
    os.removexattr(file, "user.large")

    assert small.used == before


# --- Without space


FULL: dict[str, Callable[[Path], object]] = {
    "create": lambda d: (d / ("n" * 200)).touch(),
    "mkdir": lambda d: (d / ("n" * 200)).mkdir(),
    "mknod": lambda d: os.mkfifo(d / ("n" * 200)),
    "symlink": lambda d: (d / "l").symlink_to("t" * 4000),
    "link": lambda d: os.link(d / "file", d / ("n" * 200)),
    "rename": lambda d: os.rename(d / "file", d / ("n" * 255)),
    "setxattr": lambda d: os.setxattr(d / "file", "user.x", bytes(5000)),
    "write": lambda d: (d / "file").write_bytes(b"data"),
    "fallocate": lambda d: _posix_fallocate(d / "file"),
    "copy": lambda d: _copy(d / "filler", d / "file"),
    "list": lambda d: os.setxattr(
        d / "file", ACCESS, listed("u::rw- " + "u:7:r-- " * 99 + "g::r-- m::r-- o::---")
    ),
}


def _posix_fallocate(path: Path) -> None:
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, PAGE)


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as read, open(target, "r+b") as written:
        os.copy_file_range(read.fileno(), written.fileno(), PAGE)


@pytest.mark.parametrize("what", FULL)
def test_a_full_filesystem_says_so_and_changes_nothing(what: str, small: Small) -> None:
    (small.root / "file").touch()
    small.fill()
    # Names share a page: take what is left of it, to the last bytes.
    for size in (100, 10, 1):
        until_full(partial(_short_name, small.root, size))

    before = {path: os.lstat(path) for path in small.root.iterdir()}
    with fails(errno.ENOSPC):
        FULL[what](small.root)

    after = {path: os.lstat(path) for path in small.root.iterdir()}
    assert after.keys() == before.keys()
    assert all(_same(after[path], before[path]) for path in after)
    assert small.used == TOTAL


def _short_name(root: Path, size: int, number: int) -> None:
    os.setxattr(root / "file", f"user.{size}-{number}", bytes(size))


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_size, one.st_blocks, one.st_nlink) == (
        other.st_mode,
        other.st_size,
        other.st_blocks,
        other.st_nlink,
    )


def test_a_full_filesystem_renames_and_replaces_names_that_are_no_longer(
    small: Small,
) -> None:
    (small.root / "old").touch()
    (small.root / "other").touch()
    small.fill()

    os.rename(small.root / "old", small.root / "new")
    os.rename(small.root / "new", small.root / "other")

    assert sorted(os.listdir(small.root)) == ["filler", "other"]


def test_a_file_without_a_name_keeps_its_space_until_it_is_closed(
    small: Small,
) -> None:
    with open(small.root / "file", "wb", buffering=0) as file:
        os.unlink(small.root / "file")
        file.write(bytes(100 * PAGE))
        assert small.used == 100
    assert settles(lambda: small.used == 0)  # RELEASE comes after close(2)
    nameless = os.open(small.root, os.O_TMPFILE | os.O_RDWR)
    os.write(nameless, bytes(50 * PAGE))
    assert small.used == 50
    os.close(nameless)

    assert settles(lambda: small.used == 0)


# --- Memory that is given back


def test_what_is_punched_out_of_a_file_is_memory_again(larger: Small) -> None:
    file = larger.root / "file"
    file.write_bytes(os.urandom(3000 * PAGE))
    full = larger.resident

    fallocate(file, PUNCH_HOLE | KEEP_SIZE, 0, 2900 * PAGE)

    assert larger.used <= 101
    assert full - larger.resident > 2500


def test_holes_of_single_pages_are_not_counted_nor_kept(larger: Small) -> None:
    file = larger.root / "file"
    file.write_bytes(os.urandom(3000 * PAGE))
    with open(file, "r+b") as opened:
        full = larger.resident
        for page in range(0, 3000, 2):
            fallocate(file, PUNCH_HOLE | KEEP_SIZE, page * PAGE, PAGE)
        status = os.fstat(opened.fileno())
        found = [
            os.lseek(opened.fileno(), 0, os.SEEK_DATA),
            os.lseek(opened.fileno(), PAGE, os.SEEK_HOLE),
            os.lseek(opened.fileno(), 2 * PAGE + 1, os.SEEK_DATA),
        ]

    assert status.st_blocks * 512 == 1500 * PAGE
    assert found == [PAGE, 2 * PAGE, 3 * PAGE]
    assert full - larger.resident > 1000


# --- What needs no space


def test_a_position_that_no_byte_has_is_enxio(small: Small) -> None:
    file = small.root / "file"
    file.write_bytes(b"data")
    with open(file, "rb") as opened:
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            for offset in (-1, -(1 << 40), 4, 1 << 40):
                with fails(errno.ENXIO):
                    os.lseek(opened.fileno(), offset, whence)


def _refused(program: Path) -> None:
    with fails(errno.EPERM):
        os.chown(program, -1, -1)


def _write(program: Path) -> None:
    program.write_bytes(b"written")


@needs_root
def test_a_stranger_takes_no_rights_away_by_chown_of_nothing(small: Small) -> None:
    program = small.root / "program"
    program.touch()
    program.chmod(0o4700)

    as_user(NOBODY, NOBODY, [], lambda: _refused(program))

    assert program.stat().st_mode & 0o7777 == 0o4700
    os.chown(program, -1, -1)
    assert program.stat().st_mode & 0o7777 == 0o700


@needs_root
def test_chown_of_nothing_is_for_everybody_where_it_takes_nothing(small: Small) -> None:
    plain = small.root / "plain"
    plain.touch()

    as_user(NOBODY, NOBODY, [], lambda: os.chown(plain, -1, -1))


@needs_root
def test_a_stranger_who_may_write_ends_set_id_rights_by_writing(small: Small) -> None:
    program = small.root / "program"
    program.touch()
    program.chmod(0o6777)

    as_user(NOBODY, NOBODY, [], lambda: _write(program))

    assert program.stat().st_mode & 0o7777 == 0o777
