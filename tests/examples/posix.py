"""Named behaviours that POSIX and Linux promise of any local filesystem.

Each is a function that takes an empty directory and asserts.  They were found by
pjdfstest, by people's bug reports, and by reading the standard.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["BEHAVIOURS", "ROOT_BEHAVIOURS", "Behaviour"]

Behaviour = Callable[[Path], None]

#: Who is neither root nor the owner of anything.
NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE, _WHITEOUT = 1, 2, 4
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16


@contextlib.contextmanager
def fails(*errors: int) -> Iterator[None]:
    """Expect one of these errnos."""
    try:
        yield
    except OSError as exc:
        names = [errno.errorcode[error] for error in errors]
        if exc.errno not in errors:
            message = f"{exc} where {names} was expected"
            raise AssertionError(message) from exc
    else:
        raise AssertionError("it worked")


def as_user(uid: int, gid: int, groups: list[int], action: Callable[[], None]) -> None:
    """Do something in a child process with other ids."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            action()
            status = 0
        except BaseException as exc:  # noqa: BLE001  (it is told, and the child ends)
            os.write(2, f"{exc!r}\n".encode())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def renameat2(old: Path, new: Path, flags: int) -> None:
    names = os.fsencode(old), os.fsencode(new)
    if _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    start, size = ctypes.c_longlong(offset), ctypes.c_longlong(length)
    if _libc.fallocate(fd, mode, start, size):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def times(path: Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def changing(*paths: Path, mtime: bool = True) -> Iterator[None]:
    """Expect that ctime, and mtime, of these go forward.

    The clock of the kernel's timestamps ticks every few milliseconds: start in the
    past.
    """
    for path in paths:
        os.utime(path, ns=(1, 1), follow_symlinks=False)
    before = [times(path) for path in paths]
    wait_for_tick(paths[0])
    yield
    for path, (old_mtime, old_ctime) in zip(paths, before, strict=True):
        new_mtime, new_ctime = times(path)
        assert new_ctime > old_ctime, path
        assert new_mtime > old_mtime if mtime else new_mtime == old_mtime, path


def wait_for_tick(path: Path) -> None:
    """Wait until a change would get a later ctime than ``path`` has."""
    probe = path.parent / f"tick-{os.getpid()}"
    ctime = times(path)[1]
    while True:
        probe.mkdir()
        later = times(probe)[1] > ctime
        probe.rmdir()
        if later:
            return


# --- Names


def a_name_may_have_255_bytes_and_no_more(d: Path) -> None:
    (d / ("x" * 255)).touch()
    for make in (os.mkdir, lambda p: os.open(p, os.O_CREAT), os.mkfifo, os.rmdir):
        with fails(errno.ENAMETOOLONG):
            make(d / ("x" * 256))


def what_is_no_directory_has_nothing_in_it(d: Path) -> None:
    (d / "file").touch()
    with fails(errno.ENOTDIR):
        os.stat(d / "file" / "x")
    with fails(errno.ENOTDIR):
        os.mkdir(d / "file" / "x")


def making_what_exists_fails(d: Path) -> None:
    (d / "dir").mkdir()
    os.symlink("nowhere", d / "link")
    for name in ("dir", "link"):
        for make in (
            os.mkdir,
            os.mkfifo,
            lambda p: os.symlink("x", p),
            lambda p: os.open(p, os.O_CREAT | os.O_EXCL),
        ):
            with fails(errno.EEXIST):
                make(d / name)


def making_and_removing_a_name_changes_its_directorys_times(d: Path) -> None:
    home = d / "home"
    home.mkdir()
    (d / "file").touch()
    steps: list[Callable[[], object]] = [
        lambda: os.mkdir(home / "dir"),
        lambda: os.rmdir(home / "dir"),
        lambda: os.close(os.open(home / "file", os.O_CREAT)),
        lambda: os.unlink(home / "file"),
        lambda: os.symlink("x", home / "soft"),
        lambda: os.mkfifo(home / "fifo"),
        lambda: os.link(d / "file", home / "hard"),
        lambda: os.rename(home / "fifo", home / "pipe"),
    ]
    for step in steps:
        with changing(home):
            step()


def a_failed_step_changes_no_times(d: Path) -> None:
    (d / "home").mkdir()
    (d / "home" / "file").touch()
    before = times(d / "home"), times(d / "home" / "file")
    with fails(errno.EEXIST):
        os.mkdir(d / "home" / "file")
    with fails(errno.ENOENT):
        os.unlink(d / "home" / "absent")
    with fails(errno.EEXIST):
        os.link(d / "home" / "file", d / "home" / "file")
    assert before == (times(d / "home"), times(d / "home" / "file"))


def a_directory_counts_its_subdirectories(d: Path) -> None:
    (d / "a" / "b").mkdir(parents=True)
    if os.lstat(d / "a").st_nlink == 1:
        return  # a filesystem that does not count, such as btrfs
    assert os.lstat(d / "a").st_nlink == 3
    (d / "a" / "c").mkdir()
    assert os.lstat(d / "a").st_nlink == 4
    os.rename(d / "a" / "c", d / "c")
    (d / "a" / "b").rmdir()
    assert os.lstat(d / "a").st_nlink == 2


def a_directory_that_is_not_empty_stays(d: Path) -> None:
    (d / "full").mkdir()
    (d / "full" / "x").touch()
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir(d / "full")
    with fails(errno.EINVAL):
        os.rmdir(f"{d}/full/.")
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir(f"{d}/full/..")


def unlink_removes_no_directory_and_rmdir_no_file(d: Path) -> None:
    (d / "dir").mkdir()
    (d / "file").touch()
    with fails(errno.EISDIR, errno.EPERM):
        os.unlink(d / "dir")
    with fails(errno.ENOTDIR):
        os.rmdir(d / "file")


def a_directory_that_was_removed_takes_nothing_new(d: Path) -> None:
    (d / "gone").mkdir()
    fd = os.open(d / "gone", os.O_RDONLY)
    os.rmdir(d / "gone")
    with fails(errno.ENOENT):
        os.mkdir("x", dir_fd=fd)
    with fails(errno.ENOENT):
        os.open("x", os.O_CREAT, dir_fd=fd)
    assert os.listdir(fd) == []
    os.close(fd)


def a_listing_stands_firm_while_names_come_and_go(d: Path) -> None:
    names = {f"file{number}" for number in range(500)}
    for name in names:
        (d / name).touch()
    seen = set()
    with os.scandir(d) as entries:
        for entry in entries:
            seen.add(entry.name)
            os.unlink(entry.path)
    assert seen == names
    assert os.listdir(d) == []


# --- Hard and symbolic links


def a_hard_link_is_the_same_file(d: Path) -> None:
    (d / "one").write_text("x")
    with changing(d / "one", mtime=False):
        os.link(d / "one", d / "two")
    assert os.path.samestat(os.stat(d / "one"), os.stat(d / "two"))
    assert os.stat(d / "two").st_nlink == 2
    with changing(d / "two", mtime=False):
        os.unlink(d / "one")
    assert os.stat(d / "two").st_nlink == 1


def a_directory_has_no_hard_links(d: Path) -> None:
    (d / "dir").mkdir()
    with fails(errno.EPERM):
        os.link(d / "dir", d / "other")


def a_symbolic_link_can_have_hard_links(d: Path) -> None:
    os.symlink("nowhere", d / "one")
    os.link(d / "one", d / "two", follow_symlinks=False)
    assert os.readlink(d / "two") == "nowhere"
    assert os.lstat(d / "one").st_nlink == 2


def a_symbolic_link_is_as_long_as_its_target(d: Path) -> None:
    target = "t" * 4095
    os.symlink(target, d / "link")
    assert os.readlink(d / "link") == target
    assert os.lstat(d / "link").st_size == 4095
    with fails(errno.ENOENT):
        os.symlink("", d / "empty")


def links_that_lead_in_circles_are_noticed(d: Path) -> None:
    os.symlink("b", d / "a")
    os.symlink("a", d / "b")
    with fails(errno.ELOOP):
        os.stat(d / "a")


# --- Renaming


def renaming_replaces_a_file(d: Path) -> None:
    (d / "old").write_text("new")
    (d / "target").write_text("old")
    fd = os.open(d / "target", os.O_RDONLY)
    os.rename(d / "old", d / "target")
    assert (d / "target").read_text() == "new"
    assert os.read(fd, 9) == b"old"
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)
    assert os.listdir(d) == ["target"]


