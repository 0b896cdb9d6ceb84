from __future__ import annotations

import os
import pickle

import pytest

from triofuse.device.mount_error import MountError, errno_of_words
from triofuse.device.mountinfo import (
    MountEntry,
    connection_device,
    decode_mountinfo,
    mounts_below,
    numbers_of,
    read_mounts,
)


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (
            b"42 27 0:39 / /mnt rw,nosuid - fuse.hello hello rw,user_id=0,group_id=0",
            MountEntry(42, (0, 39), "/mnt", "fuse.hello", "hello"),
        ),
        (
            b"27 1 254:0 /sub / rw shared:1 master:2 - ext4 /dev/vda rw",
            MountEntry(27, (254, 0), "/", "ext4", "/dev/vda"),
        ),
        (
            rb"5 4 0:300 / /a\040b\011\012\134\043 rw - fuse.x\040y a\134b rw",
            MountEntry(5, (0, 300), "/a b\t\n\\#", "fuse.x y", "a\\b"),
        ),
        (
            b"5 4 0:9 / /\xff rw - tmpfs none rw",
            MountEntry(5, (0, 9), "/\udcff", "tmpfs", "none"),
        ),
    ],
)
def test_a_line_is_a_mount(line: bytes, entry: MountEntry) -> None:
    assert decode_mountinfo(line + b"\n") == [entry]


@pytest.mark.parametrize("name", [b"a\rb", b"a\x0bb", b"a\x0cb", b"a\x1c\x85b", b""])
def test_only_a_newline_ends_a_line(name: bytes) -> None:
    before = b"1 0 0:1 / / rw - tmpfs none rw\n"
    odd = b"5 1 0:9 / /" + name + b" rw - tmpfs " + name + b" rw\n"

    mounts = decode_mountinfo(before + odd + before)

    assert [entry.mount_id for entry in mounts] == [1, 5, 1]
    assert mounts[1].source == os.fsdecode(name)
    assert mounts[1].mount_point == f"/{os.fsdecode(name)}"


def test_a_line_that_makes_no_sense_hides_no_other() -> None:
    line = b"1 0 0:1 / / rw - tmpfs none rw\n"

    mounts = decode_mountinfo(b"nonsense\n" + line + b"5 1 x / / - \n" + line)

    assert [entry.mount_id for entry in mounts] == [1, 1]


def test_what_stands_on_a_mount_is_found_at_any_depth() -> None:
    lines = b"".join(
        b"%d %d 0:%d / /%d rw - tmpfs none rw\n" % (number, parent, number, number)
        for number, parent in [(7, 6), (2, 1), (5, 2), (6, 5), (3, 1)]
    )

    below = mounts_below(2, decode_mountinfo(lines))

    assert {entry.mount_id for entry in below} == {5, 6, 7}


@pytest.mark.parametrize(
    ("fstype", "is_fuse"),
    [
        ("fuse", True),
        ("fuse.sshfs", True),
        ("fuse.a.b", True),
        ("fuseblk.ntfs", True),
        ("fusectl", False),
        ("tmpfs", False),
        ("not.fuse", False),
    ],
)
def test_fuse_is_told_by_the_type(fstype: str, is_fuse: bool) -> None:
    assert MountEntry(1, (0, 1), "/x", fstype, "x").is_fuse is is_fuse


def test_a_descriptor_is_on_a_mount_that_is_listed() -> None:
    fd = os.open("/proc", os.O_PATH)
    try:
        mount_id = numbers_of(fd).mount_id
    finally:
        os.close(fd)

    listed = {entry.mount_id: entry for entry in read_mounts()}

    assert listed[mount_id].fstype == "proc"


def test_a_descriptor_that_is_no_fuse_device_has_no_connection() -> None:
    with open(os.devnull) as null:
        assert connection_device(null.fileno()) is None


def test_an_error_is_a_sentence_with_a_remedy() -> None:
    error = MountError(2, "/mnt/x", "stat")

    assert str(error) == (
        "cannot mount on /mnt/x: stat: No such file or directory (create it first)"
    )
    assert (error.errno, error.filename, error.step) == (2, "/mnt/x", "stat")


def test_an_error_without_a_remedy_says_nothing_more() -> None:
    error = MountError(5, "/mnt/x", "umount2")

    assert str(error) == "cannot unmount /mnt/x: umount2: Input/output error"


def test_what_others_have_named_is_quoted_in_an_error() -> None:
    error = MountError(1, "/mnt/\x1b[31m", "fusermount3", "one\ntwo", "ask\x07")

    assert str(error) == r"cannot mount on '/mnt/\x1b[31m': 'one\ntwo' ('ask\x07')"


def test_an_error_survives_pickling() -> None:
    error = MountError(1, "/mnt/x", "fusermount3", "fusermount3: no", "ask")

    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == str(error) == "cannot mount on /mnt/x: fusermount3: no (ask)"
    assert copy.errno == 1


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("fusermount3: mount failed: Invalid argument", 22),
        ("fusermount3: unknown option 'x'", 22),
        ("fusermount3: failed to unmount /x: Device or resource busy", 16),
        ("fusermount3: fuse device not found, try 'modprobe fuse' first", 19),
        ("fusermount3: mountpoint /x not owned by user", 13),
        ("fusermount3: something quite new", 1),
    ],
)
def test_words_of_fusermount_have_an_errno(words: str, number: int) -> None:
    assert errno_of_words(words) == number
