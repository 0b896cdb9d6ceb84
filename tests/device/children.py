"""Programs that mount, for tests that need another process, user or namespace.

They print what they see, a fact a line.  Run by ``mounts.child``.
"""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys

import trio

from tests.device.mounts import NOBODY, entries_at, leave_dead, mount_tmpfs
from triofuse.device import fusermount
from triofuse.device.mount import Mount, mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.options import MountOptions


async def hold(path: str, options: MountOptions) -> None:
    """Mount, and stay until killed."""
    await mount_filesystem(path, options)
    print("mounted", flush=True)
    sys.stdin.read()


async def once(path: str, options: MountOptions) -> None:
    """Mount, unmount, and look at the mountpoint in between."""
    filesystem = await _mount(path, options)
    if filesystem is None:
        return
    await filesystem.unmount()
    os.close(filesystem.fd)
    print(len(entries_at(path)), "left")
    _print_children()


async def busy(path: str, options: MountOptions) -> None:
    """As ``once``, but unmount while the filesystem is in use."""
    filesystem = await _mount(path, options)
    if filesystem is None:
        return
    user = os.open(path, os.O_PATH)
    await filesystem.unmount()
    print(len(entries_at(path)), "left")
    os.close(user)
    os.close(filesystem.fd)


async def again(path: str, options: MountOptions) -> None:
    """Mount where a filesystem of one's own has died twice."""
    await leave_dead(path)
    await once(path, options)


async def _mount(path: str, options: MountOptions) -> Mount | None:
    try:
        filesystem = await mount_filesystem(path, options)
    except MountError as exc:
        print(exc)
        return None
    for entry in entries_at(path):
        print(entry.fstype, entry.source)
    print("blocking" if os.get_blocking(filesystem.fd) else "non-blocking")
    print("inherited" if os.get_inheritable(filesystem.fd) else "close-on-exec")
    return filesystem


def _print_children() -> None:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no children")


def open_device_to_all(path: str) -> None:
    """Let everybody open /dev/fuse, as it mostly is, in this namespace only."""
    if os.stat("/dev/fuse").st_mode & stat.S_IWOTH:
        return
    directory = os.path.join(os.path.dirname(path), "dev")
    os.mkdir(directory)
    mount_tmpfs(directory)
    device = os.path.join(directory, "fuse")
    os.mknod(device, stat.S_IFCHR, os.makedev(10, 229))
    os.chmod(device, 0o666)
    subprocess.run(["mount", "--bind", device, "/dev/fuse"], check=True)


def become_nobody() -> None:
    """Give up being root, for good."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    actions = {"hold": hold, "once": once, "busy": busy, "again": again}
    parser.add_argument("action", choices=actions)
    parser.add_argument("path")
    parser.add_argument("--options", default="")
    parser.add_argument("--nobody", action="store_true")
    parser.add_argument("--without-device", action="store_true")
    parser.add_argument("--without-fusermount", action="store_true")
    arguments = parser.parse_args()
    if arguments.without_device:
        mount_tmpfs("/dev")
    if arguments.without_fusermount:
        fusermount._DIRECTORIES = ()
    if arguments.nobody:
        open_device_to_all(arguments.path)
        become_nobody()
    options = MountOptions.parse(arguments.options)
    trio.run(actions[arguments.action], arguments.path, options)


if __name__ == "__main__":
    main()
