"""A service manager is told of start and end, as systemd with ``Type=notify`` is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running.programs import run, server_of, wait_gone, write_program

pytestmark = pytest.mark.mount


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A manager's socket that knows who sends, and the environment of a service."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        abstract = request.param == "abstract"
        listening.bind("\0" + address if abstract else address)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listening.settimeout(20)
        name = "@" + address if abstract else address
        yield listening, {**os.environ, "NOTIFY_SOCKET": name}


def receive(listening: socket.socket) -> tuple[int, list[str]]:
    """Return who has sent a message, and its variables."""
    message, credentials, _, _ = listening.recvmsg(4096, 64)
    pid = int.from_bytes(credentials[0][2][:4], "little")
    return pid, message.decode().split("\n")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    path = write_program(tmp_path / "saying.py")
    yield path
    for pid in server_of(path):
        os.kill(pid, signal.SIGKILL)


def test_a_service_in_the_foreground_says_when_it_is_ready_and_when_it_stops(
    manager: tuple[socket.socket, dict[str, str]], program: Path, mountpoint: str
) -> None:
    listening, environment = manager
    with subprocess.Popen([program, "a", mountpoint, "-f"], env=environment) as server:
        ready = receive(listening)
        assert Path(mountpoint, "said").exists()
        server.terminate()
        stopping = receive(listening)

    assert ready == (server.pid, ["READY=1"])
    assert stopping == (server.pid, ["STOPPING=1"])
    assert server.returncode == 0


def test_the_first_process_names_the_one_that_serves(
    manager: tuple[socket.socket, dict[str, str]], program: Path, mountpoint: str
) -> None:
    """The manager believes only the process that it has started."""
    listening, environment = manager
    with subprocess.Popen([program, "a", mountpoint], env=environment) as first:
        ready = receive(listening)
    (server,) = server_of(program)
    assert Path(mountpoint, "said").exists()
    run("umount", mountpoint)
    stopping = receive(listening)
    wait_gone(server)

    assert first.returncode == 0
    assert ready == (first.pid, [f"MAINPID={server}", "READY=1"])
    assert stopping == (server, ["STOPPING=1"])


def test_a_manager_that_is_gone_changes_nothing(
    program: Path, mountpoint: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "gone")}

    done = run(program, "a", mountpoint, env=environment)

    assert done.returncode == 0
    assert "cannot be told" in done.stderr
    run("umount", mountpoint)
