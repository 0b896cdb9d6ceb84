"""The mirror: what the kernel does by itself, and what is kept as in the source."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import trio

import triofuse as t
from passthrough import Passthrough
from tests.examples.conftest import EXAMPLES, wait_mounted
from tests.examples.test_programs import needs, run
from triofuse.device.libc import mount
from triofuse.mirror import libc
from triofuse.testing import open_kernel

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

WAYS = pytest.mark.parametrize(
    "backed", [True, False], ids=["passthrough", "no-passthrough"]
)


class Counting(Passthrough):
    """Counts the reads and writes that come."""

    def __init__(self, source: Path, *, backed: bool = True) -> None:
        super().__init__(source, backed=backed)
        self.calls: Counter[str] = Counter()

    async def read(self, request: t.Read) -> t.FileData:
        self.calls["read"] += 1
        return await super().read(request)

    async def write(self, request: t.Write) -> int:
        self.calls["write"] += 1
        return await super().write(request)

    async def getxattr(self, request: t.Getxattr) -> bytes:
        self.calls["getxattr"] += 1
        return await super().getxattr(request)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


OPTIONS = t.MountOptions(default_permissions=True)


@asynccontextmanager
async def mirror(
    source: Path, mountpoint: str, *, backed: bool = True
) -> AsyncIterator[Counting]:
    counting = Counting(source, backed=backed)
    with trio.fail_after(20):
        async with t.mount(counting, mountpoint, OPTIONS, strict=True):
            yield counting


async def use(client: Callable[[Path], None], mountpoint: str) -> None:
    """Run what uses the mount in a thread."""
    await trio.to_thread.run_sync(client, Path(mountpoint))


def same_status(one: Path, two: Path) -> None:
    first, second = (
        {
            name: getattr(os.stat(path), name)
            for name in dir(os.stat(path))
            if is_kept(name)
        }
        for path in (one, two)
    )
    assert first == second


def is_kept(name: str) -> bool:
    """Whether a mirror has the same: all but the device it is on."""
    return name.startswith("st_") and name != "st_dev"


# --- Reads, writes and maps


@needs_root
@pytest.mark.mount
@WAYS
async def test_reads_and_writes_come_here_only_without_passthrough(
    source: Path, mountpoint: str, backed: bool
) -> None:
    data = os.urandom(300_000)

    def client(root: Path) -> None:
        for name in ("new", "new", "other"):
            (root / name).write_bytes(data)
            same_status(root / name, source / name)
            assert (root / name).read_bytes() == data
        with open(root / "new", "ab") as file:
            file.write(b"more")
        same_status(root / "new", source / "new")

    async with mirror(source, mountpoint, backed=backed) as counting:
        await use(client, mountpoint)

    assert (source / "new").read_bytes() == data + b"more"
    came = counting.calls["read"] > 0, counting.calls["write"] > 0
    assert came == (not backed, not backed)


@needs_root
@pytest.mark.mount
async def test_a_map_and_the_source_are_one_memory(
    source: Path, mountpoint: str
) -> None:
    (source / "file").write_bytes(bytes(8192))

    def client(root: Path) -> None:
        with open(root / "file", "r+b") as here, open(source / "file", "r+b") as there:
            with (
                mmap.mmap(here.fileno(), 0) as one,
                mmap.mmap(there.fileno(), 0) as two,
            ):
                one[5000:5003] = b"abc"
                assert two[5000:5003] == b"abc"
                os.pwrite(there.fileno(), b"def", 10)
                assert one[10:13] == b"def"
                os.pwrite(here.fileno(), b"ghi", 20)
                assert two[20:23] == b"ghi"

    async with mirror(source, mountpoint) as counting:
        await use(client, mountpoint)

    assert not counting.calls["read"] + counting.calls["write"]


#: Stores into a mapping of ``argv[1]``, in a process of its own: a page fault holds
#: the interpreter's lock.  Shows what stat(2) says before, then and in the end.
MAPS = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
def show(): print(os.stat(sys.argv[1]).st_mtime_ns, flush=True); sys.stdin.readline()
mapping = mmap.mmap(fd, 0)
os.close(fd)
os.stat(sys.argv[1])  # mmap(2) itself makes the kernel ask again
show()
mapping[0] = mapping[0] ^ 1
show()
mapping.flush()
mapping.close()
show()
"""


