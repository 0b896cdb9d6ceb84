"""IOCTL, POLL, INTERRUPT, and the two ends of a mount, as the real kernel has them."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal

import pytest
import trio

import triofuse as t
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_client import Client, served
from tests.kernel.operations_probe import DIR, FILE, TEXT, Probe

pytestmark = pytest.mark.mount

_NONE, _WRITE, _READ, _BOTH = 0, 1, 2, 3


def _ioc(direction: int, size: int, number: int = 7) -> int:
    """Return a command: as _IO, _IOW, _IOR and _IOWR make it (asm-generic/ioctl.h)."""
    return direction << 30 | size << 16 | ord("T") << 8 | number


@pytest.mark.shows("FUSE_IOCTL", "FUSE_IOCTL_DIR")
@pytest.mark.parametrize("size", [1, 8, 4096, 16383])
@pytest.mark.parametrize("direction", [_WRITE, _READ, _BOTH])
@pytest.mark.parametrize("name", ["file", "dir"])
async def test_an_ioctl_carries_what_its_number_says(
    mountpoint: str, name: str, direction: int, size: int
) -> None:
    given, answered = b"g" * size, b"a" * size
    reply = t.IoctlReply(42, answered if direction & _READ else b"")
    probe = Probe(ioctl=reply, opendir=t.Opened(fh=55))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/{name}", os.O_RDONLY)
        command = _ioc(direction, size)
        result, seen = await client.call(syscalls.ioctl, fd, command, given)

    assert result == 42
    assert seen == (answered if direction & _READ else given)
    request = probe.only(t.Ioctl)
    is_dir = name == "dir"
    assert (request.nodeid, request.fh) == ((DIR, 55) if is_dir else (FILE, 77))
    assert request.flags == (t.IoctlFlags.DIR if is_dir else 0)
    assert request.cmd == command
    assert bytes(request.data) == (given if direction & _WRITE else b"")
    assert request.in_size == len(request.data)
    assert request.out_size == (size if direction & _READ else 0)
    assert (request.uid, request.gid, request.pid) == (0, 0, client.pid)


@pytest.mark.shows("FUSE_IOCTL")
async def test_an_ioctl_without_data_passes_a_number(mountpoint: str) -> None:
    probe = Probe(ioctl=t.IoctlReply(0))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        await client.call(fcntl.ioctl, fd, _ioc(_NONE, 0), 12345)

    request = probe.only(t.Ioctl)
    assert (request.arg, request.in_size, request.out_size) == (12345, 0, 0)


@pytest.mark.shows("FUSE_IOCTL")
async def test_an_ioctl_may_answer_less_than_there_is_room(mountpoint: str) -> None:
    probe = Probe(ioctl=t.IoctlReply(0, b"ab"))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        _, seen = await client.call(syscalls.ioctl, fd, _ioc(_READ, 6), b"------")

    assert seen == b"ab----"


@pytest.mark.shows("FUSE_IOCTL")
@pytest.mark.parametrize("name", ["file", "dir"])
@pytest.mark.parametrize("error", [errno.ENOTTY, errno.EDQUOT])
async def test_the_errno_of_an_ioctl_gets_back(
    mountpoint: str, name: str, error: int
) -> None:
    probe = Probe(ioctl=OSError(error, ""), opendir=t.Opened(fh=55))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/{name}", os.O_RDONLY)
        command = _ioc(_BOTH, 4)
        assert await client.errno_of(syscalls.ioctl, fd, command, b"1234") == error


@pytest.mark.shows("FUSE_IOCTL_COMPAT", "FUSE_IOCTL_32BIT")
async def test_an_ioctl_of_a_32_bit_program_says_so(mountpoint: str) -> None:
    probe = Probe(ioctl=t.IoctlReply(3, b"abcd"))
    async with Client() as scout:
        if not await scout.call(syscalls.runs_i386):
            pytest.skip("this kernel runs no 32-bit programs")
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        command = _ioc(_BOTH, 4)
        answer = await client.call(syscalls.ioctl_i386, fd, command, b"1234")

    assert answer == (3, b"abcd")
    request = probe.only(t.Ioctl)
    assert request.flags == t.IoctlFlags.COMPAT | t.IoctlFlags.IS_32BIT
    assert bytes(request.data) == b"1234"


_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_FS_NODUMP_FL = 0x40


@pytest.mark.shows("FUSE_IOCTL", "FUSE_OPEN", "FUSE_RELEASE")
async def test_lsattr_and_chattr_open_the_file_once_more(mountpoint: str) -> None:
    """``fuse_priv_ioctl()`` in fs/fuse/ioctl.c: exactly ``out_size`` bytes come back."""
    flags = _FS_NODUMP_FL.to_bytes(4, "little")
    probe = Probe(ioctl=lambda r: t.IoctlReply(0, flags.ljust(28, b"\0")[: r.out_size]))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        _, seen = await client.call(syscalls.ioctl, fd, _FS_IOC_GETFLAGS, b"\0" * 4)
        read = probe.only(t.Ioctl)
        await client.call(syscalls.ioctl, fd, _FS_IOC_SETFLAGS, flags)
        *_, written = probe.all(t.Ioctl)
        await probe.arrival(t.Release, len(probe.all(t.Open)) - 1)

    assert seen == flags
    assert (read.cmd, read.in_size, read.out_size) == (_FS_IOC_GETFLAGS, 0, 4)
    assert (written.cmd, bytes(written.data)) == (_FS_IOC_SETFLAGS, flags)
    assert len(probe.all(t.Open)) > 2


@pytest.mark.shows("FUSE_POLL")
@pytest.mark.parametrize("ready", [select.POLLIN, select.POLLOUT, 3 | select.POLLHUP])
async def test_a_poll_asks_what_is_ready(mountpoint: str, ready: int) -> None:
    probe = Probe(poll=ready)
    wanted = select.POLLIN | select.POLLPRI | select.POLLOUT
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        seen = await client.call(syscalls.poll, fd, wanted, -1)

    assert seen == [ready]
    request = probe.only(t.Poll)
    assert (request.nodeid, request.fh) == (FILE, 77)
    assert request.events == wanted | select.POLLERR | select.POLLHUP
    assert request.kh != 0


@pytest.mark.shows("FUSE_POLL_SCHEDULE_NOTIFY", "FUSE_POLL")
async def test_who_waits_for_readiness_wants_to_be_woken(mountpoint: str) -> None:
    probe = Probe(poll=0)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        assert await client.call(syscalls.poll, fd, select.POLLIN, 0) == []
        assert await client.call(syscalls.poll, fd, select.POLLIN, 1) == []

    looking, waiting, *_ = probe.all(t.Poll)
    assert looking.flags == 0
    assert waiting.flags == t.PollFlags.SCHEDULE_NOTIFY
    assert waiting.kh == looking.kh


@pytest.mark.shows("FUSE_POLL")
async def test_a_poll_that_fails_is_an_error_of_the_file(mountpoint: str) -> None:
    probe = Probe(poll=OSError(errno.EDQUOT, ""))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        seen = await client.call(syscalls.poll, fd, select.POLLIN, -1)

    assert seen == [select.POLLERR]


@pytest.mark.shows("FUSE_INTERRUPT")
async def test_a_signal_cancels_the_method_and_the_caller_gets_eintr(
    mountpoint: str,
) -> None:
    ended: list[str] = []

    async def sleep(_: t.Read) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            ended.append("cancelled")
            raise

    probe = Probe(open=t.Opened(77, t.OpenFlags.DIRECT_IO), read=sleep)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                error = await client.errno_of(syscalls.read_interruptibly, fd)
                assert error == errno.EINTR

            nursery.start_soon(read)
            await probe.arrival(t.Read)
            client.process.send_signal(signal.SIGUSR1)
        assert ended == ["cancelled"]


@pytest.mark.shows("FUSE_INTERRUPT")
async def test_a_method_that_does_not_give_way_is_waited_for(mountpoint: str) -> None:
    async def finish(_: t.Read) -> bytes:
        with trio.CancelScope(shield=True):
            await signalled.wait()
        return TEXT[:1]

    signalled = trio.Event()
    probe = Probe(open=t.Opened(77, t.OpenFlags.DIRECT_IO), read=finish)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                assert await client.call(syscalls.read_interruptibly, fd) == 1

            nursery.start_soon(read)
            await probe.arrival(t.Read)
            client.process.send_signal(signal.SIGUSR1)
            signalled.set()


@pytest.mark.shows("FUSE_INIT")
async def test_the_handshake_agrees_on_what_is_offered_and_wanted(
    mountpoint: str,
) -> None:
    probe = Probe(want=t.InitFlags.CACHE_SYMLINKS)
    async with served(probe, mountpoint) as client:
        await client.call(os.statvfs, mountpoint)

    assert probe.config is not None
    assert probe.config.minor >= 23
    assert probe.config.max_readahead >= 4096
    assert probe.config.offered & t.InitFlags.INIT_EXT
    assert probe.config.granted & t.InitFlags.CACHE_SYMLINKS
    assert "statfs" not in probe.methods()
