"""Faults reach programs in every language, by every way to a file."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from triofuse.faults import Disk

pytestmark = pytest.mark.mount

ERRORS = (
    errno.ENOSPC,
    errno.EIO,
    errno.EDQUOT,
    errno.EROFS,
    errno.EINTR,
    errno.ENOMEM,
)

each_error = pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.__getitem__)

Client = Callable[[str, Path], str]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A program in C that does one thing and prints the errno."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    program = tmp_path_factory.mktemp("client") / "client"
    source = Path(__file__).parent / "client.c"
    command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o"]
    command += [str(program), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    if "linux/io_uring.h" in built.stderr:
        pytest.skip("no linux/io_uring.h here")
    assert built.returncode == 0, built.stderr

    def run(way: str, path: Path) -> str:
        done = subprocess.run(
            [program, way, path], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done
        if done.stdout == "no io_uring\n":
            pytest.skip("io_uring is forbidden here")
        return done.stdout.strip()

    return run


@pytest.fixture
def file(disk: Disk) -> Path:
    (disk / "file").write_bytes(b"y" * 4096)
    return disk / "file"


# --- C: each way to a file

#: The operation that a way leads to.
WAYS = {
    "write": "write",
    "read": "read",
    "fsync": "fsync",
    "direct": "write",
    "uring-write": "write",
    "uring-read": "read",
    "uring-fsync": "fsync",
}


@each_error
@pytest.mark.parametrize("way", WAYS)
def test_an_error_reaches_a_c_program(
    disk: Disk, file: Path, client: Client, way: str, error: int
) -> None:
    assert client(way, file) == "0"

    with disk.fail(WAYS[way], error) as rule:
        found = client(way, file)
        assert rule.done

    assert found == str(error)
    assert client(way, file) == "0"


def test_a_page_that_cannot_be_read_is_sigbus_in_a_mapping(
    disk: Disk, file: Path, client: Client
) -> None:
    with disk.fail("read", errno.EIO):
        assert client("mmap", file) == "SIGBUS"


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_msync_says_that_a_page_was_not_written(
    disk: Disk, file: Path, client: Client, error: int
) -> None:
    """write(2) errors other than ENOSPC are EIO: mapping_set_error()."""
    assert client("msync", file) == "0"

    with disk.fail("write", error):
        assert client("msync", file) == str(error)


def test_a_short_write_with_o_direct_may_be_an_error(
    disk: Disk, file: Path, client: Client
) -> None:
    """Linux 6.18 makes EIO of it: what was asked for was one request."""
    with disk.short("write", 512, once=True) as rule:
        assert client("direct", file) in {"short 512", str(errno.EIO)}
    assert rule.done


@pytest.mark.parametrize("way", ["write", "uring-write"])
def test_a_write_is_short_in_a_c_program(
    disk: Disk, file: Path, client: Client, way: str
) -> None:
    with disk.short("write", 512, once=True):
        assert client(way, file) == "short 512"


@pytest.mark.parametrize("way", ["read", "uring-read"])
def test_a_read_is_short_in_a_c_program(
    disk: Disk, file: Path, client: Client, way: str
) -> None:
    with disk.short("read", 512):
        assert client(way, file) == "short 512"


@pytest.mark.parametrize("way", [*WAYS, "msync", "mmap"])
def test_a_delay_reaches_a_c_program(
    disk: Disk, file: Path, client: Client, way: str
) -> None:
    with disk.delay(WAYS.get(way, "read" if way == "mmap" else "write"), 0.2):
        before = time.monotonic()
        assert client(way, file) == "0"
        assert time.monotonic() - before >= 0.2


# --- Others


WRITE = {
    "sh": ["sh", "-c", 'echo hello > "$0"'],
    "dd": ["dd", "if=/dev/zero", "bs=4096", "count=1", "status=none"],
    "python": [
        sys.executable,
        "-c",
        "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('hello')",
    ],
    "node": ["node", "-e", "require('fs').writeFileSync(process.argv[1], 'hello')"],
}

#: Shells and Python try again after EINTR.
EACH = [error for error in ERRORS if error != errno.EINTR]


@pytest.mark.parametrize("error", EACH, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("program", WRITE)
def test_an_error_reaches_programs_in_other_languages(
    disk: Disk, program: str, error: int
) -> None:
    command = [*WRITE[program]]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {program} here")
    command.append(f"of={disk / 'x'}" if program == "dd" else str(disk / "x"))
    with disk.fail("write", error, path="x") as rule:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert rule.done
    assert done.returncode != 0
    # dash says "I/O error" for EIO, node has no name for EDQUOT.
    words = [os.strerror(error), errno.errorcode[error], "I/O error", f"error -{error}"]
    assert any(word in done.stderr for word in words), done.stderr


def test_python_tries_again_after_eintr(disk: Disk) -> None:
    rule = disk.fail("write", errno.EINTR, times=2)

    (disk / "x").write_text("hello")

    assert (disk / "x").read_text() == "hello"
    assert rule.done == 2


def test_java_gets_the_words_of_an_error(disk: Disk, tmp_path: Path) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("no java here")
    source = tmp_path / "W.java"
    source.write_text(
        "class W { public static void main(String[] a) throws Exception {"
        " var f = new java.io.FileOutputStream(a[0]); f.write(1); f.close(); } }"
    )
    with disk.fail("write", errno.EDQUOT) as rule:
        done = subprocess.run(
            [java, source, disk / "x"], capture_output=True, text=True, timeout=120
        )
    if not rule.done:
        pytest.skip(f"java does not compile here: {done.stderr[:100]}")

    assert os.strerror(errno.EDQUOT) in done.stderr
