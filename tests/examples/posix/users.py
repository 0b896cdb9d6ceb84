"""What takes root to try: other users, devices."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

from tests.examples.posix.tools import (
    NOBODY,
    WHITEOUT,
    Behaviour,
    as_user,
    fails,
)
from tests.kernel.operations_syscalls import renameat2

__all__ = ["BEHAVIOURS"]


def devices_keep_their_numbers(d: Path) -> None:
    number = os.makedev(1, 0x12345)
    os.mknod(d / "char", stat.S_IFCHR | 0o600, number)
    os.mknod(d / "block", stat.S_IFBLK | 0o600, os.makedev(255, 7))
    assert os.stat(d / "char").st_rdev == number
    assert stat.S_ISBLK(os.stat(d / "block").st_mode)


def a_whiteout_is_left_where_something_moved(d: Path) -> None:
    (d / "one").write_text("1")
    renameat2(d / "one", d / "two", WHITEOUT)
    status = os.lstat(d / "one")
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0
    assert (d / "two").read_text() == "1"


def what_a_user_makes_is_the_users(d: Path) -> None:
    os.chmod(d, 0o777)

    def make() -> None:
        os.mkdir(d / "dir")
        (d / "file").touch()
        os.symlink("x", d / "link")
        os.mkfifo(d / "fifo")

    as_user(NOBODY, 1234, [], make)
    owners = {(os.lstat(p).st_uid, os.lstat(p).st_gid) for p in d.iterdir()}
    assert owners == {(NOBODY, 1234)}


def a_setgid_directory_gives_its_group_away(d: Path) -> None:
    os.chown(d, NOBODY, 4321)
    os.chmod(d, 0o2777)
    as_user(NOBODY, 1234, [], lambda: os.mkdir(d / "dir"))
    as_user(NOBODY, 1234, [], lambda: (d / "file").touch())
    assert os.stat(d / "dir").st_gid == os.stat(d / "file").st_gid == 4321
    assert os.stat(d / "dir").st_mode & stat.S_ISGID
    assert not os.stat(d / "file").st_mode & stat.S_ISGID


def strangers_are_kept_out(d: Path) -> None:
    (d / "secret").write_text("x")
    os.chmod(d / "secret", 0o600)
    os.chmod(d, 0o755)

    def try_all() -> None:
        for step in (
            lambda: os.open(d / "secret", os.O_RDONLY),
            lambda: os.unlink(d / "secret"),
            lambda: os.mkdir(d / "new"),
            lambda: os.truncate(d / "secret", 0),
        ):
            with fails(errno.EACCES):
                step()
        for step in (
            lambda: os.chmod(d / "secret", 0o777),
            lambda: os.chown(d / "secret", NOBODY, -1),
            lambda: os.utime(d / "secret", (0, 0)),
        ):
            with fails(errno.EPERM):
                step()

    as_user(NOBODY, NOBODY, [], try_all)


def a_sticky_directory_protects_what_is_not_ones_own(d: Path) -> None:
    os.chmod(d, 0o1777)
    (d / "roots").touch()
    as_user(NOBODY, NOBODY, [], lambda: (d / "own").touch())

    def try_all() -> None:
        with fails(errno.EPERM, errno.EACCES):
            os.unlink(d / "roots")
        with fails(errno.EPERM, errno.EACCES):
            os.rename(d / "own", d / "roots")
        os.unlink(d / "own")

    as_user(NOBODY, NOBODY, [], try_all)


def giving_a_file_away_takes_its_set_id_bits(d: Path) -> None:
    (d / "file").touch()
    os.chown(d / "file", NOBODY, 100)
    os.chmod(d / "file", 0o6755)
    as_user(NOBODY, 100, [200], lambda: os.chown(d / "file", -1, 200))
    status = os.stat(d / "file")
    assert status.st_gid == 200
    assert stat.S_IMODE(status.st_mode) == 0o755


def writing_takes_set_id_bits(d: Path) -> None:
    path = d / "file"
    path.write_text("program")
    os.chmod(path, 0o6777)

    def write() -> None:
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

    as_user(NOBODY, NOBODY, [], write)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777


def a_program_that_another_user_wrote_to_runs_without_rights(d: Path) -> None:
    program = d / "id"
    shutil.copy("/usr/bin/id", program)
    os.chmod(program, 0o6777)

    def write_and_run() -> None:
        with open(program, "r+b") as file:
            file.write(b"\x7f")  # what is there already
        said = subprocess.run([program, "-u"], capture_output=True, check=True).stdout
        assert int(said) == NOBODY

    as_user(NOBODY, NOBODY, [], write_and_run)


def a_stranger_to_the_group_cannot_set_the_setgid_bit(d: Path) -> None:
    (d / "file").touch()
    os.chown(d / "file", NOBODY, 100)
    as_user(NOBODY, 200, [], lambda: os.chmod(d / "file", 0o2755))
    assert stat.S_IMODE(os.stat(d / "file").st_mode) == 0o755


def an_owner_may_set_any_times_a_writer_only_now(d: Path) -> None:
    path = d / "file"
    path.touch()
    os.chmod(path, 0o666)

    def try_both() -> None:
        os.utime(path)
        with fails(errno.EPERM):
            os.utime(path, (0, 0))

    as_user(NOBODY, NOBODY, [], try_both)


BEHAVIOURS: list[Behaviour] = [
    devices_keep_their_numbers,
    a_whiteout_is_left_where_something_moved,
    what_a_user_makes_is_the_users,
    a_setgid_directory_gives_its_group_away,
    strangers_are_kept_out,
    a_sticky_directory_protects_what_is_not_ones_own,
    giving_a_file_away_takes_its_set_id_bits,
    writing_takes_set_id_bits,
    a_program_that_another_user_wrote_to_runs_without_rights,
    a_stranger_to_the_group_cannot_set_the_setgid_bit,
    an_owner_may_set_any_times_a_writer_only_now,
]
