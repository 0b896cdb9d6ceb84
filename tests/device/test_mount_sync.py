"""Mounting and unmounting without an event loop."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.session.probe import TEXT, Probe

pytestmark = pytest.mark.mount


def is_mounted(path: str) -> bool:
    return f" {path} " in Path("/proc/self/mounts").read_text()


def test_a_mount_is_made_and_undone_without_an_event_loop(mountpoint: str) -> None:
    mounted = t.mount_sync(mountpoint, t.MountOptions(fsname="before"))

    assert is_mounted(mountpoint)
    assert f"before {mountpoint} " in Path("/proc/self/mounts").read_text()
    mounted.unmount_sync()
    mounted.unmount_sync()  # does nothing
    assert not is_mounted(mountpoint)


def test_it_is_served_afterwards_and_unmounted_with_its_block(mountpoint: str) -> None:
    mounted = t.mount_sync(mountpoint)

    async def serve() -> bytes:
        async with t.mount(Probe(), mounted):
            read = (Path(mountpoint) / "plain").stat
            return str((await trio.to_thread.run_sync(read)).st_size).encode()

    assert trio.run(serve) == str(len(TEXT)).encode()
    assert not is_mounted(mountpoint)


async def test_a_mount_is_served_once(mountpoint: str) -> None:
    mounted = t.mount_sync(mountpoint)
    with pytest.raises(TypeError, match="options were for mount_sync"):
        t.mount(Probe(), mounted, t.MountOptions())
    async with t.mount(Probe(), mounted):
        pass

    with pytest.raises(ValueError, match="was served or unmounted already"):
        t.mount(Probe(), mounted)


def test_errors_are_those_of_mount(mountpoint: str) -> None:
    with pytest.raises(t.MountError) as caught:
        t.mount_sync(f"{mountpoint}/none")

    assert caught.value.errno == errno.ENOENT


def test_a_mount_may_be_left_to_others(mountpoint: str) -> None:
    t.mount_sync(mountpoint).leave_mounted()

    with pytest.raises(OSError) as caught:
        os.statvfs(mountpoint)
    assert caught.value.errno == errno.ENOTCONN
    subprocess.check_call(["umount", mountpoint])


DAEMON = """
import os, sys, trio, triofuse
from tests.session.probe import Probe
options = triofuse.MountOptions(auto_unmount="auto" in sys.argv)
mounted = triofuse.mount_sync(sys.argv[1], options)
if os.fork():
    sys.exit()
os.setsid()

async def main():
    async with triofuse.mount(Probe(), mounted) as session:
        print(os.getpid(), flush=True)
        os.close(1)
        await session.wait_unmounted()

trio.run(main)
"""


@pytest.mark.parametrize("option", ["plain", "auto"])
def test_a_daemon_may_mount_then_fork_then_serve(mountpoint: str, option: str) -> None:
    daemon = subprocess.run(
        [sys.executable, "-c", DAEMON, mountpoint, option],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )

    assert int(daemon.stdout)
    assert (Path(mountpoint) / "plain").stat().st_size == len(TEXT)
    subprocess.check_call(["umount", mountpoint])


def test_what_nobody_serves_is_unmounted_at_exit(mountpoint: str) -> None:
    program = "import sys, triofuse\nkept = triofuse.mount_sync(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, mountpoint], check=True, timeout=60)

    assert not is_mounted(mountpoint)
