"""Locks of fcntl(2) and flock(2) that a filesystem keeps, on a real mount."""

from __future__ import annotations

import errno
import fcntl
import os
import signal

import pytest
import trio

import triofuse as t
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_client import Client, served
from tests.kernel.operations_probe import FILE, Probe

pytestmark = pytest.mark.mount

#: Where a lock ends that has no end (OFFSET_MAX).
_END = 2**63 - 1


@pytest.mark.shows("FUSE_GETLK")
@pytest.mark.parametrize("kind", [fcntl.F_RDLCK, fcntl.F_WRLCK])
async def test_a_lock_in_the_way_is_told(mountpoint: str, kind: int) -> None:
    taken = t.FileLock(100, 199, t.LockType.WRLCK, os.getpid())
    answers = iter([taken, t.FileLock(type=t.LockType.UNLCK)])
    probe = Probe(setlk=None, getlk=lambda _: next(answers))
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        ask = syscalls.lock, fd, fcntl.F_GETLK, kind, 50, 100
        seen = await client.call(*ask)
        free = await client.call(*ask)

    assert seen == (fcntl.F_WRLCK, 100, 100, os.getpid())
    assert free[0] == fcntl.F_UNLCK
    request = probe.all(t.Getlk)[0]
    wanted = t.LockType.RDLCK if kind == fcntl.F_RDLCK else t.LockType.WRLCK
    assert (request.nodeid, request.fh, request.lk_flags) == (FILE, 77, 0)
    assert (request.lock.start, request.lock.end) == (50, 149)
    assert request.lock.type == wanted
    assert request.owner != 0


@pytest.mark.shows("FUSE_SETLK", "FUSE_FLUSH")
async def test_locks_are_taken_dropped_and_refused(mountpoint: str) -> None:
    def answer(request: t.Setlk) -> None:
        if request.lock.start == 666:
            raise t.FuseError(errno.EAGAIN)

    probe = Probe(setlk=answer, flush=None)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        set_lock = syscalls.lock, fd, fcntl.F_SETLK
        await client.call(*set_lock, fcntl.F_RDLCK, 10, 10)
        await client.call(*set_lock, fcntl.F_WRLCK, 0, 0)
        await client.call(*set_lock, fcntl.F_UNLCK, 5, 1)
        error = await client.errno_of(*set_lock, fcntl.F_WRLCK, 666, 1)
        await client.call(os.close, fd)

    assert error == errno.EAGAIN
    requests = probe.all(t.Setlk)
    locks = [(r.lock.type, r.lock.start, r.lock.end) for r in requests[:3]]
    kinds = t.LockType
    assert locks == [(kinds.RDLCK, 10, 19), (kinds.WRLCK, 0, _END), (kinds.UNLCK, 5, 5)]
    assert {r.lock.pid for r in requests if r.lock.type != kinds.UNLCK} == {client.pid}
    # The close itself drops the owner's POSIX locks: FLUSH says whose.
    assert {r.owner for r in requests} == {probe.only(t.Flush).lock_owner}


@pytest.mark.shows("FUSE_SETLKW", "FUSE_SETLK")
async def test_a_waiting_lock_keeps_nobody_else_waiting(mountpoint: str) -> None:
    free = trio.Event()
    probe = Probe(setlkw=lambda _: free.wait(), setlk=None)
    path = f"{mountpoint}/file"
    async with served(probe, mountpoint) as client:
        async with Client() as other:
            fd = await client.call(os.open, path, os.O_RDWR)
            other_fd = await other.call(os.open, path, os.O_RDWR)
            async with trio.open_nursery() as nursery:
                wait = syscalls.lock, fd, fcntl.F_SETLKW, fcntl.F_WRLCK, 3, 4
                nursery.start_soon(client.call, *wait)
                waiting = await probe.arrival(t.Setlkw)
                drop = syscalls.lock, other_fd, fcntl.F_SETLK, fcntl.F_UNLCK, 3, 4
                await other.call(*drop)
                free.set()

    assert (waiting.lock.start, waiting.lock.end) == (3, 6)
    assert waiting.lock.type == t.LockType.WRLCK
    assert waiting.owner != probe.only(t.Setlk).owner
    assert waiting.pid == client.pid


