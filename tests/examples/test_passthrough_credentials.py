"""The mirror: a caller has the rights there that it has in the source, and no more."""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import mounts_below
from tests.examples.posix import NOBODY, as_user, fails
from tests.examples.posix.tools import wait_for_tick
from tests.examples.sources import ext4
from tests.examples.test_passthrough import mirrored
from tests.examples.test_passthrough_rights import OPTIONAL, home, root
from tests.examples.test_programs import needs, run
from tests.kernel.test_idmap import IDMAP
from triofuse import Getattr, Ioctl
from triofuse.mirror import credentials, inodeflags, libc
from triofuse.mirror.credentials import Caller, Capability
from triofuse.mirror.inodeflags import (
    FS_IOC_FSGETXATTR,
    FS_IOC_FSSETXATTR,
    FS_IOC_SETFLAGS,
)

__all__ = ["home", "root"]

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs("mkfs.ext4", "mount"),
]

#: Mebibytes that root alone may use, of 32.
RESERVED = 8


@pytest.fixture
def source(home: Path) -> Iterator[Path]:
    """An ext4 of its own, in a directory of which everybody may write."""
    percent = RESERVED * 100 // 32
    with ext4(home, "-m", str(percent)) as path:
        (path / "dir").mkdir()
        (path / "dir").chmod(0o777)
        yield path
    assert not mounts_below(str(home))


