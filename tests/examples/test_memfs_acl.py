"""Access control lists: on memfs as on tmpfs, and the format by itself."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from tests.examples.conftest import example, serving
from tests.examples.posix import NOBODY, as_user, fails
from triofuse import FuseError
from triofuse.posix import acl
from triofuse.posix.acl import Acl, AclEntry

#: How setfacl(1) abbreviates, and what tag it means without and with a name.
TAGS = {"u": (1, 2), "g": (4, 8), "m": (16, 16), "o": (32, 32)}
NO_ID = 0xFFFFFFFF

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def listed(text: str) -> bytes:
    """Return the value for a list such as ``u::rw- u:7:r-- g::r-- m::rw- o::---``."""
    entries = []
    for part in text.split():
        kind, name, permissions = part.split(":")
        perm = sum(4 >> place for place in range(3) if permissions[place] != "-")
        tag = TAGS[kind][bool(name)]
        entries.append(AclEntry(tag, perm, int(name) if name else NO_ID))
    return Acl(tuple(entries)).encode()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def absent(path: Path, name: str) -> bool:
    """Whether a file has no such list."""
    try:
        os.getxattr(path, name)
    except OSError as exc:
        if exc.errno == errno.ENODATA:
            return True
        raise
    return False


@pytest.fixture(
    scope="module", params=["tmpfs", pytest.param("memfs", marks=pytest.mark.mount)]
)
def root(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A filesystem; tmpfs shows that the tests themselves are right."""
    if request.param == "tmpfs":
        home = Path(tempfile.mkdtemp(prefix="triofuse-", dir="/dev/shm"))
        home.chmod(0o755)
        yield home
        shutil.rmtree(home)
        return
    home = Path(tempfile.mkdtemp(prefix="triofuse-"))
    home.chmod(0o755)
    mountpoint = home / "mnt"
    mountpoint.mkdir()
    command = example("memfs", str(mountpoint), home)
    with serving(*command, mountpoint=str(mountpoint)):
        yield mountpoint
    shutil.rmtree(home)


@pytest.fixture
def d(root: Path) -> Iterator[Path]:
    """An empty directory, and a umask that takes something away."""
    directory = root / "directory"
    directory.mkdir()
    directory.chmod(0o755)
    umask = os.umask(0o027)
    yield directory
    os.umask(umask)
    shutil.rmtree(directory)


@pytest.fixture
def file(d: Path) -> Path:
    (d / "file").write_text("contents")
    return d / "file"


# --- A list and the mode beside it


def test_a_list_is_kept_and_sets_the_mode(file: Path) -> None:
    value = listed("u::rwx u:7:rw- g::r-- m::rw- o::--x")

    os.setxattr(file, acl.ACCESS, value)

    assert os.getxattr(file, acl.ACCESS) == value
    assert os.listxattr(file) == [acl.ACCESS]
    assert mode_of(file) == 0o761


def test_a_list_that_names_nobody_is_a_mode(file: Path) -> None:
    os.setxattr(file, acl.ACCESS, listed("u::rw- u:7:rw- g::r-- m::rw- o::---"))
    os.setxattr(file, acl.ACCESS, listed("u::rwx g::r-x o::--x"))

    assert absent(file, acl.ACCESS)
    assert os.listxattr(file) == []
    assert mode_of(file) == 0o751


def test_chmod_sets_the_mask_and_leaves_the_group(file: Path) -> None:
    os.setxattr(file, acl.ACCESS, listed("u::rw- u:7:rw- g::r-- m::rw- o::---"))

    file.chmod(0o715)

    after = listed("u::rwx u:7:rw- g::r-- m::--x o::r-x")
    assert os.getxattr(file, acl.ACCESS) == after
    assert mode_of(file) == 0o715


def test_removing_a_list_leaves_the_mode(file: Path) -> None:
    os.setxattr(file, acl.ACCESS, listed("u::rw- u:7:rwx g::r-- m::rwx o::---"))

    os.removexattr(file, acl.ACCESS)

    assert absent(file, acl.ACCESS)
    assert mode_of(file) == 0o670
    os.removexattr(file, acl.ACCESS)  # there is one no less than before