@pytest.mark.shows("FUSE_SETLKW", "FUSE_INTERRUPT")
async def test_a_killed_waiter_for_a_lock_is_cancelled(mountpoint: str) -> None:
    cancelled = trio.Event()

    async def wait(_: t.Setlkw) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    probe = Probe(setlk=None, setlkw=wait)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        async with Client() as other:
            path = f"{mountpoint}/file"
            fd = await other.call(os.open, path, os.O_RDWR)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other.last_call, syscalls.lock_waiting, fd)
                await probe.arrival(t.Setlkw)
                other.process.send_signal(signal.SIGKILL)
                await cancelled.wait()


@pytest.mark.shows("FUSE_LK_FLOCK", "FUSE_SETLK", "FUSE_SETLKW")
async def test_flock_is_a_lock_of_another_kind(mountpoint: str) -> None:
    def answer(request: t.Setlk) -> None:
        if request.lock.type == t.LockType.RDLCK:
            raise t.FuseError(errno.EWOULDBLOCK)

    probe = Probe(setlk=answer, setlkw=None)
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        shared = fcntl.LOCK_SH | fcntl.LOCK_NB
        assert await client.errno_of(fcntl.flock, fd, shared) == errno.EWOULDBLOCK
        await client.call(fcntl.flock, fd, fcntl.LOCK_EX)
        await client.call(fcntl.flock, fd, fcntl.LOCK_UN)

    refused = probe.only(t.Setlk)
    waited, dropped = probe.all(t.Setlkw)  # without LOCK_NB even dropping may wait
    whole = {(r.lock.start, r.lock.end) for r in (refused, waited, dropped)}
    assert whole == {(0, _END)}
    kinds = [r.lock.type for r in (refused, waited, dropped)]
    assert kinds == [t.LockType.RDLCK, t.LockType.WRLCK, t.LockType.UNLCK]
    assert {r.lk_flags for r in (refused, waited, dropped)} == {t.LockFlags.FLOCK}
    assert refused.owner == waited.owner == dropped.owner != 0


@pytest.mark.shows("FUSE_GETLK", "FUSE_SETLK", "FUSE_SETLKW")
@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("getlk", fcntl.F_GETLK),
        ("setlk", fcntl.F_SETLK),
        ("setlkw", fcntl.F_SETLKW),
    ],
)
async def test_the_errno_of_a_lock_gets_back(
    mountpoint: str, method: str, command: int
) -> None:
    probe = Probe(**{"setlk": None, method: OSError(errno.ENOLCK, "")})
    async with served(probe, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDWR)
        take = syscalls.lock, fd, command, fcntl.F_WRLCK, 0, 1
        assert await client.errno_of(*take) == errno.ENOLCK


async def test_locks_that_a_filesystem_does_not_keep_are_the_kernels(
    mountpoint: str,
) -> None:
    probe = Probe(getlk=OSError(errno.EIO, ""), setlkw=OSError(errno.EIO, ""))
    path = f"{mountpoint}/file"
    async with served(probe, mountpoint) as client:
        async with Client() as other:
            fd = await client.call(os.open, path, os.O_RDWR)
            other_fd = await other.call(os.open, path, os.O_RDWR)
            lock = syscalls.lock, fd, fcntl.F_SETLKW, fcntl.F_WRLCK, 0, 1
            await client.call(*lock)
            ask = syscalls.lock, other_fd, fcntl.F_GETLK, fcntl.F_WRLCK, 0, 0
            assert await other.call(*ask) == (fcntl.F_WRLCK, 0, 1, client.pid)

    assert not {"getlk", "setlk", "setlkw"} & set(probe.methods())
