"""Open files, their space, and attributes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tests.examples.posix.tools import (
    KEEP_SIZE,
    PUNCH_HOLE,
    ZERO_RANGE,
    Behaviour,
    changing,
    fails,
)
from tests.kernel.operations_syscalls import fallocate

__all__ = ["BEHAVIOURS"]


# --- Open files


def an_unlinked_file_lives_while_it_is_open(d: Path) -> None:
    fd = os.open(d / "file", os.O_CREAT | os.O_RDWR)
    os.unlink(d / "file")
    os.write(fd, b"still here")
    os.ftruncate(fd, 5)
    assert os.pread(fd, 99, 0) == b"still"
    assert os.fstat(fd).st_nlink == 0
    os.fchmod(fd, 0o600)
    os.close(fd)


def appending_goes_to_the_end_whoever_writes(d: Path) -> None:
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    one, two = (os.open(d / "log", flags) for _ in range(2))
    for fd, text in ((one, b"a"), (two, b"b"), (one, b"c")):
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, text)
    os.close(one)
    os.close(two)
    assert (d / "log").read_bytes() == b"abc"


def a_hole_reads_as_zeros_and_takes_no_space(d: Path) -> None:
    with open(d / "sparse", "w+b") as file:
        file.seek(64 << 20)
        file.write(b"end")
        file.flush()
        assert os.pread(file.fileno(), 4, 1 << 20) == bytes(4)
    assert os.stat(d / "sparse").st_size == (64 << 20) + 3
    assert os.stat(d / "sparse").st_blocks * 512 < 1 << 20


def truncating_cuts_and_lengthens_with_zeros(d: Path) -> None:
    path = d / "file"
    path.write_bytes(b"abcdef" * 2000)
    with changing(path):
        os.truncate(path, 3)
    os.truncate(path, 10_000)
    assert path.read_bytes() == b"abc" + bytes(9997)
    with fails(errno.EINVAL):
        os.truncate(path, -1)
    with fails(errno.EISDIR):
        os.truncate(d, 0)


def writing_changes_mtime_and_ctime(d: Path) -> None:
    path = d / "file"
    path.touch()
    with changing(path):
        path.write_text("x")


def opening_with_o_trunc_empties(d: Path) -> None:
    path = d / "file"
    path.write_text("something")
    with changing(path):
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert path.stat().st_size == 0


def a_nameless_file_can_be_given_a_name(d: Path) -> None:
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"now you see it")
    assert os.listdir(d) == []
    # With a descriptor, even one that is not used, os.link() calls linkat(2).
    os.link(f"/proc/self/fd/{fd}", d / "seen", src_dir_fd=fd, follow_symlinks=True)
    os.close(fd)
    assert (d / "seen").read_text() == "now you see it"


def seeking_finds_data_and_holes(d: Path) -> None:
    with open(d / "sparse", "w+b") as file:
        fd = file.fileno()
        os.truncate(fd, 4 << 20)
        os.pwrite(fd, b"x" * 4096, 1 << 20)
        data = os.lseek(fd, 0, os.SEEK_DATA)
        assert 0 <= data <= 1 << 20
        hole = os.lseek(fd, 1 << 20, os.SEEK_HOLE)
        assert (1 << 20) + 4096 <= hole <= 4 << 20
        with fails(errno.ENXIO):
            os.lseek(fd, 4 << 20, os.SEEK_DATA)


def space_is_allocated_and_punched(d: Path) -> None:
    with open(d / "file", "w+b") as file:
        fd = file.fileno()
        fallocate(fd, 0, 0, 1 << 16)
        assert os.fstat(fd).st_size == 1 << 16
        fallocate(fd, KEEP_SIZE, 0, 1 << 20)
        assert os.fstat(fd).st_size == 1 << 16
        os.pwrite(fd, b"x" * (1 << 16), 0)
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4096, 8192)
        data = os.pread(fd, 1 << 16, 0)
    assert data[:4096] == b"x" * 4096
    assert data[4096:12288] == bytes(8192)
    assert data[12288:] == b"x" * ((1 << 16) - 12288)


def a_range_is_zeroed(d: Path) -> None:
    with open(d / "file", "w+b") as file:
        fd = file.fileno()
        os.write(fd, b"x" * 10_000)
        fallocate(fd, ZERO_RANGE, 5000, 100)
        fallocate(fd, ZERO_RANGE | KEEP_SIZE, 9000, 5000)
        data = os.pread(fd, 20_000, 0)
    assert data == b"x" * 5000 + bytes(100) + b"x" * 3900 + bytes(1000)


def a_range_is_copied_within_the_filesystem(d: Path) -> None:
    data = os.urandom(300_000)
    (d / "from").write_bytes(data)
    with open(d / "from", "rb") as source, open(d / "to", "w+b") as target:
        pair = source.fileno(), target.fileno()
        copied = 0
        while copied < 200_000:
            copied += os.copy_file_range(*pair, 200_000 - copied, 1000 + copied, copied)
    assert (d / "to").read_bytes() == data[1000:201_000]


# --- Attributes


def times_are_kept_to_the_nanosecond_and_before_1970(d: Path) -> None:
    (d / "file").touch()
    for pair in ((1, 2), (-1, -1_000_000_001), (2**31 * 10**9, 4_102_444_800 * 10**9)):
        os.utime(d / "file", ns=pair)
        status = os.stat(d / "file")
        assert (status.st_atime_ns, status.st_mtime_ns) == pair


def the_times_of_a_link_are_its_own(d: Path) -> None:
    (d / "file").touch()
    os.symlink("file", d / "link")
    os.utime(d / "link", ns=(5, 6), follow_symlinks=False)
    status = os.lstat(d / "link")
    assert status.st_mtime_ns == 6
    assert os.stat(d / "file").st_mtime_ns != 6


def changing_the_mode_changes_only_ctime(d: Path) -> None:
    (d / "file").touch()
    with changing(d / "file", mtime=False):
        os.chmod(d / "file", 0o4751)
    assert stat.S_IMODE(os.stat(d / "file").st_mode) == 0o4751


def modes_obey_the_umask(d: Path) -> None:
    old = os.umask(0o027)
    try:
        os.mkdir(d / "dir", 0o777)
        os.close(os.open(d / "file", os.O_CREAT, 0o666))
        os.mkfifo(d / "fifo", 0o666)
    finally:
        os.umask(old)
    modes = {name: stat.S_IMODE(os.stat(d / name).st_mode) for name in os.listdir(d)}
    assert modes == {"dir": 0o750, "file": 0o640, "fifo": 0o640}


def pipes_and_sockets_are_what_they_are(d: Path) -> None:
    os.mkfifo(d / "fifo")
    os.mknod(d / "socket", stat.S_IFSOCK | 0o600)
    assert stat.S_ISFIFO(os.stat(d / "fifo").st_mode)
    assert stat.S_ISSOCK(os.stat(d / "socket").st_mode)


def extended_attributes_are_created_or_replaced_as_asked(d: Path) -> None:
    (d / "file").touch()
    path = d / "file"
    with fails(errno.ENODATA):
        os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    with fails(errno.EEXIST):
        os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)
    with changing(path, mtime=False):
        os.setxattr(path, "user.a", b"\0\xff" * 1000)
    assert os.getxattr(path, "user.a") == b"\0\xff" * 1000
    os.removexattr(path, "user.a")
    with fails(errno.ENODATA):
        os.removexattr(path, "user.a")


BEHAVIOURS: list[Behaviour] = [
    an_unlinked_file_lives_while_it_is_open,
    appending_goes_to_the_end_whoever_writes,
    a_hole_reads_as_zeros_and_takes_no_space,
    truncating_cuts_and_lengthens_with_zeros,
    writing_changes_mtime_and_ctime,
    opening_with_o_trunc_empties,
    a_nameless_file_can_be_given_a_name,
    seeking_finds_data_and_holes,
    space_is_allocated_and_punched,
    a_range_is_zeroed,
    a_range_is_copied_within_the_filesystem,
    times_are_kept_to_the_nanosecond_and_before_1970,
    the_times_of_a_link_are_its_own,
    changing_the_mode_changes_only_ctime,
    modes_obey_the_umask,
    pipes_and_sockets_are_what_they_are,
    extended_attributes_are_created_or_replaced_as_asked,
]