def test_what_is_no_list_changes_nothing(file: Path) -> None:
    value = listed("u::rw- u:7:rw- g::r-- m::rw- o::---")
    os.setxattr(file, acl.ACCESS, value)

    for wrong in (b"x", value[:-1], b"\3" + value[1:], listed("u::rw- u:7:rw-")):
        with fails(errno.EINVAL, errno.EOPNOTSUPP):
            os.setxattr(file, acl.ACCESS, wrong)

    assert os.getxattr(file, acl.ACCESS) == value


# --- Who may


@needs_root
def test_who_is_named_may_what_list_and_mask_say(d: Path) -> None:
    path = d / "secret"
    path.write_text("x")
    path.chmod(0o600)
    named = f"u::rw- u:{NOBODY}:rw- g::--- m::r-- o::---"

    def read() -> None:
        os.close(os.open(path, os.O_RDONLY))

    def cannot(flags: int) -> Callable[[], None]:
        def attempt() -> None:
            with fails(errno.EACCES):
                os.open(path, flags)

        return attempt

    as_user(NOBODY, NOBODY, [], cannot(os.O_RDONLY))
    os.setxattr(path, acl.ACCESS, listed(named))
    as_user(NOBODY, NOBODY, [], read)
    as_user(NOBODY, NOBODY, [], cannot(os.O_RDWR))  # what the mask takes away
    as_user(NOBODY - 1, NOBODY, [], cannot(os.O_RDONLY))
    os.setxattr(path, acl.ACCESS, listed("u::rw- g::--- g:555:r-- m::r-- o::---"))
    as_user(NOBODY, NOBODY, [555], read)
    as_user(NOBODY, NOBODY, [], cannot(os.O_RDONLY))
    path.chmod(0o600)
    as_user(NOBODY, NOBODY, [555], cannot(os.O_RDONLY))


@needs_root
def test_only_the_owner_sets_a_list(file: Path) -> None:
    def attempt() -> None:
        with fails(errno.EPERM):
            os.setxattr(file, acl.ACCESS, listed("u::rwx g::rwx o::rwx"))

    as_user(NOBODY, NOBODY, [], attempt)


@needs_root
@pytest.mark.parametrize("groups", [[], [55]])
def test_a_list_takes_setgid_from_who_is_not_of_the_group(
    file: Path, groups: list[int]
) -> None:
    os.chown(file, NOBODY, 55)
    file.chmod(0o2775)

    def change() -> None:
        os.setxattr(file, acl.ACCESS, listed("u::rwx u:7:r-- g::rwx m::rwx o::r-x"))

    as_user(NOBODY, NOBODY, groups, change)

    assert mode_of(file) == (0o2775 if groups else 0o775)


@needs_root
def test_a_default_list_takes_no_setgid(d: Path) -> None:
    os.chown(d, NOBODY, 55)
    d.chmod(0o2775)

    def change() -> None:
        os.setxattr(d, acl.DEFAULT, listed("u::rwx g::rwx o::r-x"))

    as_user(NOBODY, NOBODY, [], change)

    assert mode_of(d) == 0o2775


# --- What is made in a directory


def test_without_a_default_list_the_umask_counts(d: Path) -> None:
    (d / "directory").mkdir(mode=0o777)
    os.close(os.open(d / "file", os.O_CREAT, 0o666))
    os.mkfifo(d / "fifo", 0o666)

    assert mode_of(d / "directory") == 0o750
    assert mode_of(d / "file") == mode_of(d / "fifo") == 0o640


def test_a_default_list_takes_the_place_of_the_umask(d: Path) -> None:
    os.setxattr(d, acl.DEFAULT, listed("u::rwx g::rwx o::r-x"))

    (d / "directory").mkdir(mode=0o777)
    os.close(os.open(d / "file", os.O_CREAT, 0o666))

    assert mode_of(d / "directory") == 0o775
    assert mode_of(d / "file") == 0o664
    assert os.listxattr(d / "file") == []


def nameless(path: Path) -> None:
    fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    os.close(fd)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.close(os.open(path, os.O_CREAT, 0o640)),
        lambda path: os.mkfifo(path, 0o640),
        lambda path: os.mknod(path, stat.S_IFREG | 0o640),
        nameless,
    ],
    ids=["create", "mkfifo", "mknod", "tmpfile"],
)
def test_what_is_new_inherits_as_far_as_its_mode_goes(
    d: Path, make: Callable[[Path], None]
) -> None:
    os.setxattr(d, acl.DEFAULT, listed("u::rwx u:7:rwx g::r-x m::rwx o::r--"))

    make(d / "new")

    inherited = listed("u::rw- u:7:rwx g::r-x m::r-- o::---")
    assert os.getxattr(d / "new", acl.ACCESS) == inherited
    assert absent(d / "new", acl.DEFAULT)
    assert mode_of(d / "new") == 0o640


