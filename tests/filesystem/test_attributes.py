"""`FileAttr` and the kinds of inodes that it makes."""

from __future__ import annotations

import os
import stat

import pytest

from triofuse import FileAttr

DEVICE = os.makedev(10, 229)


@pytest.mark.parametrize(
    ("made", "same"),
    [
        (FileAttr.file(2), FileAttr(2, stat.S_IFREG | 0o644)),
        (FileAttr.file(2, 17, 0o400), FileAttr(2, stat.S_IFREG | 0o400, size=17)),
        (FileAttr.file(2, mode=0o100600), FileAttr(2, stat.S_IFREG | 0o600)),
        (FileAttr.directory(1), FileAttr(1, stat.S_IFDIR | 0o755, nlink=2)),
        (FileAttr.directory(1, nlink=5), FileAttr(1, stat.S_IFDIR | 0o755, nlink=5)),
        (FileAttr.symlink(3, "caf\u00e9"), FileAttr(3, stat.S_IFLNK | 0o777, size=5)),
        (FileAttr.fifo(4, uid=7), FileAttr(4, stat.S_IFIFO | 0o644, uid=7)),
        (FileAttr.socket(5), FileAttr(5, stat.S_IFSOCK | 0o755)),
        (
            FileAttr.char_device(6, DEVICE),
            FileAttr(6, stat.S_IFCHR | 0o600, rdev=DEVICE),
        ),
        (
            FileAttr.block_device(7, DEVICE, 0o660),
            FileAttr(7, stat.S_IFBLK | 0o660, rdev=DEVICE),
        ),
    ],
)
def test_each_kind_has_its_type_and_the_usual_permissions(
    made: FileAttr, same: FileAttr
) -> None:
    assert made == same


def test_a_mode_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="0o40755 has another file type"):
        FileAttr.file(2, mode=0o40755)
