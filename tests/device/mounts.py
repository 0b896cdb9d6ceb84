"""What the tests of mounting share: looking at mounts, and children that mount."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import trio

from triofuse.device.dev_fuse import DevFuse
from triofuse.device.libc import mount
from triofuse.device.mount import Mount, mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import MountEntry, read_mounts
from triofuse.device.options import MountOptions

NOBODY = 65534

#: A guard: far longer than anything here takes.
SECONDS = 20

_ROOT = Path(__file__).parents[2]


def entries_at(path: str) -> list[MountEntry]:
    return [entry for entry in read_mounts() if entry.mount_point == path]


def mount_tmpfs(path: str) -> None:
    mount("foreign", path, "tmpfs", 0, "size=4k")


def mount_unseen(path: str) -> int:
    """Mount without looking at the mountpoint; return the descriptor."""
    device = DevFuse.open()
    data = f"fd={device.fd},rootmode=40000,user_id=0,group_id=0"
    mount("unseen", path, "fuse", 0, data)
    return device.fd


def wait_for_mounts(condition: Callable[[], bool]) -> None:
    """Wait until the mounts are as they should be; the kernel tells of changes."""
    deadline = time.monotonic() + SECONDS
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        changes = select.poll()
        changes.register(mountinfo, select.POLLPRI)
        while not condition():
            assert changes.poll((deadline - time.monotonic()) * 1000), "in vain"


@contextlib.asynccontextmanager
async def mounted(
    path: str, options: MountOptions | None = None
) -> AsyncIterator[Mount]:
    """Mount a filesystem that nobody serves, and clean up."""
    filesystem = await mount_filesystem(path, options or MountOptions())
    try:
        yield filesystem
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(MountError):
            await filesystem.unmount()
        os.close(filesystem.fd)


async def leave_dead(path: str) -> None:
    """Mount a filesystem and let it die: its mountpoint is stale."""
    filesystem = await mount_filesystem(path, MountOptions())
    os.close(filesystem.fd)


@contextlib.contextmanager
def child(
    *arguments: str, namespaces: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run ``children.py``, in namespaces of its own if wanted; kill it at the end."""
    unshare = ["unshare", *namespaces, "--"] if namespaces else []
    with subprocess.Popen(
        [*unshare, sys.executable, "-m", "tests.device.children", *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def report(*arguments: str, namespaces: tuple[str, ...] = ()) -> str:
    """Run ``children.py``; return what it printed."""
    with child(*arguments, namespaces=namespaces) as process:
        output, errors = process.communicate(timeout=SECONDS)
    assert not process.returncode, errors
    return output
