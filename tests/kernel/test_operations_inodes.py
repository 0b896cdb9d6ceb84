"""What is asked about inodes, beyond one request and its answer, on a real mount."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

import pytest

import triofuse as t
from tests.conftest import mounts_below
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_client import served
from tests.kernel.operations_probe import DIR, FILE, ROOT, TEXT, Probe, attr

pytestmark = pytest.mark.mount

V = t.SetattrValid
_USER, _GROUP = 1234, 5678
_MANY = t.MountOptions(allow_other=True)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.mark.shows("FUSE_GETATTR_FH", "FUSE_GETATTR")
async def test_the_size_of_an_open_file_is_asked_by_its_handle(mountpoint: str) -> None:
    probe = Probe()
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        status = await client.call(os.fstat, fd)
        end = await client.call(os.lseek, fd, 0, os.SEEK_END)

    assert status.st_size == end == len(TEXT)
    of_fstat, of_lseek = probe.all(t.Getattr)
    assert (of_fstat.getattr_flags, of_fstat.fh) == (0, None)  # so is Linux
    assert (of_lseek.getattr_flags, of_lseek.fh) == (t.GetattrFlags.FH, 77)


@pytest.mark.shows("FUSE_STATX")
async def test_statx_shows_the_birth_but_no_attributes_of_the_filesystems(
    mountpoint: str,
) -> None:
    """``fuse_do_statx()`` in fs/fuse/dir.c passes on no STATX_ATTR_ bit."""
    bits = t.StatxAttributes.IMMUTABLE | t.StatxAttributes.NODUMP
    born = attr(FILE, stat.S_IFREG | 0o644, btime_ns=-1_500_000_000, attributes=bits)
    probe = Probe(statx=born)
    mask = t.StatxMask.BASIC_STATS | t.StatxMask.BTIME
    async with served(probe, mountpoint) as client:
        seen = await client.call(syscalls.statx, f"{mountpoint}/file", int(mask))

    assert probe.only(t.Statx).sx_mask == mask
    assert seen["btime_ns"] == -1_500_000_000
    assert seen["mask"] & mask == mask
    assert seen["attributes"] & bits == seen["attributes_mask"] & bits == 0


@pytest.mark.shows("FUSE_STATX", "FUSE_GETATTR")
async def test_statx_without_the_birth_is_a_getattr(mountpoint: str) -> None:
    probe = Probe(statx=attr(FILE, stat.S_IFREG | 0o644, btime_ns=1))
    async with served(probe, mountpoint) as client:
        mask = int(t.StatxMask.BASIC_STATS)
        seen = await client.call(syscalls.statx, f"{mountpoint}/file", mask)

    assert not seen["mask"] & t.StatxMask.BTIME
    assert probe.only(t.Getattr).nodeid == FILE
    assert not probe.all(t.Statx)


async def test_a_submount_is_an_ordinary_directory_here(mountpoint: str) -> None:
    """``fuse_dentry_automount()`` is for virtiofs, which negotiates SUBMOUNTS."""
    probe = Probe()
    probe.attrs[DIR].flags = t.AttrFlags.SUBMOUNT
    async with served(probe, mountpoint) as client:
        status = await client.call(os.stat, f"{mountpoint}/dir/.")
        assert mounts_below(mountpoint) == [mountpoint]

    assert stat.S_ISDIR(status.st_mode)


_CHANGES = [
    ("FATTR_MODE", os.chmod, (0o4711,), V.MODE, {"mode": stat.S_IFREG | 0o4711}),
    ("FATTR_UID", os.chown, (_USER, -1), V.UID, {"new_uid": _USER, "new_gid": None}),
    ("FATTR_GID", os.chown, (-1, _GROUP), V.GID, {"new_uid": None, "new_gid": _GROUP}),
    ("FATTR_SIZE", os.truncate, (42,), V.SIZE | V.LOCKOWNER, {"size": 42, "fh": None}),
    (
        "FATTR_ATIME FATTR_MTIME",
        os.utime,
        (None,),
        V.ATIME | V.MTIME | V.ATIME_NOW | V.MTIME_NOW,
        {"mode": None, "size": None},
    ),
]


@pytest.mark.shows("FUSE_SETATTR", "FATTR_MODE", "FATTR_UID", "FATTR_GID")
@pytest.mark.shows("FATTR_SIZE", "FATTR_LOCKOWNER", "FATTR_ATIME", "FATTR_MTIME")
@pytest.mark.parametrize(
    ("change", "arguments", "valid", "fields"),
    [case for _, *case in _CHANGES],
    ids=[name for name, *_ in _CHANGES],
)
async def test_what_changes_is_said_and_nothing_else(
    mountpoint: str,
    change: Callable[..., None],
    arguments: tuple[Any, ...],
    valid: int,
    fields: dict[str, Any],
) -> None:
    probe = Probe(setattr=attr(FILE, stat.S_IFREG | 0o644))
    async with served(probe, mountpoint) as client:
        await client.call(change, f"{mountpoint}/file", *arguments)

    request = probe.only(t.Setattr)
    assert request.valid == valid
    assert {name: getattr(request, name) for name in fields} == fields


@pytest.mark.shows("FATTR_ATIME", "FATTR_MTIME", "FATTR_ATIME_NOW", "FATTR_MTIME_NOW")
async def test_times_are_passed_to_the_nanosecond_and_now_is_told_apart(
    mountpoint: str,
) -> None:
    times = -1_500_000_001, 2**33 * 10**9 + 999_999_999
    probe = Probe(setattr=attr(FILE, stat.S_IFREG | 0o644))
    async with served(probe, mountpoint) as client:
        await client.call(syscalls.utime_ns, f"{mountpoint}/file", *times)
        await client.call(os.utime, f"{mountpoint}/file")

    given, now = probe.all(t.Setattr)
    assert given.valid == V.ATIME | V.MTIME
    assert (given.atime_ns, given.mtime_ns) == times
    assert now.valid == V.ATIME | V.MTIME | V.ATIME_NOW | V.MTIME_NOW
    assert now.atime_ns == now.mtime_ns


@pytest.mark.shows("FATTR_FH", "FATTR_SIZE", "FATTR_LOCKOWNER")
async def test_ftruncate_names_the_handle_and_the_lock_owner(mountpoint: str) -> None:
    probe = Probe(setattr=attr(FILE, stat.S_IFREG | 0o644, size=7), flush=None)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        await client.call(os.ftruncate, fd, 7)
        await client.call(os.close, fd)

    request = probe.only(t.Setattr)
    assert request.valid == V.SIZE | V.FH | V.LOCKOWNER
    assert (request.size, request.fh) == (7, 77)
    assert request.lock_owner == probe.only(t.Flush).lock_owner != 0


@pytest.mark.shows("FATTR_SIZE")
async def test_opening_with_truncation_is_an_open_and_a_setattr(
    mountpoint: str,
) -> None:
    probe = Probe(setattr=attr(FILE, stat.S_IFREG | 0o644))
    async with served(probe, mountpoint) as client:
        flags = os.O_WRONLY | os.O_TRUNC
        await client.call(os.open, f"{mountpoint}/file", flags)

    assert not probe.only(t.Open).flags & os.O_TRUNC
    request = probe.only(t.Setattr)
    assert (request.size, request.fh) == (0, None)
    assert probe.methods().index("open") < probe.methods().index("setattr")


@pytest.mark.shows("FATTR_CTIME", "FATTR_MTIME", "FATTR_FH")
async def test_a_writeback_cache_flushes_the_times_that_it_kept(
    mountpoint: str,
) -> None:
    probe = Probe(
        want=t.InitFlags.WRITEBACK_CACHE,
        setattr=attr(FILE, stat.S_IFREG | 0o644),
        read=TEXT,
        write=lambda request: request.size,
        fsync=None,
    )
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        await client.call(os.write, fd, TEXT)
        await client.call(os.fsync, fd)

    request = probe.all(t.Setattr)[0]
    assert request.valid == V.MTIME | V.CTIME | V.FH
    assert request.mtime_ns == request.ctime_ns
    assert request.mtime_ns is not None
    assert request.mtime_ns > 10**18
    assert request.pid == 0 or request.pid == client.pid


@needs_root
@pytest.mark.shows("FATTR_KILL_SUIDGID")
async def test_privileges_are_to_be_dropped_by_chown_and_by_strangers_truncating(
    mountpoint: str,
) -> None:
    probe = Probe(
        want=t.InitFlags.HANDLE_KILLPRIV_V2,
        setattr=attr(FILE, stat.S_IFREG | 0o4777),
    )
    probe.attrs[FILE].mode = stat.S_IFREG | 0o4777
    path = f"{mountpoint}/file"
    async with served(probe, mountpoint, _MANY) as client:
        await client.call(os.chown, path, _USER, _GROUP)
        await client.call(os.truncate, path, 1)
        await client.call(syscalls.become, _USER, _GROUP, mountpoint)
        await client.call(os.truncate, "file", 2)

    changes = {request.size: request for request in probe.all(t.Setattr)}
    assert changes[None].valid == V.UID | V.GID | V.KILL_SUIDGID
    assert not changes[1].valid & V.KILL_SUIDGID  # root has CAP_FSETID
    assert changes[2].valid == V.SIZE | V.LOCKOWNER | V.KILL_SUIDGID
    assert (changes[2].uid, changes[2].gid) == (_USER, _GROUP)


@pytest.mark.shows("FUSE_ACCESS")
async def test_changing_into_a_directory_asks_for_access(mountpoint: str) -> None:
    probe = Probe(access=None)
    async with served(probe, mountpoint) as client:
        await client.call(os.chdir, f"{mountpoint}/dir")
        await client.call(os.chdir, "/")

    request = probe.only(t.Access)
    assert (request.nodeid, request.mask) == (DIR, os.X_OK)


@pytest.mark.shows("FUSE_ACCESS")
@pytest.mark.parametrize("mask", [os.F_OK, os.R_OK, os.W_OK, os.X_OK])
async def test_access_is_refused_with_the_filesystems_errno(
    mountpoint: str, mask: int
) -> None:
    probe = Probe(access=PermissionError(errno.EACCES, ""))
    async with served(probe, mountpoint) as client:
        error = await client.errno_of(syscalls.access, f"{mountpoint}/dir", mask)

    asked = [request.mask for request in probe.all(t.Access)]
    assert (error, asked) == (errno.EACCES, [mask])


@needs_root
@pytest.mark.shows("FUSE_ACCESS")
async def test_with_default_permissions_the_kernel_judges(mountpoint: str) -> None:
    probe = Probe(access=None)
    probe.attrs[FILE].mode = stat.S_IFREG | 0o600
    options = t.MountOptions(default_permissions=True, allow_other=True)
    async with served(probe, mountpoint, options) as client:
        await client.call(syscalls.become, _USER, _GROUP, mountpoint)
        error = await client.errno_of(os.listxattr, "file")
        denied = await client.errno_of(os.open, "file", os.O_RDONLY)

    assert (error, denied) == (errno.EOPNOTSUPP, errno.EACCES)
    assert not probe.all(t.Access)


@needs_root
@pytest.mark.shows("FUSE_LOOKUP")
async def test_a_request_says_who_asks(mountpoint: str) -> None:
    probe = Probe()
    async with served(probe, mountpoint, _MANY) as client:
        await client.call(syscalls.become, _USER, _GROUP, mountpoint)
        await client.call(os.stat, "file")

    request = probe.only(t.Lookup)
    assert (request.uid, request.gid, request.pid) == (_USER, _GROUP, client.pid)


@pytest.mark.shows("FUSE_GETXATTR")
async def test_the_size_of_an_extended_attribute_is_told_beforehand(
    mountpoint: str,
) -> None:
    probe = Probe(getxattr=b"x" * 300)
    arguments = f"{mountpoint}/file", "user.a"
    async with served(probe, mountpoint) as client:
        size = await client.call(syscalls.getxattr, *arguments, 0)
        error = await client.errno_of(syscalls.getxattr, *arguments, 299)
        whole = await client.call(syscalls.getxattr, *arguments, 300)

    assert (size, error, whole) == (300, errno.ERANGE, 300)
    assert [request.size for request in probe.all(t.Getxattr)] == [0, 299, 300]


@pytest.mark.shows("FUSE_LISTXATTR")
async def test_the_size_of_all_their_names_is_told_beforehand(mountpoint: str) -> None:
    probe = Probe(listxattr=["user.a", "user.b"])
    path = f"{mountpoint}/file"
    async with served(probe, mountpoint) as client:
        size = await client.call(syscalls.listxattr, path, 0)
        error = await client.errno_of(syscalls.listxattr, path, 13)
        whole = await client.call(syscalls.listxattr, path, 14)

    assert (size, error, whole) == (14, errno.ERANGE, 14)
    assert [request.size for request in probe.all(t.Listxattr)] == [0, 13, 14]


@pytest.mark.shows("FUSE_SETXATTR")
@pytest.mark.parametrize("flag", [0, os.XATTR_CREATE, os.XATTR_REPLACE])
async def test_an_extended_attribute_may_have_to_be_new_or_old(
    mountpoint: str, flag: int
) -> None:
    probe = Probe(setxattr=None)
    value = b"\0" * 65536  # the most that Linux takes
    async with served(probe, mountpoint) as client:
        await client.call(os.setxattr, f"{mountpoint}/file", "user.a", value, flag)

    request = probe.only(t.Setxattr)
    assert (request.flags, request.size) == (flag, 65536)
    assert bytes(request.value) == value


@needs_root
@pytest.mark.shows("FUSE_SETXATTR_ACL_KILL_SGID")
@pytest.mark.parametrize("group", [_GROUP, _GROUP + 1])
async def test_a_stranger_to_the_group_loses_setgid_by_setting_an_acl(
    mountpoint: str, group: int
) -> None:
    probe = Probe(want=t.InitFlags.POSIX_ACL, getxattr=b"", setxattr=None)
    probe.attrs[FILE].mode = stat.S_IFREG | 0o2755
    probe.attrs[FILE].uid, probe.attrs[FILE].gid = _USER, _GROUP
    acl = syscalls.acl(user=6, group=4, other=0, named={99: 4}, mask=6)
    name = "system.posix_acl_access"
    async with served(probe, mountpoint, _MANY) as client:
        await client.call(syscalls.become, _USER, group, mountpoint)
        await client.call(os.setxattr, "file", name, acl)

    request = probe.only(t.Setxattr)
    kill = 0 if group == _GROUP else t.SetxattrInFlags.ACL_KILL_SGID
    assert (request.name, bytes(request.value)) == (name, acl)
    assert request.setxattr_flags == kill


@pytest.mark.shows("FUSE_READLINK")
async def test_a_link_leads_the_kernel_on(mountpoint: str) -> None:
    probe = Probe(readlink="./dir/../file")
    async with served(probe, mountpoint) as client:
        status = await client.call(os.stat, f"{mountpoint}/link")

    assert status.st_ino == FILE
    assert [r.name for r in probe.all(t.Lookup)] == ["link", "dir", "file"]
    assert {r.nodeid for r in probe.all(t.Lookup)} == {ROOT}