def fill(path: Path) -> None:
    """Write until there is no more room."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, bytes(1 << 16))
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
    os.fsync(fd)
    os.close(fd)


def room_left(source: Path) -> int:
    """Return how many whole mebibytes are free, for root too."""
    status = os.statvfs(source)
    return status.f_bfree * status.f_frsize >> 20


# --- Space


@OPTIONAL
def test_users_leave_what_is_kept_for_root_and_root_can_have_it(
    source: Path, root: Path, options: list[str]
) -> None:
    with mirrored(source, root, *options):
        as_user(NOBODY, NOBODY, [], lambda: fill(root / "dir" / "users"))
        assert room_left(source) >= RESERVED - 1
        fill(root / "dir" / "roots")
        assert room_left(source) <= 1


@OPTIONAL
@pytest.mark.parametrize("first", ["root", "user"])
def test_who_opened_a_file_first_lends_nobody_its_rights(
    source: Path, root: Path, options: list[str], first: str
) -> None:
    (source / "dir" / "file").touch()
    (source / "dir" / "file").chmod(0o666)
    path = root / "dir" / "file"

    def try_as_user() -> None:
        with ExitStack() as stack:
            if first == "user":
                file = stack.enter_context(open(path, "r+b"))
                as_root.append(file.fileno())
            fill(path)

    as_root: list[int] = []
    with mirrored(source, root, *options):
        with ExitStack() as stack:
            if first == "root":
                stack.enter_context(open(path, "r+b"))
            as_user(NOBODY, NOBODY, [], try_as_user)
            assert room_left(source) >= RESERVED - 1


@OPTIONAL
def test_space_that_is_allocated_or_copied_is_the_users_as_well(
    source: Path, root: Path, options: list[str]
) -> None:
    (source / "dir" / "data").write_bytes(bytes(1 << 20))

    def allocate() -> None:
        fd = os.open(root / "dir" / "allocated", os.O_WRONLY | os.O_CREAT)
        with fails(errno.ENOSPC):
            for number in range(64):
                os.posix_fallocate(fd, number << 20, 1 << 20)

    def copy() -> None:
        fd = os.open(root / "dir" / "data", os.O_RDONLY)
        copy = os.open(root / "dir" / "copy", os.O_WRONLY | os.O_CREAT)
        with fails(errno.ENOSPC):
            for number in range(64):
                os.copy_file_range(fd, copy, 1 << 20, 0, number << 20)

    with mirrored(source, root, *options):
        for action in allocate, copy:
            as_user(NOBODY, NOBODY, [], action)
            assert room_left(source) >= RESERVED - 1
            for path in (source / "dir").glob("[ac]o*"):
                path.unlink()


# --- Attributes of chattr(1)


@needs("chattr", "lsattr")
@OPTIONAL
def test_an_append_only_file_is_appended_to_and_no_more(
    source: Path, root: Path, options: list[str]
) -> None:
    log = source / "dir" / "log"
    log.write_text("one\n")
    log.chmod(0o666)
    run("chattr", "+a", log)
    path = root / "dir" / "log"

    def use() -> None:
        with open(path, "a") as file:
            file.write("two\n")
        fd = os.open(path, os.O_RDWR | os.O_APPEND)
        os.write(fd, b"three\n")
        assert os.pread(fd, 3, 0) == b"one"
        os.close(fd)
        for flags in os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND | os.O_TRUNC:
            with fails(errno.EPERM):
                os.open(path, flags)
        with fails(errno.EPERM, errno.EACCES):
            path.unlink()

    try:
        with mirrored(source, root, *options):
            use()
            as_user(NOBODY, NOBODY, [], use)
        assert log.read_text() == "one\n" + 2 * "two\nthree\n"
    finally:
        run("chattr", "-a", log)


def flags_of(path: Path) -> str:
    return run("lsattr", "-d", str(path)).split()[0]


@needs("chattr", "lsattr")
@OPTIONAL
def test_attributes_are_shown_and_changed_as_in_the_source(
    source: Path, root: Path, options: list[str]
) -> None:
    (source / "dir" / "file").touch()
    with mirrored(source, root, *options):
        for name, letters in ("file", "dAi"), ("file", "a"), (".", "dD"):
            here, there = root / "dir" / name, source / "dir" / name
            wait_for_tick(source / "dir")
            before = os.stat(here).st_ctime_ns
            run("chattr", f"+{letters}", here)
            assert os.stat(here).st_ctime_ns > before, "it is known at once"
            assert set(letters) <= set(flags_of(there))
            assert flags_of(here) == flags_of(there)
            run("chattr", f"-{letters}", here)
            assert not set(letters) & set(flags_of(there))


@needs("chattr")
@OPTIONAL
def test_only_root_changes_what_only_root_may(
    source: Path, root: Path, options: list[str]
) -> None:
    path = root / "dir" / "file"

    def chattr(letters: str, path: Path = path) -> int:
        command = ["chattr", letters, str(path)]
        return subprocess.run(command, capture_output=True).returncode

    def own() -> None:
        path.touch()
        assert chattr("+d") == 0
        for letters in "+i", "+a", "+j":  # j is refused by ext4 itself
            assert chattr(letters) != 0

    def foreign() -> None:
        assert chattr("-d") != 0

    with mirrored(source, root, *options):
        as_user(NOBODY, NOBODY, [], own)
        as_user(5, 5, [], foreign)
        assert chattr("+j") == chattr("+j", source / "dir" / "file")


def test_a_flag_is_relayed_with_the_rights_of_the_caller(source: Path) -> None:
    immutable = (0x10).to_bytes(4, sys.byteorder)
    before = libc.effective()
    fd = os.open(source / "dir", os.O_RDONLY)

    def relay(pid: int) -> None:
        request = Ioctl(
            2, 1, 0, 0, pid, fd, 0, FS_IOC_SETFLAGS, 0, 4, 0, memoryview(immutable)
        )
        inodeflags.relay(fd, request)

    with fails(errno.EPERM):
        relay(0)  # cannot be seen
    assert libc.effective() == before
    relay(os.getpid())
    os.close(fd)
    run("chattr", "-i", source / "dir")


#: FS_XFLAG_NODUMP.
NODUMP = 0x80


def extended_flags(path: Path, set_also: int = 0) -> int:
    """Return the fsx_xflags of a file; set some first."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fsxattr = array.array("I", bytes(28))
        fcntl.ioctl(fd, FS_IOC_FSGETXATTR, fsxattr)
        if set_also:
            fsxattr[0] |= set_also
            fcntl.ioctl(fd, FS_IOC_FSSETXATTR, fsxattr)
        return fsxattr[0]
    finally:
        os.close(fd)


@OPTIONAL
def test_extended_flags_are_passed_on_both_ways(
    source: Path, root: Path, options: list[str]
) -> None:
    (source / "dir" / "file").touch()

    with mirrored(source, root, *options):
        assert not extended_flags(root / "dir" / "file") & NODUMP
        extended_flags(root / "dir" / "file", NODUMP)
        assert extended_flags(source / "dir" / "file") & NODUMP
        extended_flags(source / "dir", NODUMP)
        assert extended_flags(root / "dir") & NODUMP


