"""The mirror: owners, set-id bits, ACLs and labels are those of the source."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from passthrough import Passthrough
from tests.conftest import mounts_below
from tests.examples.posix import NOBODY, as_user, fails
from tests.examples.test_passthrough import mirrored, needs_root
from tests.examples.test_programs import needs, run, shell
from triofuse.mirror import credentials
from triofuse.testing import open_kernel

#: Options of the program, with which others may use the mount.
OPTIONAL = pytest.mark.parametrize(
    "options",
    [["-o", "allow_other,suid"], ["-o", "allow_other,suid", "-o", "nopassthrough"]],
    ids=["passthrough", "no-passthrough"],
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A place that everybody may enter, other than pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="triofuse-"))
    path.chmod(0o755)
    yield path
    assert not mounts_below(str(path))
    shutil.rmtree(path)


@pytest.fixture
def source(home: Path) -> Path:
    path = home / "source"
    path.mkdir()
    return path


@pytest.fixture
def root(home: Path) -> Path:
    """The mountpoint."""
    path = home / "mnt"
    path.mkdir()
    return path


def refused(action: Callable[[], object]) -> None:
    with fails(errno.EACCES):
        action()


@needs_root
@pytest.mark.mount
@OPTIONAL
def test_only_a_writer_takes_suid_from_anothers_program(
    source: Path, root: Path, options: list[str]
) -> None:
    program = source / "program"
    program.write_bytes(bytes(4096))

    def mode_after(root: Path, action: Callable[[Path], None]) -> int:
        os.chmod(program, 0o6777)
        os.stat(root / "program")  # or the kernel would not know of it yet
        as_user(NOBODY, NOBODY, [], lambda: action(root / "program"))
        return stat.S_IMODE(os.stat(program).st_mode)

    def chown(path: Path) -> None:
        with fails(errno.EPERM):
            os.chown(path, -1, -1)

    def write_direct(path: Path) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        os.write(fd, mmap.mmap(-1, 4096))
        os.close(fd)

    def write(path: Path) -> None:
        with open(path, "r+b") as file:
            file.write(b"x")

    with mirrored(source, root, *options):
        assert mode_after(root, chown) == 0o6777
        assert mode_after(root, write) == 0o777
        assert mode_after(root, write_direct) == 0o777
        assert mode_after(root, lambda path: os.truncate(path, 10)) == 0o777
        os.chmod(program, 0o777)
        os.stat(root / "program")
        as_user(NOBODY, NOBODY, [], lambda: os.chown(root / "program", -1, -1))


@needs_root
@needs("setfacl", "getfacl")
@pytest.mark.mount
@OPTIONAL
def test_acls_are_kept_heeded_and_inherited_as_in_the_source(
    source: Path, root: Path, options: list[str]
) -> None:
    acl = "u::rwx,u:1234:r-x,g::r-x,g:4321:rwx,m::rwx,o::---"
    default = ",".join(f"d:{entry}" for entry in acl.split(","))

    def fill(home: Path) -> None:
        home.mkdir()
        run("setfacl", "-m", f"{acl},{default}", home)
        (home / "file").write_text("x")
        (home / "dir").mkdir()
        subprocess.run(["mkfifo", home / "fifo"], check=True, umask=0o077)

    with mirrored(source, root, *options):
        fill(source / "there")
        fill(root / "here")
        homes = source / "there", root / "here", source / "here"
        listed = [shell("getfacl -Rn .", home) for home in homes]
        assert listed[0].count("user:1234:") > 4
        assert listed[0] == listed[1] == listed[2]

        made = root / "here" / "dir"
        as_user(5, 5, [4321], (made / "x").touch)
        as_user(1234, 5, [], lambda: refused((made / "y").touch))


def test_groups_that_matter_are_taken_along() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    before = os.getgroups()

    with credentials.acting_as(NOBODY, NOBODY, 0o077, [4321]):
        assert os.getgroups() == [*before, 4321]
    assert os.getgroups() == before


async def test_labels_are_set_on_whatever_is_made(source: Path) -> None:
    try:
        os.setxattr(source, "user.try", b"x")
    except OSError:
        pytest.skip("no extended attributes here")
    labels = [("user.label", b"secret"), ("user.other", b"")]

    async with open_kernel(Passthrough(source)) as kernel:
        await kernel.mkdir(1, "dir", security_contexts=labels)
        await kernel.mknod(1, "file", stat.S_IFREG | 0o600, security_contexts=labels)
        entry, opened = await kernel.create(
            1, "open", os.O_RDWR, security_contexts=labels
        )
        await kernel.release(entry.nodeid, opened.fh)

    for name in ("dir", "file", "open"):
        values = [os.getxattr(source / name, label) for label, _ in labels]
        assert values == [b"secret", b""]


async def test_a_label_that_cannot_be_set_leaves_nothing_open(source: Path) -> None:
    before = os.listdir("/proc/self/fd")
    labels = [("nonsense", b"")]

    async with open_kernel(Passthrough(source)) as kernel:
        with fails(errno.EOPNOTSUPP):
            await kernel.create(1, "file", os.O_RDWR, security_contexts=labels)

    assert len(os.listdir("/proc/self/fd")) == len(before)
