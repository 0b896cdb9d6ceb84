"""Mounts whose owners are mapped: mount_setattr(2) with MOUNT_ATTR_IDMAP."""

from __future__ import annotations

import errno
import os
import stat

import pytest

import triofuse as t
from tests.kernel.recorder import Recorder, in_child, mounted

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN"),
]

#: Maps root's files to user 1000 in a mount that nobody else sees, and uses that as
#: user 1000.  Numbers of system calls are the same on all machines since 5.1.
IDMAP = """
import ctypes, os, signal, struct, sys
CLONE_NEWUSER = 0x10000000
OPEN_TREE, MOUNT_SETATTR = 428, 442
OPEN_TREE_CLONE, AT_EMPTY_PATH, MOUNT_ATTR_IDMAP = 1, 0x1000, 0x100000
libc = ctypes.CDLL(None, use_errno=True)

ready, done = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    libc.unshare(CLONE_NEWUSER)
    os.write(ready[1], b"x")
    os.read(done[0], 1)
    os._exit(0)
os.read(ready[0], 1)
for kind in "ug":
    with open(f"/proc/{child}/{kind}id_map", "w") as file:
        file.write("0 1000 1")
userns = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
os.write(done[1], b"x")
os.waitpid(child, 0)

tree = libc.syscall(OPEN_TREE, -100, sys.argv[1].encode(), OPEN_TREE_CLONE)
attr = struct.pack("=4Q", MOUNT_ATTR_IDMAP, 0, 0, userns)
if libc.syscall(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attr, len(attr)):
    print(ctypes.get_errno())
else:
    os.setgroups([])
    os.setgid(1000)
    os.setuid(1000)
    os.mkdir("made", dir_fd=tree)
    status = os.stat("made", dir_fd=tree)
    print(status.st_uid, status.st_gid)
"""

OPTIONS = t.MountOptions(allow_other=True, default_permissions=True)


@pytest.mark.shows("FUSE_ALLOW_IDMAP")
async def test_with_allow_idmap_owners_are_those_of_the_filesystem(
    mountpoint: str,
) -> None:
    recorder = Recorder(t.InitFlags.ALLOW_IDMAP)

    async with mounted(recorder, mountpoint, OPTIONS) as root:
        seen = await in_child(IDMAP, root)

    (made,) = recorder.asked(t.Mkdir)
    assert (made.uid, made.gid) == (0, 0), "user 1000 outside is root in there"
    assert seen == "1000 1000"
    assert {(r.uid, r.gid) for r in recorder.asked(t.Lookup)} == {(2**32 - 1,) * 2}


async def test_without_allow_idmap_nothing_is_mapped(mountpoint: str) -> None:
    recorder = Recorder()
    recorder.attr(1).mode = stat.S_IFDIR | 0o777

    async with mounted(recorder, mountpoint, OPTIONS) as root:
        assert await in_child(IDMAP, root) == str(errno.EINVAL)
