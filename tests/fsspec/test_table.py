"""The table store x operation: each cell passes, or names its errno and the reason."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import mounts_below
from tests.fsspec.mounts import in_thread, shell
from tests.fsspec.servers import READABLE, WRITABLE, Server

pytestmark = pytest.mark.mount

Operation = Callable[[Path, Path], None]

#: What stores cannot do, and why.
_READ_ONLY = errno.EROFS, "archives, commits and web servers are not written"
_NO_TIMES = errno.EOPNOTSUPP, "an object has the time of its upload"
_NO_MODES = errno.EOPNOTSUPP, "it keeps no permissions"
_NO_LINKS = errno.EPERM, "it has no links"

LIMITS = {
    ("touch_to_a_date", "s3"): _NO_TIMES,
    ("chmod", "s3"): _NO_MODES,
    ("chmod", "memory"): _NO_MODES,
    ("symlink", "s3"): _NO_LINKS,
    ("symlink", "memory"): _NO_LINKS,
}


@pytest.fixture(autouse=True)
def _no_leaked_descriptors() -> None:
    """A mount of the whole module opens descriptors when it needs them."""


@pytest.fixture(scope="module")
def mounted(
    store: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    place = tmp_path_factory.mktemp("mnt")
    with in_thread(store, str(place)):
        yield store.kind, place
    assert mounts_below(str(place)) == []


# --- Reading: nothing here may change what is in the store


def find(mnt: Path, tree: Path) -> None:
    listing = "cd {}; find hello empty big dir -printf '%p %y\n' | sort"

    assert shell(listing.format(mnt), "/") == shell(listing.format(tree), "/")


def stat_sizes(mnt: Path, tree: Path) -> None:
    for name in "hello", "empty", "big":
        assert os.stat(mnt / name).st_size == os.stat(tree / name).st_size


def cat(mnt: Path, tree: Path) -> None:
    assert shell("cat hello empty 'dir/a b+c%41ä'", mnt) == "hello\none\ntwo\n"


def missing(mnt: Path, tree: Path) -> None:
    for path in mnt / "missing", mnt / "dir" / "missing", mnt / "missing" / "x":
        with pytest.raises(FileNotFoundError):
            os.stat(path)
    with pytest.raises(NotADirectoryError):
        os.listdir(mnt / "hello")


def copy_out(mnt: Path, tree: Path) -> None:
    shell(
        "d=$(mktemp -d); cp -r hello empty big dir $d; diff -r $d $TREE; rm -r $d",
        mnt,
        TREE=tree,
    )


def checksum(mnt: Path, tree: Path) -> None:
    expected = hashlib.sha256((tree / "big").read_bytes()).hexdigest()

    assert shell("sha256sum < big", mnt).split()[0] == expected


def random_reads(mnt: Path, tree: Path) -> None:
    expected, chance = (tree / "big").read_bytes(), random.Random(2)
    fd = os.open(mnt / "big", os.O_RDONLY)
    try:
        for _ in range(200):
            offset = chance.randrange(len(expected))
            assert os.pread(fd, 4096, offset) == expected[offset : offset + 4096]
    finally:
        os.close(fd)


def disk_free(mnt: Path, tree: Path) -> None:
    assert os.statvfs(mnt).f_blocks > 0


# --- Writing: each leaves the store as it was


def create(mnt: Path, tree: Path) -> None:
    shell("echo new > c; test $(cat c) = new; ls | grep -q '^c$'; rm c", mnt)


def copy_in(mnt: Path, tree: Path) -> None:
    shell("mkdir in; cp -r $TREE/. in; diff -r in $TREE; rm -r in", mnt, TREE=tree)


def append(mnt: Path, tree: Path) -> None:
    shell("echo 1 > ap; echo 2 >> ap; test \"$(cat ap)\" = '1\n2'; rm ap", mnt)


def overwrite_in_the_middle(mnt: Path, tree: Path) -> None:
    path = mnt / "mid"
    path.write_bytes(b"a" * 3_000_000)
    with open(path, "r+b") as file:
        file.seek(2_000_000)
        file.write(b"b" * 10)

    assert path.read_bytes() == b"a" * 2_000_000 + b"b" * 10 + b"a" * 999_990
    os.unlink(path)


def truncate(mnt: Path, tree: Path) -> None:
    path = mnt / "tr"
    path.write_bytes(b"0123456789")
    os.truncate(path, 4)
    os.truncate(path, 6)

    assert path.read_bytes() == b"0123\0\0"
    os.unlink(path)


def sed(mnt: Path, tree: Path) -> None:
    shell("echo one > s; sed -i s/one/two/ s; test $(cat s) = two; rm s", mnt)


def move_file(mnt: Path, tree: Path) -> None:
    shell(
        "echo 1 > m1; echo 2 > m2; mv m1 m3; test $(cat m3) = 1; ! test -e m1;"
        "mv m3 m2; test $(cat m2) = 1; ! test -e m3; rm m2",
        mnt,
    )


def move_directory(mnt: Path, tree: Path) -> None:
    shell(
        "mkdir -p d1/sub d1/none; echo x > d1/sub/f; mv d1 d2; test $(cat d2/sub/f) = x;"
        "! test -e d1; mkdir d3; mv -T d2 d3; test $(cat d3/sub/f) = x; rm -r d3",
        mnt,
    )


def remove_all(mnt: Path, tree: Path) -> None:
    shell("mkdir -p r/s; touch r/a r/s/b; rm -r r; ! test -e r", mnt)
    (mnt / "full").mkdir()
    (mnt / "full" / "f").touch()
    with pytest.raises(OSError) as failed:
        os.rmdir(mnt / "full")
    shell("rm -r full", mnt)

    assert failed.value.errno == errno.ENOTEMPTY


def touch(mnt: Path, tree: Path) -> None:
    shell("echo x > t; touch t; test $(cat t) = x; rm t", mnt)


def touch_to_a_date(mnt: Path, tree: Path) -> None:
    path = mnt / "td"
    path.write_text("x")
    try:
        os.utime(path, (981173106, 981173106))

        assert os.stat(path).st_mtime == 981173106
    finally:
        os.unlink(path)


def chmod(mnt: Path, tree: Path) -> None:
    path = mnt / "cm"
    path.write_text("x")
    try:
        os.chmod(path, 0o640)

        assert os.stat(path).st_mode & 0o777 == 0o640
    finally:
        os.unlink(path)


def symlink(mnt: Path, tree: Path) -> None:
    os.symlink("hello", mnt / "link")

    assert os.readlink(mnt / "link") == "hello"
    os.unlink(mnt / "link")


def two_writers(mnt: Path, tree: Path) -> None:
    shell("printf 0123456789 > w", mnt)
    one, two = (os.open(mnt / "w", os.O_RDWR) for _ in range(2))
    os.pwrite(one, b"AA", 0)
    os.pwrite(two, b"BB", 8)
    os.close(one)
    os.close(two)

    assert (mnt / "w").read_bytes() == b"AA234567BB"
    os.unlink(mnt / "w")


def removed_while_open(mnt: Path, tree: Path) -> None:
    (mnt / "ro").write_bytes(b"kept" * 1000)
    (mnt / "by").write_bytes(b"new")
    fds = [os.open(mnt / name, os.O_RDONLY) for name in ("ro", "by")]
    (mnt / "by2").write_bytes(b"newer")
    os.rename(mnt / "by2", mnt / "by")
    os.unlink(mnt / "ro")
    contents = [os.pread(fd, 10_000, 0) for fd in fds]
    for fd in fds:
        os.close(fd)

    assert contents == [b"kept" * 1000, b"new"]
    assert (mnt / "by").read_bytes() == b"newer"
    os.unlink(mnt / "by")


READS: list[Operation] = [
    find,
    stat_sizes,
    cat,
    missing,
    copy_out,
    checksum,
    random_reads,
    disk_free,
]
WRITES: list[Operation] = [
    create,
    copy_in,
    append,
    overwrite_in_the_middle,
    truncate,
    sed,
    move_file,
    move_directory,
    remove_all,
    touch,
    touch_to_a_date,
    chmod,
    symlink,
    two_writers,
    removed_while_open,
]


def _named(operations: list[Operation]) -> pytest.MarkDecorator:
    names = [operation.__name__ for operation in operations]
    return pytest.mark.parametrize("operation", operations, ids=names)


@_named(READS)
@pytest.mark.parametrize("store", [*READABLE, *WRITABLE], indirect=True)
def test_reading(mounted: tuple[str, Path], tree: Path, operation: Operation) -> None:
    _, mnt = mounted

    operation(mnt, tree)


@_named(WRITES)
@pytest.mark.parametrize("store", WRITABLE, indirect=True)
def test_writing(mounted: tuple[str, Path], tree: Path, operation: Operation) -> None:
    kind, mnt = mounted
    limit = LIMITS.get((operation.__name__, kind))
    with contextlib.ExitStack() as stack:
        if limit is not None:
            failed = stack.enter_context(pytest.raises(OSError))
        operation(mnt, tree)
    if limit is not None:
        assert failed.value.errno == limit[0], limit[1]

    assert sorted(os.listdir(mnt)) == sorted(os.listdir(tree))


_CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("write", lambda mnt: (mnt / "hello").write_text("x")),
    ("create", lambda mnt: (mnt / "new").touch()),
    ("mkdir", lambda mnt: (mnt / "new").mkdir()),
    ("unlink", lambda mnt: (mnt / "hello").unlink()),
    ("rename", lambda mnt: (mnt / "hello").rename(mnt / "x")),
    ("truncate", lambda mnt: os.truncate(mnt / "hello", 0)),
    ("utime", lambda mnt: os.utime(mnt / "hello")),
]


@pytest.mark.parametrize(
    "change", [one for _, one in _CHANGES], ids=[name for name, _ in _CHANGES]
)
@pytest.mark.parametrize("store", READABLE, indirect=True)
def test_what_cannot_be_written_says_so(
    mounted: tuple[str, Path], change: Callable[[Path], object]
) -> None:
    _, mnt = mounted
    with pytest.raises(OSError) as failed:
        change(mnt)

    assert failed.value.errno == _READ_ONLY[0], _READ_ONLY[1]