@OPTIONAL
def test_other_commands_are_not_passed_on(
    source: Path, root: Path, options: list[str]
) -> None:
    shutdown = 0x8004587D  # EXT4_IOC_SHUTDOWN, whose caller must be root: we are

    with mirrored(source, root, *options):
        fd = os.open(root / "dir", os.O_RDONLY)
        with fails(errno.ENOTTY):
            fcntl.ioctl(fd, shutdown, bytes(4))
        os.close(fd)


# --- Setgid without group-execute


def write(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"x")


def write_map(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    os.write(fd, mmap.mmap(-1, 4096))
    os.close(fd)


def allocate(path: Path) -> None:
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 8192)


CHANGES: dict[str, Callable[[Path], None]] = {
    "write": write,
    "write-direct": write_map,
    "truncate": lambda path: os.truncate(path, 10),
    "fallocate": allocate,
}


@OPTIONAL
@pytest.mark.parametrize("action", CHANGES)
@pytest.mark.parametrize("groups", [[], [4321]], ids=["outside", "member"])
def test_setgid_falls_where_it_falls_in_the_source(
    source: Path, root: Path, options: list[str], action: str, groups: list[int]
) -> None:
    file = source / "dir" / "file"
    file.write_bytes(bytes(4096))
    os.chown(file, 0, 4321)

    def mode_after(path: Path) -> int:
        file.chmod(0o2666)
        os.stat(path)
        as_user(NOBODY, NOBODY, groups, lambda: CHANGES[action](path))
        return stat.S_IMODE(os.stat(file).st_mode)

    natural = mode_after(file)
    with mirrored(source, root, *options):
        assert mode_after(root / "dir" / "file") == natural
    assert natural == (0o2666 if groups else 0o666)


@OPTIONAL
@pytest.mark.parametrize("owner_groups", [[], [4321]], ids=["outside", "member"])
def test_setgid_falls_with_the_group_if_the_owner_is_not_in_it(
    source: Path, root: Path, options: list[str], owner_groups: list[int]
) -> None:
    file = source / "dir" / "file"
    file.touch()

    def mode_after(path: Path) -> int:
        os.chown(file, NOBODY, 4321)
        file.chmod(0o2666)
        os.stat(path)
        groups = [*owner_groups, 5]
        as_user(NOBODY, NOBODY, groups, lambda: os.chown(path, -1, 5))
        return stat.S_IMODE(os.stat(file).st_mode)

    with mirrored(source, root, *options):
        assert mode_after(root / "dir" / "file") == mode_after(file)


# --- Who calls, in mounts that do not say


def test_a_mapped_mount_makes_files_of_the_mapped_owner(
    source: Path, root: Path
) -> None:
    with mirrored(source, root, "-o", "allow_other"):
        shown = run(sys.executable, "-c", IDMAP, root)

    assert shown == "1000 1000\n"
    assert os.stat(source / "made").st_uid == 0


def test_trusted_attributes_are_listed_for_root_only(source: Path, root: Path) -> None:
    file = source / "dir" / "file"
    file.touch()
    os.setxattr(file, "trusted.secret", b"x")
    os.setxattr(file, "user.note", b"x")
    path = root / "dir" / "file"
    names = f"import os; print(sorted(os.listxattr({str(path)!r})))"

    def as_nobody() -> None:
        assert os.listxattr(path) == ["user.note"]

    with mirrored(source, root, "-o", "allow_other"):
        as_user(NOBODY, NOBODY, [], as_nobody)
        assert sorted(os.listxattr(path)) == ["trusted.secret", "user.note"]
        there = run("unshare", "--user", "--map-root-user", sys.executable, "-c", names)
        assert there == "['user.note']\n", "it is root there only"


def test_a_caller_that_cannot_be_seen_has_the_ids_it_says_and_no_more() -> None:
    unseen = Getattr(2, 1, 1000, 1001, 0, 0, None)
    assert Caller.of(unseen) == Caller(1000, 1001)
    unsaid = Getattr(2, 1, 2**32 - 1, 2**32 - 1, 0, 0, None)
    assert Caller.of(unsaid) == Caller(credentials.NOBODY, credentials.NOBODY)


def test_a_caller_has_what_proc_says_of_it() -> None:
    caller = Caller.of(Getattr(2, 1, 2**32 - 1, 2**32 - 1, os.getpid(), 0, None))

    assert (caller.uid, caller.gid) == (os.geteuid(), os.getegid())
    assert caller.groups == frozenset(os.getgroups())
    assert caller.may(Capability.SYS_ADMIN)
