"""Programs that mount, for tests that need another process, user or namespace.

They print what they find, one fact per line.  ``mounts.child`` runs them.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

import trio

import memfs
import triofuse
from tests.device.mounts import (
    NOBODY,
    PUBLIC_PYTHON,
    entries_at,
    leave_dead,
    mount_tmpfs,
)
from triofuse.device import direct_mount, fusermount
from triofuse.device.libc import MNT_DETACH, umount2
from triofuse.device.mount import Mount, mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.options import MountOptions

# From linux/prctl.h and linux/sched.h.
_PR_SET_DUMPABLE = 4
_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000

#: The flag that option -m of unshare(1) adds.
USERNS = {"without-mounts": 0, "with-mounts": _CLONE_NEWNS}


async def hold(path: str, options: MountOptions) -> None:
    """Mount, and stay until killed."""
    await mount_filesystem(path, options)
    print("mounted", flush=True)
    sys.stdin.read()


async def drop(path: str, options: MountOptions) -> None:
    """Mount, give up being root, and stay until killed."""
    await mount_filesystem(path, options)
    become_nobody()
    print("mounted", flush=True)
    sys.stdin.read()


async def serve(path: str, options: MountOptions) -> None:
    """Serve an example, and stay until killed."""
    async with trio.open_nursery() as nursery:
        await nursery.start(triofuse.serve, memfs.MemFS(), path, options)
        print("mounted", flush=True)


async def once(path: str, options: MountOptions) -> None:
    """Mount, unmount, and look at the mountpoint in between."""
    filesystem = await _mount(path, options)
    if filesystem is None:
        return
    await filesystem.unmount()
    filesystem.device.close()
    print(len(entries_at(path)), "left")
    _print_children()


async def busy(path: str, options: MountOptions) -> None:
    """Do as ``once``, but unmount while the filesystem is in use."""
    filesystem = await _mount(path, options)
    if filesystem is None:
        return
    user = os.open(path, os.O_PATH)
    await filesystem.unmount()
    print(len(entries_at(path)), "left")
    os.close(user)
    filesystem.device.close()


async def again(path: str, options: MountOptions) -> None:
    """Mount where two filesystems of this user have died."""
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
    print("blocking" if os.get_blocking(filesystem.device.fd) else "non-blocking")
    print("inherited" if os.get_inheritable(filesystem.device.fd) else "close-on-exec")
    return filesystem


def _print_children() -> None:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no children")


def open_device_to_all() -> None:
    """Make /dev/fuse of mode 0666, the usual mode, in this namespace only."""
    if os.stat("/dev/fuse").st_mode & stat.S_IWOTH:
        return
    mount_tmpfs("/mnt")
    os.mknod("/mnt/fuse", stat.S_IFCHR, os.makedev(10, 229))
    os.chmod("/mnt/fuse", 0o666)
    subprocess.run(["mount", "--bind", "/mnt/fuse", "/dev/fuse"], check=True)
    umount2("/mnt", MNT_DETACH)


def become_nobody() -> None:
    """Give up being root, for good."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    if not os.access(sys.executable, os.X_OK):  # it is in root's home
        sys.executable = PUBLIC_PYTHON


def enter_user_namespace(flags: int) -> None:
    """Become root of a user namespace, as ``unshare -Ur`` does."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    # After a change of user /proc/self belongs to root unless the process is dumpable.
    assert libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
    if libc.unshare(_CLONE_NEWUSER | flags):
        print("no user namespaces here")
        sys.exit()
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def main() -> None:
    """Run the action of the command line."""
    parser = argparse.ArgumentParser()
    actions = {
        "hold": hold,
        "drop": drop,
        "serve": serve,
        "once": once,
        "busy": busy,
        "again": again,
    }
    parser.add_argument("action", choices=actions)
    parser.add_argument("path")
    parser.add_argument("--options", default="")
    parser.add_argument("--nobody", action="store_true")
    parser.add_argument("--without-device", action="store_true")
    parser.add_argument("--without-proc", action="store_true")
    parser.add_argument("--userns", choices=USERNS)
    parser.add_argument("--without-fusermount", action="store_true")
    parser.add_argument("--without-steps", action="store_true")
    arguments = parser.parse_args()
    if arguments.without_device:
        mount_tmpfs("/dev")
    if arguments.without_fusermount:
        fusermount._DIRECTORIES = ()
    if arguments.without_steps:
        direct_mount._open_context = lambda options: None
    if arguments.nobody:
        open_device_to_all()
        become_nobody()
    if arguments.userns:
        enter_user_namespace(USERNS[arguments.userns])
    if arguments.without_proc:
        mount_tmpfs("/proc")
    options = MountOptions.parse(arguments.options)
    trio.run(actions[arguments.action], arguments.path, options)


if __name__ == "__main__":
    main()
