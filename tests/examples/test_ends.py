"""A busy mount ends within a second, however it is ended, and leaves nothing."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.conftest import at_work, mounts_below
from tests.examples.conftest import EXAMPLES, serving, wait_mounted

pytestmark = pytest.mark.mount

#: Reads, writes, lists and deletes until it fails; says so, and with which errno.
CLIENT = """
import os, sys
root = os.path.join(sys.argv[1], str(os.getpid()))
data = os.urandom(300_000)
print("ready", flush=True)
while True:
    try:
        os.makedirs(root, exist_ok=True)
        for name in "abc":
            with open(f"{root}/{name}", "wb") as file:
                file.write(data)
            with open(f"{root}/{name}", "rb") as file:
                assert file.read() == data
        os.rename(f"{root}/a", f"{root}/d")
        for name in os.listdir(root):
            os.unlink(f"{root}/{name}")
        if not os.path.ismount(sys.argv[1]):
            sys.exit("unmounted")
    except OSError as exc:
        sys.exit(f"errno {exc.errno}")
"""


@contextmanager
def memfs(mountpoint: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server that the test ends in its own way; whatever happens, it goes."""
    command = [sys.executable, str(EXAMPLES / "memfs.py"), mountpoint, "-f"]
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    try:
        wait_mounted(mountpoint, server)
        yield server
    finally:
        server.kill()
        server.communicate()


def busy(mountpoint: str) -> AbstractContextManager[list[subprocess.Popen[str]]]:
    """Have four clients at work, each of which has done something already."""
    command = [sys.executable, "-c", CLIENT, mountpoint]
    return at_work([command] * 4, stderr=subprocess.PIPE)


def interrupt(server: subprocess.Popen[str], mountpoint: str) -> None:
    server.send_signal(signal.SIGINT)


def terminate(server: subprocess.Popen[str], mountpoint: str) -> None:
    server.send_signal(signal.SIGTERM)


def unmount(server: subprocess.Popen[str], mountpoint: str) -> None:
    """Plain, again and again: now it is busy, now it is not."""
    deadline = time.monotonic() + 5
    command = ["umount", mountpoint]
    while subprocess.run(command, capture_output=True).returncode:
        assert time.monotonic() < deadline


def unmount_by_force(server: subprocess.Popen[str], mountpoint: str) -> None:
    subprocess.run(["umount", "-f", mountpoint], capture_output=True)


Ending = Callable[[subprocess.Popen[str], str], None]


@pytest.mark.parametrize("end", [interrupt, terminate, unmount_by_force])
@pytest.mark.parametrize("seed", range(4))
def test_a_busy_mount_ends_within_a_second(
    mountpoint: str, end: Ending, seed: int
) -> None:
    rounds = random.Random(seed).randrange(1, 40)
    try:
        with memfs(mountpoint) as server, busy(mountpoint) as clients:
            for _ in range(rounds):  # any instant: so many calls from now
                os.stat(mountpoint)
            began = time.monotonic()
            end(server, mountpoint)
            _, complaints = server.communicate(timeout=20)
            took = time.monotonic() - began
            said = [client.communicate(timeout=5)[1] for client in clients]
    finally:
        left = mounts_below(mountpoint)
        subprocess.run(["umount", "-l", mountpoint], capture_output=True)

    assert server.returncode == 0, complaints
    assert "Traceback" not in complaints
    assert took < 1
    if end is not unmount_by_force:  # which leaves the dead mount to its owner
        assert left == []
    assert all(said)


def test_a_mount_that_was_busy_a_moment_ago_is_unmounted(mountpoint: str) -> None:
    script = f"cd {mountpoint} && mkdir x && echo y >x/y && cat x/y && rm -r x"
    with memfs(mountpoint) as server:
        subprocess.run(script, shell=True, check=True, stdout=subprocess.DEVNULL)
        unmount(server, mountpoint)
        _, complaints = server.communicate(timeout=5)

    said = f"INFO:triofuse:the connection of {mountpoint} has ended\n"
    assert (server.returncode, complaints) == (0, said)


def test_clients_of_a_killed_server_fail_at_once_and_the_next_start_serves(
    mountpoint: str,
) -> None:
    with memfs(mountpoint) as server, busy(mountpoint) as clients:
        began = time.monotonic()
        server.kill()
        server.communicate()
        said = [client.communicate(timeout=5)[1].strip() for client in clients]
        took = time.monotonic() - began

    ends = {f"errno {number}" for number in (errno.ECONNABORTED, errno.ENOTCONN)}
    assert set(said) <= ends
    assert took < 1
    again = [str(EXAMPLES / "memfs.py"), mountpoint, "-o", "clear_stale"]
    with serving(*again, mountpoint=mountpoint):
        Path(mountpoint, "alive").write_text("again")
        assert Path(mountpoint, "alive").read_text() == "again"
