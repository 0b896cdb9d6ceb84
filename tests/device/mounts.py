"""What the tests of mounting share: looking at mounts, and children that mount."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio

from triofuse.device.dev_fuse import DevFuse
from triofuse.device.fs_context import FsContext
from triofuse.device.libc import mount
from triofuse.device.mount import Mount, mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import MountEntry, decode_mountinfo
from triofuse.device.options import MountOptions

NOBODY = 65534

#: What everybody can run, where there is such.
PUBLIC_PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or ""

#: A guard: far longer than anything here takes.
SECONDS = 20

_ROOT = Path(__file__).parents[2]


def entries_at(path: str, table: str = "/proc/self/mountinfo") -> list[MountEntry]:
    mounts = decode_mountinfo(Path(table).read_bytes())
    return [entry for entry in mounts if entry.mount_point == path]


def needs_steps() -> None:
    """Skip the test if the system has no fsopen(2)."""
    try:
        FsContext.open("fuse").close()
    except OSError as exc:
        pytest.skip(f"fsopen: {exc.strerror}")


def mount_tmpfs(path: str) -> None:
    mount("foreign", path, "tmpfs", 0, "size=4k")


def mount_unseen(path: str) -> int:
    """Mount without a check of the mountpoint; return the descriptor."""
    device = DevFuse.open()
    data = f"fd={device.fd},rootmode=40000,user_id=0,group_id=0"
    mount("unseen", path, "fuse", 0, data)
    return device.fd


def wait_for_mounts(
    condition: Callable[[], bool], table: str = "/proc/self/mountinfo"
) -> None:
    """Wait until a condition on the mounts holds; mountinfo polls for changes."""
    deadline = time.monotonic() + SECONDS
    with open(table, "rb") as mountinfo:
        changes = select.poll()
        changes.register(mountinfo, select.POLLPRI)
        while not condition():
            assert changes.poll((deadline - time.monotonic()) * 1000), "in vain"


@contextlib.asynccontextmanager
async def mounted(
    path: str, options: MountOptions | None = None
) -> AsyncIterator[Mount]:
    """Mount a filesystem that is not served, and clean up."""
    filesystem = await mount_filesystem(path, options or MountOptions())
    try:
        yield filesystem
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(MountError):
            await filesystem.unmount()
        filesystem.device.close()


def clear(path: str) -> None:
    """Unmount everything at a path."""
    subprocess.run(["umount", "-l", path], check=True)


async def leave_dead(path: str) -> None:
    """Mount a filesystem and close its device, which leaves a stale mountpoint."""
    filesystem = await mount_filesystem(path, MountOptions())
    filesystem.device.close()


@attrs.frozen
class Realm:
    """A mount namespace for one test.

    Attributes:
      pid: An idle process in the namespace.
    """

    pid: int

    @property
    def enter(self) -> list[str]:
        """The start of a command that runs in the namespace."""
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--"]

    @property
    def table(self) -> str:
        """The path of the mountinfo of the namespace."""
        return f"/proc/{self.pid}/mountinfo"

    def command(self, *words: str, uid: int = 0) -> list[str]:
        """Return a command that runs in the namespace, as a given user."""
        if not uid:
            return [*self.enter, *words]
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        return [*self.enter, *become, "--", *words]

    def run(self, *words: str, uid: int = 0) -> str:
        """Run a command in the namespace; return its error messages."""
        command = self.command(*words, uid=uid)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert bool(done.returncode) == bool(done.stderr), done
        return done.stderr

    def allow_user_allow_other(self, directory: str) -> None:
        """Put user_allow_other into /etc/fuse.conf, if fuse3 has installed one."""
        if not os.path.exists("/etc/fuse.conf"):
            return
        config = os.path.join(directory, "fuse.conf")
        Path(config).write_text("user_allow_other\n")
        assert self.run("mount", "--bind", config, "/etc/fuse.conf") == ""


@contextlib.contextmanager
def child(
    *arguments: str, namespaces: tuple[str, ...] = (), realm: Realm | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run ``children.py``, in namespaces of its own if wanted; kill it at the end."""
    prefix = ["unshare", *namespaces, "--"] if namespaces else []
    if realm is not None:
        prefix = realm.enter
    with subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.device.children", *arguments],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'examples'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_mounted(process: subprocess.Popen[str]) -> None:
    """Wait for what ``hold`` and ``serve`` of ``children.py`` say."""
    assert process.stdout is not None
    assert process.stdout.readline() == "mounted\n", process.communicate()


def report(
    *arguments: str, namespaces: tuple[str, ...] = (), realm: Realm | None = None
) -> str:
    """Run ``children.py``; return what it printed."""
    with child(*arguments, namespaces=namespaces, realm=realm) as process:
        output, errors = process.communicate(timeout=SECONDS)
    assert not process.returncode, errors
    return output
