"""Each example, mounted by a process of its own, as a user would."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import mounts_below

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Writable examples, which the programs and the POSIX table run on.
WRITABLE = ["memfs", "passthrough"]

#: The mirror again, with all reads and writes asked of it.
ASKED = "passthrough -o nopassthrough"


def is_served(mountpoint: str) -> bool:
    """Whether something is mounted, and alive."""
    try:
        return mountpoint in mounts_below(mountpoint) and bool(os.statvfs(mountpoint))
    except OSError:
        return False


def wait_mounted(mountpoint: str, server: subprocess.Popen[str]) -> None:
    """Wait until something is mounted: the kernel tells who polls the table."""
    deadline = time.monotonic() + 20
    with open("/proc/self/mounts") as table:
        changes = select.poll()
        changes.register(table, select.POLLPRI)
        while not is_served(mountpoint):
            assert server.poll() is None, server.communicate()
            assert time.monotonic() < deadline
            changes.poll(200)


@contextmanager
def serving(*command: str, mountpoint: str) -> Iterator[subprocess.Popen[str]]:
    """Run an example in the foreground; end it with Ctrl-C, expect it to be content."""
    with tempfile.TemporaryFile("w+") as said:  # a pipe that is full would block it
        server = subprocess.Popen(
            [sys.executable, *command, "--foreground"],
            stdout=said,
            stderr=said,
            text=True,
        )
        try:
            wait_mounted(mountpoint, server)
            yield server
            server.send_signal(signal.SIGINT)
            server.wait(timeout=20)
        finally:
            server.kill()
            server.wait()
        said.seek(0)
        complaints = [line for line in said if not line.startswith("INFO:")]
        assert (server.returncode, complaints) == (0, [])


def example(name: str, mountpoint: str, source: Path) -> list[str]:
    """Return the command that runs a writable example."""
    name, *flags = name.split()
    path = str(EXAMPLES / f"{name}.py")
    options = ["-o", "allow_other,dev,suid" if os.geteuid() == 0 else "", *flags]
    if name == "passthrough":
        source.mkdir()
        return [path, str(source), mountpoint, *options]
    return [path, mountpoint, *options]


@pytest.fixture(params=WRITABLE)
def mounted(
    request: pytest.FixtureRequest, mountpoint: str, tmp_path: Path
) -> Iterator[Path]:
    """The root of a mounted example."""
    command = example(request.param, mountpoint, tmp_path / "source")
    with serving(*command, mountpoint=mountpoint):
        yield Path(mountpoint)
