"""Every example runs as a program, with its options, and ends on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, WRITABLE, example, serving, wait_mounted

MOUNTING = ["deny", "hello", "ioctl", "notify", "poll", "slow", *WRITABLE]


def command_of(name: str, mountpoint: str, source: Path) -> list[str]:
    if name not in WRITABLE:
        return [str(EXAMPLES / f"{name}.py"), mountpoint]
    return example(name, mountpoint, source)


@pytest.mark.mount
def test_hello_says_hello(mountpoint: str) -> None:
    with serving(str(EXAMPLES / "hello.py"), mountpoint, mountpoint=mountpoint):
        assert os.listdir(mountpoint) == ["hello"]
        assert Path(mountpoint, "hello").read_text() == "Hello from trio!\n"
        with pytest.raises(OSError, match="Read-only file system"):
            Path(mountpoint, "new").touch()


def test_hello_is_short() -> None:
    assert len((EXAMPLES / "hello.py").read_text().splitlines()) < 60


@pytest.mark.mount
@pytest.mark.parametrize("name", MOUNTING)
def test_debug_logs_every_request_and_its_answer(
    name: str, mountpoint: str, tmp_path: Path
) -> None:
    command = command_of(name, mountpoint, tmp_path / "source")
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [sys.executable, *command, "--debug"], stdout=log, stderr=log, text=True
        )
        try:
            wait_mounted(mountpoint, server)
            assert not Path(mountpoint, "absent").exists()
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=20) == 0
        finally:
            server.kill()
            server.wait()
        log.seek(0)
        said = log.read()

    assert "name='absent'" in said
    assert "protocol 7." in said


@pytest.mark.mount
@pytest.mark.parametrize("name", MOUNTING)
def test_options_are_taken(name: str, mountpoint: str, tmp_path: Path) -> None:
    command = command_of(name, mountpoint, tmp_path / "source")
    command = command[: command.index("-o")] if "-o" in command else command
    with serving(*command, "-o", "ro,noexec", mountpoint=mountpoint):
        (line,) = [
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if f" {mountpoint} " in line
        ]
        assert {"ro", "noexec"} <= set(line.split()[3].split(","))


@pytest.mark.mount
@pytest.mark.parametrize("name", MOUNTING)
def test_a_mountpoint_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    command = command_of(name, str(tmp_path / "missing"), tmp_path / "source")

    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 32
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "missing") in done.stderr
