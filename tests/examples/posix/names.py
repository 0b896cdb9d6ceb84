"""Names, links and renaming."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from tests.examples.posix.tools import (
    EXCHANGE,
    NOREPLACE,
    Behaviour,
    changing,
    fails,
    times,
    wait_for_tick,
)
from tests.kernel.operations_syscalls import renameat2

__all__ = ["BEHAVIOURS"]


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
        renameat2(d / "one", d / "two", NOREPLACE)
    renameat2(d / "one", d / "three", NOREPLACE)
    assert (d / "two").read_text() == "2"
    assert (d / "three").read_text() == "1"


def renaming_can_exchange(d: Path) -> None:
    (d / "file").write_text("f")
    (d / "dir" / "inside").mkdir(parents=True)
    renameat2(d / "file", d / "dir", EXCHANGE)
    assert (d / "dir").read_text() == "f"
    assert (d / "file" / "inside").is_dir()
    with fails(errno.ENOENT):
        renameat2(d / "dir", d / "absent", EXCHANGE)


BEHAVIOURS: list[Behaviour] = [
    a_name_may_have_255_bytes_and_no_more,
    what_is_no_directory_has_nothing_in_it,
    making_what_exists_fails,
    making_and_removing_a_name_changes_its_directorys_times,
    a_failed_step_changes_no_times,
    a_directory_counts_its_subdirectories,
    a_directory_that_is_not_empty_stays,
    unlink_removes_no_directory_and_rmdir_no_file,
    a_directory_that_was_removed_takes_nothing_new,
    a_listing_stands_firm_while_names_come_and_go,
    a_hard_link_is_the_same_file,
    a_directory_has_no_hard_links,
    a_symbolic_link_can_have_hard_links,
    a_symbolic_link_is_as_long_as_its_target,
    links_that_lead_in_circles_are_noticed,
    renaming_replaces_a_file,
    renaming_one_of_two_links_to_the_other_does_nothing,
    renaming_replaces_like_with_like_only,
    a_directory_cannot_move_into_itself,
    renaming_changes_the_ctime_of_what_moves,
    renaming_can_refuse_to_replace,
    renaming_can_exchange,
]
