"""Who takes away set-id bits, who checks permissions, and whose groups count."""

from __future__ import annotations

import os
import stat
import struct

import pytest

import triofuse as t
from tests.kernel.recorder import Recorder, User, in_child, mounted, off_thread

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs another user"),
]

SET_ID = 0o106777
OTHERS = t.MountOptions(allow_other=True)
FLAGS = t.InitFlags

WRITE = """
fd = os.open("file", os.O_WRONLY)
os.write(fd, b"x")
os.close(fd)
"""
TRUNCATE = 'os.truncate("file", 1)'
CREATE_OVER = 'os.close(os.open("file", os.O_WRONLY | os.O_TRUNC))'


async def privileges_end(recorder: Recorder, mountpoint: str, script: str) -> int:
    """Have somebody change a file that has all set-id bits; return its mode then."""
    nodeid = recorder.put("file", b"text", SET_ID)
    async with mounted(recorder, mountpoint, OTHERS) as root:
        await in_child(script, root, user=User())
    return stat.S_IMODE(recorder.attr(nodeid).mode)


async def test_of_itself_the_kernel_takes_set_id_bits_away_before_a_write(
    mountpoint: str,
) -> None:
    recorder = Recorder()

    assert await privileges_end(recorder, mountpoint, WRITE) == 0o777

    kinds = [type(r) for r in recorder.requests]
    assert kinds.index(t.Getxattr) < kinds.index(t.Setattr) < kinds.index(t.Write)
    (change,) = recorder.asked(t.Setattr)
    assert change.mode == 0o100777


@pytest.mark.shows("FUSE_HANDLE_KILLPRIV")
async def test_with_handle_killpriv_the_write_itself_is_to_do_it(
    mountpoint: str,
) -> None:
    recorder = Recorder(FLAGS.HANDLE_KILLPRIV)

    await privileges_end(recorder, mountpoint, WRITE)

    assert [change.valid for change in recorder.asked(t.Setattr)] == [0]
    (write,) = recorder.asked(t.Write)
    assert not write.write_flags & t.WriteFlags.KILL_SUIDGID


@pytest.mark.shows("FUSE_HANDLE_KILLPRIV_V2", "FUSE_WRITE_KILL_SUIDGID")
async def test_with_handle_killpriv_v2_the_write_says_so(mountpoint: str) -> None:
    recorder = Recorder(FLAGS.HANDLE_KILLPRIV_V2)

    assert await privileges_end(recorder, mountpoint, WRITE) == 0o777

    (write,) = recorder.asked(t.Write)
    assert write.write_flags & t.WriteFlags.KILL_SUIDGID
    assert all(change.mode is None for change in recorder.asked(t.Setattr))


async def test_who_may_keep_set_id_bits_keeps_them(mountpoint: str) -> None:
    recorder = Recorder(FLAGS.HANDLE_KILLPRIV_V2)
    recorder.put("file", b"text", SET_ID)

    async with mounted(recorder, mountpoint) as root:
        await in_child(f"import os, sys; os.chdir(sys.argv[1])\n{WRITE}", root)

    (write,) = recorder.asked(t.Write)
    assert not write.write_flags & t.WriteFlags.KILL_SUIDGID


@pytest.mark.shows("FATTR_KILL_SUIDGID")
async def test_with_handle_killpriv_v2_a_truncate_says_so(mountpoint: str) -> None:
    recorder = Recorder(FLAGS.HANDLE_KILLPRIV_V2)

    assert await privileges_end(recorder, mountpoint, TRUNCATE) == 0o777

    (change,) = [r for r in recorder.asked(t.Setattr) if r.size is not None]
    assert change.valid & t.SetattrValid.KILL_SUIDGID
    assert change.mode is None


@pytest.mark.shows("FUSE_OPEN_KILL_SUIDGID")
async def test_with_handle_killpriv_v2_an_open_that_empties_says_so(
    mountpoint: str,
) -> None:
    wants = FLAGS.HANDLE_KILLPRIV_V2 | FLAGS.ATOMIC_O_TRUNC
    recorder = Recorder(wants)

    await privileges_end(recorder, mountpoint, CREATE_OVER)

    (opened,) = recorder.asked(t.Open)
    assert opened.open_flags & t.OpenInFlags.KILL_SUIDGID


ACL = "system.posix_acl_access"
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 1, 2, 4, 16, 32
_NOBODY = 2**32 - 1


def access_list(user: int) -> bytes:
    """Return an ACL that lets the owner and one user in (``posix_acl_xattr.h``)."""
    entries = [
        (_USER_OBJ, 6, _NOBODY),
        (_USER, 6, user),
        (_GROUP_OBJ, 0, _NOBODY),
        (_MASK, 6, _NOBODY),
        (_OTHER, 0, _NOBODY),
    ]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    return struct.pack("<I", 2) + packed


READ = """
try:
    os.close(os.open("file", os.O_RDONLY))
except PermissionError:
    print("denied")
else:
    print("granted")
"""