def renaming_one_of_two_links_to_the_other_does_nothing(d: Path) -> None:
    (d / "one").touch()
    os.link(d / "one", d / "two")
    os.rename(d / "one", d / "two")
    assert sorted(os.listdir(d)) == ["one", "two"]


def renaming_replaces_like_with_like_only(d: Path) -> None:
    (d / "file").touch()
    (d / "empty").mkdir()
    (d / "full" / "x").mkdir(parents=True)
    with fails(errno.EISDIR):
        os.rename(d / "file", d / "empty")
    with fails(errno.ENOTDIR):
        os.rename(d / "empty", d / "file")
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(d / "empty", d / "full")
    os.rename(d / "full", d / "empty")
    assert os.listdir(d / "empty") == ["x"]


def a_directory_cannot_move_into_itself(d: Path) -> None:
    (d / "a" / "b").mkdir(parents=True)
    with fails(errno.EINVAL):
        os.rename(d / "a", d / "a" / "b" / "c")


def renaming_changes_the_ctime_of_what_moves(d: Path) -> None:
    (d / "old").touch()
    os.utime(d / "old", ns=(1, 1))
    before = times(d / "old")
    wait_for_tick(d / "old")
    os.rename(d / "old", d / "new")
    mtime, ctime = times(d / "new")
    assert mtime == before[0]
    assert ctime > before[1]


