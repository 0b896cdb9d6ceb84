"""The notes that the kernel puts on its requests."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import triofuse as t
from tests.kernel.recorder import Recorder, in_child, mounted, off_thread

pytestmark = pytest.mark.mount

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

VALID = t.SetattrValid
SECOND = 10**9


async def use(recorder: Recorder, mountpoint: str, act: Callable[[Path], None]) -> None:
    """Let a thread use a file of 4 KiB."""
    recorder.put("file", b"x" * 4096)
    async with mounted(recorder, mountpoint) as root:
        await off_thread(act, root / "file")


def with_fd(
    act: Callable[[int], object], flags: int = os.O_RDWR
) -> Callable[..., None]:
    def opened(path: Path) -> None:
        fd = os.open(path, flags)
        try:
            act(fd)
        finally:
            os.close(fd)

    return opened


@pytest.mark.shows(
    "FATTR_MODE",
    "FATTR_UID",
    "FATTR_GID",
    "FATTR_SIZE",
    "FATTR_ATIME",
    "FATTR_MTIME",
    "FATTR_ATIME_NOW",
    "FATTR_MTIME_NOW",
    "FATTR_FH",
    "FATTR_LOCKOWNER",
)
@pytest.mark.parametrize(
    ("act", "valid", "given"),
    [
        (lambda path: path.chmod(0o600), VALID.MODE, {"mode": 0o100600}),
        (
            lambda path: os.chown(path, 5, 6),
            VALID.UID | VALID.GID,
            {"new_uid": 5, "new_gid": 6},
        ),
        (lambda path: os.chown(path, -1, 6), VALID.GID, {"new_gid": 6}),
        (
            lambda path: os.utime(path, ns=(SECOND + 7, -SECOND)),
            VALID.ATIME | VALID.MTIME,
            {"atime_ns": SECOND + 7, "mtime_ns": -SECOND},
        ),
        (
            os.utime,
            VALID.ATIME | VALID.MTIME | VALID.ATIME_NOW | VALID.MTIME_NOW,
            {},
        ),
        (
            lambda path: os.truncate(path, 17),
            VALID.SIZE | VALID.LOCKOWNER,
            {"size": 17},
        ),
        (
            with_fd(lambda fd: os.ftruncate(fd, 18)),
            VALID.SIZE | VALID.FH | VALID.LOCKOWNER,
            {"size": 18, "fh": 0},
        ),
    ],
    ids=["chmod", "chown", "chgrp", "utime", "now", "truncate", "ftruncate"],
)
async def test_a_setattr_says_what_is_given(
    mountpoint: str,
    act: Callable[[Path], None],
    valid: t.SetattrValid,
    given: dict[str, int],
) -> None:
    recorder = Recorder()

    await use(recorder, mountpoint, act)

    (request,) = recorder.asked(t.Setattr)
    assert VALID(request.valid) == valid
    fields = ("mode", "new_uid", "new_gid", "atime_ns", "mtime_ns", "size", "fh")
    found = {name: getattr(request, name) for name in fields}
    if valid & VALID.ATIME_NOW:
        given = {name: found[name] for name in ("atime_ns", "mtime_ns")}
        assert None not in given.values()
    assert {name: value for name, value in found.items() if value is not None} == given


@pytest.mark.parametrize(
    ("time_gran", "expected"), [(1, 1_234_567_891), (1_000_000, 1_234_000_000)]
)
async def test_times_are_cut_to_what_time_gran_says(
    mountpoint: str, time_gran: int, expected: int
) -> None:
    recorder = Recorder(time_gran=time_gran)

    await use(recorder, mountpoint, lambda p: os.utime(p, ns=(1_234_567_891,) * 2))

    assert recorder.asked(t.Setattr)[0].mtime_ns == expected


@pytest.mark.shows("FUSE_GETATTR_FH")
async def test_a_getattr_for_an_open_file_names_its_handle(mountpoint: str) -> None:
    recorder = Recorder()

    await use(recorder, mountpoint, with_fd(lambda fd: os.read(fd, 10), os.O_RDONLY))

    with_handle = [r for r in recorder.asked(t.Getattr) if r.fh is not None]
    assert with_handle
    assert all(r.getattr_flags & t.GetattrFlags.FH for r in with_handle)
    without = [r for r in recorder.asked(t.Getattr) if r.fh is None]
    assert not any(r.getattr_flags & t.GetattrFlags.FH for r in without)


@pytest.mark.shows("FUSE_READ_LOCKOWNER", "FUSE_WRITE_LOCKOWNER")
@pytest.mark.parametrize("direct", [False, True])
async def test_a_direct_read_or_write_names_the_owner_of_locks(
    mountpoint: str, direct: bool
) -> None:
    recorder = Recorder(opens_with=t.OpenFlags.DIRECT_IO if direct else 0)

    def read_and_write(fd: int) -> None:
        os.pread(fd, 10, 0)
        os.pwrite(fd, b"text", 0)

    await use(recorder, mountpoint, with_fd(read_and_write))

    (read,), (write,) = recorder.asked(t.Read), recorder.asked(t.Write)
    assert bool(read.read_flags & t.ReadFlags.LOCKOWNER) == direct
    assert bool(write.write_flags & t.WriteFlags.LOCKOWNER) == direct
    assert (read.lock_owner, write.lock_owner) == (write.lock_owner,) * 2
    assert bool(read.lock_owner) == direct


@pytest.mark.shows("XATTR_CREATE", "XATTR_REPLACE")
@pytest.mark.parametrize(
    ("flags", "first", "error"),
    [
        (0, False, None),
        (os.XATTR_CREATE, False, None),
        (os.XATTR_CREATE, True, errno.EEXIST),
        (os.XATTR_REPLACE, False, errno.ENODATA),
    ],
)
async def test_a_setxattr_says_whether_there_must_be_one(
    mountpoint: str, flags: int, first: bool, error: int | None
) -> None:
    recorder = Recorder()
    failed = []

    def set_it(path: Path) -> None:
        if first:
            os.setxattr(path, "user.a", b"1")
        try:
            os.setxattr(path, "user.a", b"2", flags)
        except OSError as exc:
            failed.append(exc.errno)

    await use(recorder, mountpoint, set_it)

    assert recorder.asked(t.Setxattr)[-1].flags == flags
    assert failed == ([error] if error else [])


@pytest.mark.shows("RENAME_NOREPLACE", "RENAME_EXCHANGE", "RENAME_WHITEOUT")
@pytest.mark.parametrize("flag", list(t.RenameFlags))
async def test_a_renameat2_says_what_it_asks(
    mountpoint: str, flag: t.RenameFlags
) -> None:
    recorder = Recorder()
    if flag is t.RenameFlags.EXCHANGE:
        recorder.put("other")

    def rename(path: Path) -> None:
        old, new = bytes(path), bytes(path.with_name("other"))
        assert _libc.renameat2(-100, old, -100, new, int(flag)) == 0

    await use(recorder, mountpoint, rename)

    (request,) = [r for r in recorder.requests if isinstance(r, t.Rename)]
    assert (request.name, request.newname, request.flags) == ("file", "other", flag)


FALLOCATE = t.FallocateMode


@pytest.mark.shows(
    "FALLOC_FL_KEEP_SIZE", "FALLOC_FL_PUNCH_HOLE", "FALLOC_FL_ZERO_RANGE"
)
@pytest.mark.parametrize(
    "mode",
    [
        FALLOCATE(0),
        FALLOCATE.KEEP_SIZE,
        FALLOCATE.PUNCH_HOLE | FALLOCATE.KEEP_SIZE,
        FALLOCATE.ZERO_RANGE,
    ],
)
async def test_a_fallocate_says_what_it_asks(
    mountpoint: str, mode: t.FallocateMode
) -> None:
    recorder = Recorder()

    def fallocate(fd: int) -> None:
        assert _libc.fallocate(fd, int(mode), 0, 8192) == 0

    await use(recorder, mountpoint, with_fd(fallocate))

    (request,) = recorder.asked(t.Fallocate)
    assert (request.mode, request.offset, request.length) == (mode, 0, 8192)


#: Asks statx(2) for everything; prints mask, attributes and their mask, and birth.
STATX = """
import ctypes, struct, sys
buffer = ctypes.create_string_buffer(256)
libc = ctypes.CDLL(None)
assert libc.statx(-100, sys.argv[1].encode(), 0, 0xFFF, buffer) == 0
mask, _, attributes = struct.unpack_from("=2IQ", buffer)
(supported,) = struct.unpack_from("=Q", buffer, 56)
seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
print(mask & 0xFFF, attributes & supported, seconds * 10**9 + nanoseconds)
"""


@pytest.mark.shows(
    "STATX_TYPE",
    "STATX_MODE",
    "STATX_NLINK",
    "STATX_UID",
    "STATX_GID",
    "STATX_ATIME",
    "STATX_MTIME",
    "STATX_CTIME",
    "STATX_INO",
    "STATX_SIZE",
    "STATX_BLOCKS",
    "STATX_BASIC_STATS",
    "STATX_BTIME",
)
@pytest.mark.parametrize("birth", [None, 1_234_567_890_123_456_789, -5 * SECOND])
async def test_a_statx_tells_the_birth_that_is_known(
    mountpoint: str, birth: int | None
) -> None:
    recorder = Recorder()
    nodeid = recorder.put("file")
    recorder.attr(nodeid).btime_ns = birth
    recorder.attr(nodeid).attributes = t.StatxAttributes.IMMUTABLE

    async with mounted(recorder, mountpoint) as root:
        seen = await in_child(STATX, root / "file")

    mask, attributes, btime = map(int, seen.split())
    (request,) = [r for r in recorder.asked(t.Statx) if r.nodeid == nodeid]
    known = t.StatxMask.BTIME if birth is not None else 0
    assert request.sx_mask == t.StatxMask.BASIC_STATS | t.StatxMask.BTIME
    assert mask == t.StatxMask.BASIC_STATS | known
    assert btime == (birth or 0)
    assert attributes == 0, "the kernel takes none of them: fuse_do_statx()"
