"""Processes that select, poll and epoll on the example's files are woken."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, serving

pytestmark = pytest.mark.mount

#: Each waits for a file of its own, says so first, and reads it when it is told to.
WAITING = """
import os, select, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
try:
    os.read(fd, 100)
except BlockingIOError:
    print("waits", flush=True)
{wait}
sys.stdout.write(os.read(fd, 100).decode())
"""

WAYS = {
    "select": "assert select.select([fd], [], [], 20)[0] == [fd]",
    "poll": """
p = select.poll()
p.register(fd, select.POLLIN)
assert p.poll(20000) == [(fd, select.POLLIN)]
""",
    "epoll": """
p = select.epoll()
p.register(fd, select.EPOLLIN)
assert p.poll(20) == [(fd, select.EPOLLIN)]
""",
    "edges": """
p = select.epoll()
p.register(fd, select.EPOLLIN | select.EPOLLET)
assert p.poll(20) == [(fd, select.EPOLLIN)]
sys.stdout.write(os.read(fd, 100).decode())
sys.stdout.flush()
assert p.poll(20) == [(fd, select.EPOLLIN)]
""",
}


@pytest.fixture
def mounted(mountpoint: str) -> Iterator[Path]:
    command = [str(EXAMPLES / "poll.py"), mountpoint, "-o", "every=0.2"]
    with serving(*command, mountpoint=mountpoint):
        yield Path(mountpoint)


def start(path: Path, wait: str) -> subprocess.Popen[str]:
    script = WAITING.format(wait=wait)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )


def write(path: Path, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


@pytest.mark.parametrize("way", ["select", "poll", "epoll"])
def test_who_waits_for_the_queue_is_woken_by_a_write(mounted: Path, way: str) -> None:
    with start(mounted / "queue", WAYS[way]) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "waits\n"
        write(mounted / "queue", "hello\n")
        assert client.stdout.read() == "hello\n"

    assert client.returncode == 0


def test_every_write_is_an_edge(mounted: Path) -> None:
    with start(mounted / "queue", WAYS["edges"]) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "waits\n"
        write(mounted / "queue", "one\n")
        assert client.stdout.readline() == "one\n"
        write(mounted / "queue", "two\n")
        assert client.stdout.read() == "two\n"

    assert client.returncode == 0


@pytest.mark.parametrize("way", ["select", "poll", "epoll"])
def test_ticks_come_by_themselves(mounted: Path, way: str) -> None:
    with start(mounted / "tick", WAYS[way]) as client:
        said, _ = client.communicate(timeout=20)

    assert client.returncode == 0
    assert said.splitlines()[-1].startswith("tick ")


def test_a_read_that_may_wait_does(mounted: Path) -> None:
    with open(mounted / "tick", "rb", buffering=0) as ticks:
        first, second = ticks.read(100), ticks.read(100)

    assert int(second.split()[1]) == int(first.split()[1]) + 1


def test_the_queue_can_always_be_written_to(mounted: Path) -> None:
    fd = os.open(mounted / "queue", os.O_RDWR | os.O_NONBLOCK)
    try:
        assert select.select([fd], [fd], [], 0) == ([], [fd], [])
        os.write(fd, b"long message")
        assert select.select([fd], [fd], [], 0) == ([fd], [fd], [])
        assert os.read(fd, 5) == b"long "
        assert os.read(fd, 100) == b"message"
        with pytest.raises(BlockingIOError):
            os.read(fd, 100)
    finally:
        os.close(fd)


def test_it_is_short() -> None:
    assert len((EXAMPLES / "poll.py").read_text().splitlines()) < 200