@pytest.mark.shows("FUSE_POSIX_ACL")
@pytest.mark.parametrize("wanted", [False, True])
async def test_with_posix_acl_the_kernel_heeds_access_control_lists(
    mountpoint: str, wanted: bool
) -> None:
    listed = Recorder(FLAGS.POSIX_ACL if wanted else FLAGS(0))
    nodeid = listed.put("file", b"text", 0o100660)
    listed.nodes[nodeid].xattrs[ACL] = access_list(1000)
    options = t.MountOptions(allow_other=True, default_permissions=not wanted)

    async with mounted(listed, mountpoint, options) as root:
        friend = await in_child(READ, root, user=User(1000))
        stranger = await in_child(READ, root, user=User(1001))

    assert friend == ("granted" if wanted else "denied")
    assert stranger == "denied"


SET_ACL = f"""
os.setxattr("file", {ACL!r}, bytes.fromhex(sys.argv[2]))
"""


@pytest.mark.shows("FUSE_SETXATTR_EXT", "FUSE_SETXATTR_ACL_KILL_SGID")
@pytest.mark.parametrize("extended", [False, True])
async def test_with_setxattr_ext_an_acl_of_a_stranger_to_the_group_ends_set_group_id(
    mountpoint: str, extended: bool
) -> None:
    declined = FLAGS(0) if extended else FLAGS.SETXATTR_EXT
    listed = Recorder(FLAGS.POSIX_ACL, declined)
    nodeid = listed.put("file", b"text", 0o102770)
    listed.attr(nodeid).uid = 1000
    listed.attr(nodeid).gid = 2000

    async with mounted(listed, mountpoint, OTHERS) as root:
        await in_child(SET_ACL, root, access_list(1001).hex(), user=User())

    (setxattr,) = listed.asked(t.Setxattr)
    assert bytes(setxattr.value) == access_list(1001)
    assert setxattr.setxattr_flags == (
        t.SetxattrInFlags.ACL_KILL_SGID if extended else 0
    )


@pytest.mark.shows("FUSE_DONT_MASK")
@pytest.mark.parametrize(
    ("wants", "mode"), [(FLAGS(0), 0o750), (FLAGS.DONT_MASK, 0o777)]
)
async def test_with_dont_mask_the_umask_is_left_to_the_filesystem(
    mountpoint: str, wants: t.InitFlags, mode: int
) -> None:
    recorder = Recorder(wants)

    script = "import os, sys; os.umask(0o027); os.mkdir(sys.argv[1], 0o777)"
    async with mounted(recorder, mountpoint) as root:
        await in_child(script, root / "made")

    (made,) = recorder.asked(t.Mkdir)
    assert (made.mode & 0o777, made.umask) == (mode, 0o027)


CREATE_ALL = """
os.stat(".")  # without it the kernel has no idea of the group of the root
os.mkdir("directory")
os.symlink("target", "link")
os.mkfifo("pipe")
os.close(os.open("file", os.O_CREAT | os.O_WRONLY))
os.close(os.open(".", os.O_TMPFILE | os.O_WRONLY))
"""


async def groups_of_makers(
    mountpoint: str, wants: t.InitFlags
) -> list[tuple[tuple[int, ...], object]]:
    recorder = Recorder(wants)
    recorder.attr(1).mode = stat.S_IFDIR | 0o777
    recorder.attr(1).gid = 2000
    async with mounted(recorder, mountpoint, OTHERS) as root:
        await in_child(CREATE_ALL, root, user=User(groups=(3000, 2000)))
    makers = t.Mkdir | t.Symlink | t.Mknod | t.Create
    made = [r for r in recorder.requests if isinstance(r, makers)]
    return [(request.groups, request.security_contexts) for request in made]


@pytest.mark.shows("FUSE_CREATE_SUPP_GROUP")
@pytest.mark.parametrize(
    ("wants", "groups"), [(FLAGS(0), ()), (FLAGS.CREATE_SUPP_GROUP, (2000,))]
)
async def test_with_create_supp_group_the_group_that_matters_comes_along(
    mountpoint: str, wants: t.InitFlags, groups: tuple[int, ...]
) -> None:
    assert await groups_of_makers(mountpoint, wants) == [(groups, ())] * 5


async def test_security_contexts_and_groups_come_together(mountpoint: str) -> None:
    """Without a module that labels, the block of contexts is there, and empty."""
    wants = FLAGS.CREATE_SUPP_GROUP | FLAGS.SECURITY_CTX

    assert await groups_of_makers(mountpoint, wants) == [((2000,), ())] * 5


async def test_the_caller_of_a_request_is_who_asks(mountpoint: str) -> None:
    recorder = Recorder()
    recorder.attr(1).mode = stat.S_IFDIR | 0o777

    async with mounted(recorder, mountpoint, OTHERS) as root:
        await in_child('os.mkdir("made")', root, user=User(1234, 5678))
        made = await off_thread((root / "made").stat)

    (request,) = recorder.asked(t.Mkdir)
    assert (request.uid, request.gid) == (1234, 5678)
    assert (made.st_uid, made.st_gid) == (1234, 5678)
