"""The commands of examples/ioctl.py, called by another process on a real mount."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ioctl
from tests.examples.conftest import EXAMPLES, serving
from triofuse import IoctlFlags
from triofuse.testing import open_kernel

COMMAND = str(EXAMPLES / "ioctl.py")


@pytest.mark.mount
def test_the_client_calls_every_command(mountpoint: str) -> None:
    with serving(COMMAND, mountpoint, mountpoint=mountpoint):
        client = [sys.executable, COMMAND, "--client", mountpoint]
        done = subprocess.run(client, capture_output=True, text=True, timeout=20)
        assert Path(mountpoint, "text").read_bytes() == b"some"

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "size: 10",
        "cut to: b'some'",
        "in capitals: (16, b'ANY NUMBER OF BYTES')",
        "label: b'unnamed'",
        "label before: b'first'",
        "label now: b'second'",
    ]


@pytest.mark.mount
@pytest.mark.parametrize("size", [0, 1, 100, 16383])
def test_a_command_takes_any_number_of_bytes(mountpoint: str, size: int) -> None:
    with serving(COMMAND, mountpoint, mountpoint=mountpoint):
        with open(f"{mountpoint}/text", "rb") as file:
            assert ioctl.upper(file.fileno(), b"a" * size) == (size, b"A" * size)


@pytest.mark.mount
def test_a_file_grows_and_its_size_is_seen_at_once(mountpoint: str) -> None:
    with serving(COMMAND, mountpoint, mountpoint=mountpoint):
        with open(f"{mountpoint}/text", "rb") as file:
            ioctl.set_size(file.fileno(), 12)
            assert ioctl.get_size(file.fileno()) == 12
            assert os.fstat(file.fileno()).st_size == 12
            assert file.read() == b"some text\n\0\0"


@pytest.mark.mount
def test_what_makes_no_sense_is_refused(mountpoint: str) -> None:
    def errno_of(fd: int, command: int, data: bytes) -> int | None:
        with pytest.raises(OSError, match=r"Errno") as failed:
            fcntl.ioctl(fd, command, data)
        return failed.value.errno

    with serving(COMMAND, mountpoint, mountpoint=mountpoint):
        directory = os.open(mountpoint, os.O_RDONLY)
        file = os.open(f"{mountpoint}/text", os.O_RDONLY)
        huge = (1 << 40).to_bytes(8, sys.byteorder)
        assert errno_of(file, ioctl.SET_SIZE, huge) == errno.EFBIG
        assert errno_of(file, ioctl.GET_LABEL, bytes(16)) == errno.ENOTTY
        assert errno_of(directory, ioctl.GET_SIZE, bytes(8)) == errno.ENOTTY
        os.close(directory)
        os.close(file)


async def test_a_label_is_read_and_set_without_a_mount() -> None:
    """A test to copy: commands need no kernel either."""
    async with open_kernel(ioctl.Commands()) as kernel:
        label = b"mine".ljust(16, b"\0")
        on = IoctlFlags.DIR
        opened = await kernel.opendir(1)
        swap = ioctl.SWAP_LABEL
        reply = await kernel.ioctl(1, opened.fh, swap, label, out_size=16, flags=on)
        assert bytes(reply.data).rstrip(b"\0") == b"unnamed"
        get = ioctl.GET_LABEL
        reply = await kernel.ioctl(1, opened.fh, get, out_size=16, flags=on)
        assert bytes(reply.data) == label
        with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)):
            await kernel.ioctl(1, opened.fh, 0, flags=on)


def test_it_is_short() -> None:
    assert len(Path(COMMAND).read_text().splitlines()) < 200