def renaming_can_refuse_to_replace(d: Path) -> None:
    (d / "one").write_text("1")
    (d / "two").write_text("2")
    with fails(errno.EEXIST):
        renameat2(d / "one", d / "two", _NOREPLACE)
    renameat2(d / "one", d / "three", _NOREPLACE)
    assert (d / "two").read_text() == "2"
    assert (d / "three").read_text() == "1"


def renaming_can_exchange(d: Path) -> None:
    (d / "file").write_text("f")
    (d / "dir" / "inside").mkdir(parents=True)
    renameat2(d / "file", d / "dir", _EXCHANGE)
    assert (d / "dir").read_text() == "f"
    assert (d / "file" / "inside").is_dir()
    with fails(errno.ENOENT):
        renameat2(d / "dir", d / "absent", _EXCHANGE)


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
        fallocate(fd, _KEEP_SIZE, 0, 1 << 20)
        assert os.fstat(fd).st_size == 1 << 16
        os.pwrite(fd, b"x" * (1 << 16), 0)
        fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, 4096, 8192)
        data = os.pread(fd, 1 << 16, 0)
    assert data[:4096] == b"x" * 4096
    assert data[4096:12288] == bytes(8192)
    assert data[12288:] == b"x" * ((1 << 16) - 12288)


def a_range_is_zeroed(d: Path) -> None:
    with open(d / "file", "w+b") as file:
        fd = file.fileno()
        os.write(fd, b"x" * 10_000)
        fallocate(fd, _ZERO_RANGE, 5000, 100)
        fallocate(fd, _ZERO_RANGE | _KEEP_SIZE, 9000, 5000)
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


# --- What takes root to try: other users, devices


def devices_keep_their_numbers(d: Path) -> None:
    number = os.makedev(1, 0x12345)
    os.mknod(d / "char", stat.S_IFCHR | 0o600, number)
    os.mknod(d / "block", stat.S_IFBLK | 0o600, os.makedev(255, 7))
    assert os.stat(d / "char").st_rdev == number
    assert stat.S_ISBLK(os.stat(d / "block").st_mode)


def a_whiteout_is_left_where_something_moved(d: Path) -> None:
    (d / "one").write_text("1")
    renameat2(d / "one", d / "two", _WHITEOUT)
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


def _behaviours(first: str, last: str) -> list[Behaviour]:
    names = [name for name, value in globals().items() if _is_behaviour(value)]
    chosen = names[names.index(first) : names.index(last) + 1]
    return [globals()[name] for name in chosen]


def _is_behaviour(value: object) -> bool:
    annotations = getattr(value, "__annotations__", {})
    return list(annotations) == ["d", "return"]


#: For any user.
BEHAVIOURS = _behaviours(
    "a_name_may_have_255_bytes_and_no_more",
    "extended_attributes_are_created_or_replaced_as_asked",
)

#: For root, who can be others and make devices.
ROOT_BEHAVIOURS = _behaviours(
    "devices_keep_their_numbers", "an_owner_may_set_any_times_a_writer_only_now"
)