@needs_root
@pytest.mark.mount
@WAYS
def test_what_a_mapping_has_changed_shows_at_once(
    source: Path, mountpoint: str, backed: bool
) -> None:
    file = source / "file"
    file.write_bytes(bytes(8192))
    os.utime(file, (1, 1))
    options = [] if backed else ["-o", "nopassthrough"]

    with mirrored(source, Path(mountpoint), *options):
        command = [sys.executable, "-c", MAPS, str(Path(mountpoint) / "file")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            mtimes = []
            for _ in range(3):
                mtimes.append((int(client.stdout.readline()), file.stat().st_mtime_ns))
                client.stdin.write("\n")
                client.stdin.flush()

    before, stored, synced = mtimes
    assert before == (10**9, 10**9)
    assert stored[0] == stored[1], "also when the file is closed already"
    assert stored[0] > before[0] or not backed, "SOURCE itself does not know of it yet"
    assert synced[0] == synced[1] > before[0]


#: Asks for the time of modification and nothing else, as ``stat -c %Y``, in a moment
#: in which the kernel knows another one from before.
MAPS_QUICKLY = """
import mmap, os, subprocess, sys
os.stat(sys.argv[1])
fd = os.open(sys.argv[1], os.O_RDWR)
mapping = mmap.mmap(fd, 0)
mapping[0] = 1
subprocess.run(["stat", "-c", "%Y", sys.argv[1]])
"""


@needs_root
@needs("stat")
@pytest.mark.mount
def test_a_mapping_of_a_file_that_was_known_shows_to_who_asks_for_its_time_only(
    source: Path, mountpoint: str
) -> None:
    file = source / "file"
    file.write_bytes(bytes(8192))
    os.utime(file, (1, 1))

    with mirrored(source, Path(mountpoint)):
        path = Path(mountpoint) / "file"
        shown = run(sys.executable, "-c", MAPS_QUICKLY, path)

    assert int(shown) == int(file.stat().st_mtime)


@needs_root
@pytest.mark.mount
def test_what_a_mapping_of_a_new_file_has_changed_shows_at_once(
    source: Path, mountpoint: str
) -> None:
    with mirrored(source, Path(mountpoint)):
        path = Path(mountpoint) / "new"
        with open(path, "w+b", buffering=0) as file:
            file.write(bytes(8192))
            os.utime(path, (1, 1))
            assert path.stat().st_mtime == 1
            with mmap.mmap(file.fileno(), 0) as mapping:
                assert path.stat().st_mtime == 1  # mmap(2) makes the kernel ask again
                mapping[0] = 1
                assert path.stat().st_mtime > 1


@needs_root
@pytest.mark.mount
async def test_a_change_in_the_source_is_read_at_once(
    source: Path, mountpoint: str
) -> None:
    (source / "file").write_bytes(b"old")

    def client(root: Path) -> None:
        with open(root / "file", "rb", buffering=0) as file:
            assert file.read() == b"old"
            (source / "file").write_bytes(b"new and longer")
            assert os.pread(file.fileno(), 99, 0) == b"new and longer"

    async with mirror(source, mountpoint):
        await use(client, mountpoint)


@needs_root
@pytest.mark.mount
@WAYS
async def test_writes_ask_for_no_capabilities_each_time(
    source: Path, mountpoint: str, backed: bool
) -> None:
    def client(root: Path) -> None:
        with open(root / "file", "wb", buffering=0) as file:
            file.writelines(b"x" for _ in range(50))

    async with mirror(source, mountpoint, backed=backed) as counting:
        await use(client, mountpoint)

    assert counting.calls["getxattr"] <= 2


@needs_root
@pytest.mark.mount
async def test_what_has_no_name_is_passed_through_as_well(
    source: Path, mountpoint: str
) -> None:
    def client(root: Path) -> None:
        fd = os.open(root, os.O_TMPFILE | os.O_RDWR)
        os.write(fd, b"nameless")
        assert os.pread(fd, 99, 0) == b"nameless"
        assert os.fstat(fd).st_size == 8
        os.close(fd)

    async with mirror(source, mountpoint) as counting:
        await use(client, mountpoint)

    assert not counting.calls["read"] + counting.calls["write"]


@contextmanager
def mirrored(
    source: Path, mountpoint: Path, *options: str, descriptors: int = 0
) -> Iterator[list[str]]:
    """Run the program; what it said is in the list in the end.

    With a limit of ``descriptors``, unless that is 0.
    """
    said: list[str] = []
    command = [sys.executable, str(EXAMPLES / "passthrough.py")]
    if descriptors:
        command = ["prlimit", f"--nofile={descriptors}:{descriptors}", *command]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [*command, str(source), str(mountpoint), "--foreground", *options],
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            wait_mounted(str(mountpoint), server)
            yield said
            server.terminate()
            assert server.wait(timeout=20) == 0
        except BaseException:
            server.terminate()  # or a failure would leave the mount behind
            with suppress(subprocess.TimeoutExpired):
                server.wait(timeout=20)
            raise
        finally:
            server.kill()
            server.wait()
        log.seek(0)
        said += [line for line in log if not is_about_the_end(line)]


def is_about_the_end(line: str) -> bool:
    """Whether a line is what each server says in the end."""
    return "ends on SIGTERM" in line or "the connection of" in line


@needs_root
@pytest.mark.mount
def test_a_mirror_of_a_mirror_reads_and_writes_itself_and_says_why(
    source: Path, mountpoint: str, tmp_path: Path
) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    with mirrored(source, Path(mountpoint)) as lower_said:
        with mirrored(Path(mountpoint), upper) as upper_said:
            (upper / "file").write_text("through both")
            assert (upper / "file").read_text() == "through both"

    assert (source / "file").read_text() == "through both"
    (line,) = lower_said
    assert "the kernel reads and writes itself" in line
    (line,) = upper_said
    assert line.startswith("INFO:")
    assert os.strerror(errno.ELOOP) in line


@needs_root
@needs("setpriv")
@pytest.mark.mount
def test_without_the_right_to_it_files_are_served_and_the_log_says_why(
    source: Path, mountpoint: str
) -> None:
    fd = os.open("/dev/fuse", os.O_RDWR)
    mount("x", mountpoint, "fuse", 0, f"fd={fd},rootmode=40000,user_id=0,group_id=0")
    drop = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    program = [sys.executable, str(EXAMPLES / "passthrough.py")]
    command = [*drop, *program, str(source), f"/dev/fd/{fd}", "-f"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, text=True, pass_fds=[fd]
        )
        os.close(fd)
        try:
            wait_mounted(mountpoint, server)
            for name in "one", "two":
                Path(mountpoint, name).write_text(name)
        finally:
            run("umount", mountpoint)
            assert server.wait(timeout=20) == 0
        log.seek(0)
        (line,) = [said for said in log if not is_about_the_end(said)]

    assert (source / "two").read_text() == "two"
    assert line.startswith("INFO:triofuse:no passthrough")
    assert "CAP_SYS_ADMIN" in line


@needs_root
@pytest.mark.mount
def test_passthrough_can_be_declined(source: Path, mountpoint: str) -> None:
    with mirrored(source, Path(mountpoint), "-o", "nopassthrough") as said:
        Path(mountpoint, "file").write_text("x")

    assert (source / "file").read_text() == "x"
    assert said == []


# --- The rest


async def test_the_source_is_synced_as_a_whole(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = libc.syncfs

    def syncfs(fd: int) -> None:
        real(fd)
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr("triofuse.mirror.libc.syncfs", syncfs)
    async with open_kernel(Passthrough(source)) as kernel:
        await kernel.syncfs()

    assert synced == [str(source)]


@needs("stat")
@pytest.mark.mount
async def test_births_are_shown(source: Path, mountpoint: str) -> None:
    (source / "file").touch()

    def client(root: Path) -> None:
        born = [
            subprocess.check_output(["stat", "-c", "%W %w", home / "file"])
            for home in (source, root)
        ]
        assert born[0] == born[1]

    async with mirror(source, mountpoint):
        await use(client, mountpoint)
