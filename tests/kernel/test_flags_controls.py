"""The notes on requests about locks, syncing, polling and ioctl(2)."""

from __future__ import annotations

import fcntl
import os
import select
import struct
from collections.abc import Callable

import pytest

import triofuse as t
from tests.kernel.recorder import Recorder, in_child, mounted, off_thread, until
from tests.kernel.test_flags_requests import use, with_fd

pytestmark = pytest.mark.mount


class Full(Recorder):
    """Has the methods that imply locks, and more."""

    async def getlk(self, request: t.Getlk) -> t.FileLock:
        self.requests.append(request)
        return t.FileLock(0, 9, t.LockType.WRLCK, os.getpid())

    async def setlk(self, request: t.Setlk) -> None:
        self.requests.append(request)

    async def setlkw(self, request: t.Setlkw) -> None:
        self.requests.append(request)

    async def fsync(self, request: t.Fsync) -> None:
        self.requests.append(request)

    async def poll(self, request: t.Poll) -> int:
        self.requests.append(request)
        return request.events & select.POLLIN if len(self.asked(t.Poll)) > 1 else 0

    async def ioctl(self, request: t.Ioctl) -> t.IoctlReply:
        self.requests.append(request)
        return t.IoctlReply(data=bytes(request.out_size))


@pytest.mark.shows("FUSE_FSYNC_FDATASYNC")
@pytest.mark.parametrize(
    ("sync", "flags"), [(os.fsync, 0), (os.fdatasync, t.FsyncFlags.FDATASYNC)]
)
async def test_an_fdatasync_says_that_it_is_one(
    mountpoint: str, sync: Callable[[int], None], flags: int
) -> None:
    full = Full()

    await use(full, mountpoint, with_fd(sync))

    (request,) = full.asked(t.Fsync)
    assert request.fsync_flags == flags


@pytest.mark.shows("FUSE_POSIX_LOCKS", "F_RDLCK", "F_WRLCK", "F_UNLCK")
@pytest.mark.parametrize("wanted", [False, True])
async def test_with_posix_locks_locks_are_the_filesystems(
    mountpoint: str, wanted: bool
) -> None:
    declined = t.InitFlags(0) if wanted else t.InitFlags.POSIX_LOCKS
    full = Full(declines=declined)
    answers = []

    def lock(fd: int) -> None:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 5)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
        fcntl.lockf(fd, fcntl.LOCK_UN, 10, 5)
        wanted = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, wanted)
        answers.append(struct.unpack("hhqqi4x", answer))

    await use(full, mountpoint, with_fd(lock))

    kinds = t.LockType
    asked = [r for r in full.requests if isinstance(r, t.Setlk | t.Setlkw)]
    taken = [(r.lock.type, r.lock.start, r.lock.end) for r in asked]
    if wanted:
        assert taken[:3] == [
            (kinds.RDLCK, 5, 14),
            (kinds.WRLCK, 5, 14),
            (kinds.UNLCK, 5, 14),
        ]
        assert answers == [(fcntl.F_WRLCK, os.SEEK_SET, 0, 10, os.getpid())]
    else:
        assert not taken
        assert answers == [(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)]


@pytest.mark.shows("FUSE_FLOCK_LOCKS", "FUSE_LK_FLOCK", "FUSE_RELEASE_FLOCK_UNLOCK")
@pytest.mark.parametrize("wanted", [False, True])
async def test_with_flock_locks_flock_is_the_filesystems(
    mountpoint: str, wanted: bool
) -> None:
    declined = t.InitFlags(0) if wanted else t.InitFlags.FLOCK_LOCKS
    full = Full(declines=declined)
    full.put("file", b"x")

    async with mounted(full, mountpoint) as root:
        act = with_fd(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
        await off_thread(act, root / "file")
        await until(lambda: full.asked(t.Release))

    (release,) = full.asked(t.Release)
    unlock = t.ReleaseFlags.FLOCK_UNLOCK
    assert [r.lk_flags for r in full.asked(t.Setlk)] == [t.LockFlags.FLOCK] * wanted
    assert bool(release.release_flags & unlock) == wanted
    assert bool(release.lock_owner) == wanted


@pytest.mark.shows("FUSE_POLL_SCHEDULE_NOTIFY")
async def test_who_waits_in_poll_wants_to_be_woken(mountpoint: str) -> None:
    full = Full()

    def poll(fd: int) -> None:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.poll(0)
        poller.poll(10)

    await use(full, mountpoint, with_fd(poll))

    flags = [bool(r.flags & t.PollFlags.SCHEDULE_NOTIFY) for r in full.asked(t.Poll)]
    assert flags[0] is False, "nobody waits with a timeout of 0"
    assert True in flags


#: Commands of nobody's: _IOR('x', 1, 4 bytes) and _IO('x', 0).
READ_FOUR = 2 << 30 | 4 << 16 | ord("x") << 8 | 1
NOTHING = ord("x") << 8


@pytest.mark.shows("FUSE_HAS_IOCTL_DIR", "FUSE_IOCTL_DIR")
@pytest.mark.parametrize("directory", [False, True])
async def test_an_ioctl_on_a_directory_says_so(
    mountpoint: str, directory: bool
) -> None:
    full = Full()
    full.put("file", b"x")

    def ask(fd: int) -> None:
        assert fcntl.ioctl(fd, READ_FOUR, bytearray(4)) == 0

    async with mounted(full, mountpoint) as root:
        path = root if directory else root / "file"
        await off_thread(with_fd(ask, os.O_RDONLY), path)

    (ioctl,) = full.asked(t.Ioctl)
    assert bool(ioctl.flags & t.IoctlFlags.DIR) == directory
    assert ioctl.out_size == 4


#: Calls ioctl(2) through the gate of 32-bit programs (``int 0x80``).
COMPAT = """
import ctypes, mmap, os, sys
code = (
    b"\\x53"  # push rbx
    b"\\x89\\xfb"  # mov ebx, edi
    b"\\x89\\xf1"  # mov ecx, esi
    b"\\xb8\\x36\\x00\\x00\\x00"  # mov eax, 54: ioctl
    b"\\xcd\\x80"  # int 0x80; edx is the third argument already
    b"\\x5b\\xc3"  # pop rbx; ret
)
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
fd = os.open(sys.argv[1], os.O_RDONLY)
print(call(address)(fd, int(sys.argv[2]), 0), flush=True)
os._exit(0)  # the page cannot be freed while it is pointed to
"""


@pytest.mark.shows("FUSE_IOCTL_COMPAT", "FUSE_IOCTL_32BIT")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86-64")
async def test_an_ioctl_of_a_32_bit_program_says_so(mountpoint: str) -> None:
    full = Full()
    full.put("file", b"x")

    async with mounted(full, mountpoint) as root:
        if await in_child(COMPAT, root / "file", NOTHING) != "0":
            pytest.skip("this kernel runs no 32-bit programs")

    (ioctl,) = full.asked(t.Ioctl)
    assert ioctl.flags == t.IoctlFlags.COMPAT | t.IoctlFlags.IS_32BIT