def test_a_new_directory_inherits_the_default_list_as_well(d: Path) -> None:
    default = listed("u::rwx u:7:rwx g::r-x m::rwx o::---")
    os.setxattr(d, acl.DEFAULT, default)

    (d / "new").mkdir(mode=0o755)

    assert os.getxattr(d / "new", acl.DEFAULT) == default
    access = listed("u::rwx u:7:rwx g::r-x m::r-x o::---")
    assert os.getxattr(d / "new", acl.ACCESS) == access
    assert mode_of(d / "new") == 0o750


def test_a_symbolic_link_inherits_nothing(d: Path) -> None:
    os.setxattr(d, acl.DEFAULT, listed("u::rwx u:7:rwx g::r-x m::rwx o::---"))

    os.symlink("nowhere", d / "link")

    assert mode_of(d / "link") == 0o777
    assert os.listxattr(d / "link", follow_symlinks=False) == []


def test_only_directories_have_a_default_list(file: Path) -> None:
    with fails(errno.EACCES):
        os.setxattr(file, acl.DEFAULT, listed("u::rwx g::r-x o::---"))


@pytest.mark.skipif(not shutil.which("setfacl"), reason="needs the package acl")
def test_setfacl_and_getfacl_work(d: Path) -> None:
    subprocess.run(["setfacl", "-m", "u:7:rwx,d:g:8:r", str(d)], check=True)
    (d / "inner").mkdir()
    command = [
        "getfacl",
        "--omit-header",
        "--numeric",
        "--absolute-names",
        str(d / "inner"),
    ]

    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert said.split() == [
        "user::rwx",
        "group::r-x",
        "group:8:r--",
        "mask::r-x",
        "other::r-x",
        "default:user::rwx",
        "default:group::r-x",
        "default:group:8:r--",
        "default:mask::r-x",
        "default:other::r-x",
    ]


# --- The format

entries = st.lists(
    st.builds(
        AclEntry,
        st.sampled_from([acl.USER, acl.GROUP]),
        st.integers(0, 7),
        st.integers(0, NO_ID - 1),
    ),
    max_size=4,
)
bits = st.integers(0, 7)
modes = st.integers(0, 0o7777)


@st.composite
def lists(draw: st.DrawFn) -> Acl:
    """Any list that the kernel would take."""
    named = draw(entries)
    has_mask = bool(named) or draw(bits) > 3
    made = [AclEntry(acl.USER_OBJ, draw(bits), NO_ID)]
    made += [entry for entry in named if entry.tag == acl.USER]
    made += [AclEntry(acl.GROUP_OBJ, draw(bits), NO_ID)]
    made += [entry for entry in named if entry.tag == acl.GROUP]
    if has_mask:
        made.append(AclEntry(acl.MASK, draw(bits), NO_ID))
    made.append(AclEntry(acl.OTHER, draw(bits), NO_ID))
    return Acl(tuple(made))


@given(lists())
@settings(deadline=None)
def test_a_list_is_decoded_as_it_was_encoded(access: Acl) -> None:
    assert Acl.decode(access.encode()) == access


@given(lists(), modes)
@settings(deadline=None)
def test_list_and_mode_agree_after_chmod(access: Acl, mode: int) -> None:
    changed = access.chmod(mode)

    assert changed.permissions == mode & 0o777
    named = {entry for entry in access.entries if entry.tag in (acl.USER, acl.GROUP)}
    assert named <= set(changed.entries)


@given(lists(), modes)
@settings(deadline=None)
def test_nothing_is_inherited_that_the_mode_does_not_give(
    default: Acl, mode: int
) -> None:
    assert default.inherit(mode).permissions == default.permissions & mode


@pytest.mark.parametrize(
    "value", [b"", b"\2\0\0", b"\1\0\0\0", b"\2\0\0\0" + bytes(7)], ids=repr
)
def test_bytes_that_are_no_list_are_refused(value: bytes) -> None:
    with pytest.raises(FuseError) as caught:
        Acl.decode(value)
    assert caught.value.errno == errno.EINVAL
