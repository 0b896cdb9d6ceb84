"""File locks from processes of the real kernel down to the table."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.lowlevel
import trio.testing

import triofuse as t
from memfs import MemFS

RD, WR, UN = (int(kind) for kind in t.LockType)

#: Evaluates what it is told and tells what came of it.
PROCESS = """
import errno, fcntl, os, signal, struct, sys
from fcntl import F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SETLK, F_SETLKW
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

RD, WR, UN = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
FLOCK = struct.Struct("hhqqi4x")  # l_type l_whence l_start l_len l_pid

def lock(command, kind, start=0, length=0, fd=None):
    given = FLOCK.pack(kind, 0, start, length, 0)
    kind, _, start, length, pid = FLOCK.unpack(
        fcntl.fcntl(f if fd is None else fd, command, given)
    )
    if command in (F_GETLK, F_OFD_GETLK):
        return (kind, start, length, pid) if kind != UN else None

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGUSR1, interrupt)
f = os.open(sys.argv[1], os.O_RDWR)
print(flush=True)
for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except OSError as exc:
        print(errno.errorcode[exc.errno], flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@attrs.frozen(eq=False)
class Process:
    """A process that has the file open and executes commands."""

    popen: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.popen.pid

    async def ask(self, expression: str) -> str:
        """Return the result of a command: a value, or the name of an errno."""
        await self.tell(expression)
        return await self.answer()

    async def tell(self, expression: str) -> None:
        """Start a command."""
        assert self.popen.stdin is not None
        print(expression, file=self.popen.stdin, flush=True)

    async def answer(self) -> str:
        """Wait for the end of the command."""
        assert self.popen.stdout is not None
        line = await trio.to_thread.run_sync(
            self.popen.stdout.readline, abandon_on_cancel=True
        )
        return line.rstrip("\n")

    async def kill(self) -> None:
        self.popen.kill()
        await trio.to_thread.run_sync(self.popen.wait)


@attrs.frozen(eq=False)
class Scene:
    """A mounted memfs with one file, and processes that have it open."""

    memfs: MemFS
    processes: list[Process]

    def waiters(self) -> int:
        files = self.memfs._locks._files.values()
        return sum(len(locks.queue) for locks in files)

    async def until_waiting(self, number: int) -> None:
        """Wait until so many requests wait for a lock."""
        while self.waiters() != number:
            await trio.lowlevel.checkpoint()

    async def until_unlocked(self) -> None:
        """Wait until the table is empty."""
        while self.memfs._locks._files:
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def process(path: str) -> AsyncIterator[Process]:
    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", PROCESS, path]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    popen = await trio.to_thread.run_sync(start)
    try:
        started = Process(popen)
        await started.answer()
        yield started
    finally:
        popen.kill()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(popen.communicate)


@asynccontextmanager
async def scene(mountpoint: str, number: int) -> AsyncIterator[Scene]:
    """Mount a memfs, let processes open a file of it; no lock is left at the end."""
    memfs, path = MemFS(), Path(mountpoint, "file")
    with trio.fail_after(30):
        async with t.mount(memfs, mountpoint, strict=True):
            await trio.to_thread.run_sync(path.write_bytes, b"contents")
            async with AsyncExitStack() as stack:
                processes = [
                    await stack.enter_async_context(process(str(path)))
                    for _ in range(number)
                ]
                yield Scene(memfs, processes)
            await Scene(memfs, []).until_unlocked()


on_a_real_mount = pytest.mark.mount


@on_a_real_mount
async def test_processes_exclude_each_other_by_bytes(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes

        assert await one.ask("lock(F_SETLK, WR, 10, 10)") == "None"
        assert await other.ask("lock(F_SETLK, WR, 15, 1)") == "EAGAIN"
        assert await other.ask("lock(F_SETLK, WR, 0, 10)") == "None"
        assert await other.ask("lock(F_SETLK, RD, 20, 0)") == "None"
        assert await one.ask("lock(F_SETLK, WR, 2**40, 1)") == "EAGAIN"
        assert await one.ask("lock(F_SETLK, RD, 2**40, 1)") == "None"


@on_a_real_mount
async def test_getlk_shows_the_process_and_its_range(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes
        assert await one.ask("lock(F_SETLK, WR, 10, 10)") == "None"

        shown = await other.ask("lock(F_GETLK, RD)")

        assert shown == repr((WR, 10, 10, one.pid))
        assert await other.ask("lock(F_GETLK, WR, 20, 0)") == "None"
        assert await one.ask("lock(F_GETLK, WR)") == "None"


@on_a_real_mount
async def test_a_process_waits_until_the_lock_is_dropped(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes
        assert await one.ask("lock(F_SETLK, WR)") == "None"
        await other.tell("lock(F_SETLKW, RD, 3, 1)")
        await on.until_waiting(1)

        assert await one.ask("lock(F_SETLK, UN)") == "None"

        assert await other.answer() == "None"
        assert await one.ask("lock(F_SETLK, WR)") == "EAGAIN"


@on_a_real_mount
@pytest.mark.parametrize("wait", ["lock(F_SETLKW, WR)", "flock(f, LOCK_EX)"])
async def test_a_signal_ends_the_waiting(mountpoint: str, wait: str) -> None:
    take = wait.replace("SETLKW", "SETLK")
    async with scene(mountpoint, 3) as on:
        one, other, third = on.processes
        assert await one.ask(take) == "None"
        await other.tell(wait)
        await on.until_waiting(1)

        other.popen.send_signal(signal.SIGUSR1)

        assert await other.answer() == "interrupted"
        assert on.waiters() == 0
        await one.kill()
        assert await third.ask(wait) == "None"


@on_a_real_mount
@pytest.mark.parametrize("wait", ["lock(F_SETLKW, WR)", "flock(f, LOCK_EX)"])
async def test_a_process_that_is_killed_waits_no_more(
    mountpoint: str, wait: str
) -> None:
    async with scene(mountpoint, 3) as on:
        one, other, third = on.processes
        assert await one.ask(wait) == "None"
        await other.tell(wait)
        await on.until_waiting(1)

        await other.kill()

        assert on.waiters() == 0
        await third.tell(wait)
        await one.kill()
        assert await third.answer() == "None"


@on_a_real_mount
@pytest.mark.parametrize(
    "wait",
    ["lock(F_SETLKW, WR)", "lock(F_OFD_SETLKW, WR)", "flock(f, LOCK_EX)"],
)
async def test_the_locks_of_a_process_that_is_killed_end(
    mountpoint: str, wait: str
) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes
        assert await one.ask(wait) == "None"
        await other.tell(wait)
        await on.until_waiting(1)

        await one.kill()

        assert await other.answer() == "None"


@on_a_real_mount
async def test_closing_any_descriptor_ends_a_processs_locks(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes
        assert await one.ask("lock(F_SETLK, WR)") == "None"
        assert await one.ask("flock(f, LOCK_EX)") == "None"

        assert await one.ask("os.close(os.open(sys.argv[1], os.O_RDONLY))") == "None"

        assert await other.ask("lock(F_SETLK, WR)") == "None"
        assert await other.ask("flock(f, LOCK_SH | LOCK_NB)") == "EAGAIN"


@on_a_real_mount
async def test_a_flock_belongs_to_the_open_file(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes
        second = await one.ask("os.open(sys.argv[1], os.O_RDONLY)")
        assert await one.ask("flock(f, LOCK_EX)") == "None"
        twin = await one.ask("os.dup(f)")

        assert await one.ask(f"flock({second}, LOCK_SH | LOCK_NB)") == "EAGAIN"
        assert await one.ask("os.close(f)") == "None"
        assert await other.ask("flock(f, LOCK_EX | LOCK_NB)") == "EAGAIN"
        assert await one.ask(f"os.close({twin})") == "None"
        assert await other.ask("flock(f, LOCK_EX)") == "None"


@on_a_real_mount
async def test_flock_and_fcntl_do_not_see_each_other(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes

        assert await one.ask("lock(F_SETLK, WR)") == "None"
        assert await other.ask("flock(f, LOCK_EX | LOCK_NB)") == "None"
        assert await one.ask("flock(f, LOCK_SH | LOCK_NB)") == "EAGAIN"
        assert await one.ask("lock(F_GETLK, WR)") == "None"


@on_a_real_mount
async def test_locks_of_open_files_are_not_the_processs(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes
        second = await one.ask("os.open(sys.argv[1], os.O_RDWR)")
        assert await one.ask("lock(F_OFD_SETLK, WR, 0, 9)") == "None"

        assert await one.ask(f"lock(F_OFD_SETLK, RD, fd={second})") == "EAGAIN"
        assert await one.ask("lock(F_SETLK, RD)") == "EAGAIN"
        assert await one.ask(f"os.close({second})") == "None"
        assert await other.ask("lock(F_GETLK, RD)") == repr((WR, 0, 9, one.pid))
        assert await one.ask("lock(F_OFD_GETLK, UN)") == repr((WR, 0, 9, -1))
        assert await one.ask("os.close(f)") == "None"
        assert await other.ask("lock(F_SETLKW, WR)") == "None"


@on_a_real_mount
async def test_two_processes_that_wait_for_each_other_are_told(mountpoint: str) -> None:
    async with scene(mountpoint, 2) as on:
        one, other = on.processes
        assert await one.ask("lock(F_SETLK, WR, 0, 1)") == "None"
        assert await other.ask("lock(F_SETLK, WR, 1, 1)") == "None"
        await one.tell("lock(F_SETLKW, WR, 1, 1)")
        await on.until_waiting(1)

        answer = await other.ask("lock(F_SETLKW, WR, 0, 1)")

        assert answer == errno.errorcode[errno.EDEADLK]
        assert await other.ask("lock(F_SETLK, UN)") == "None"
        assert await one.answer() == "None"


@on_a_real_mount
async def test_a_child_inherits_the_flock_only(mountpoint: str) -> None:
    async with scene(mountpoint, 1) as on:
        (one,) = on.processes
        assert await one.ask("lock(F_SETLK, WR)") == "None"
        assert await one.ask("flock(f, LOCK_EX)") == "None"
        # The child fails to lock what its parent has, and its end changes nothing.
        child = (
            "os.waitpid(os.fork() or [flock(f, LOCK_EX | LOCK_NB),"
            " os._exit(lock(F_GETLK, WR)[3] == os.getppid())], 0)[1]"
        )

        assert await one.ask(child) == str(1 << 8)
        twin = await one.ask("os.open(sys.argv[1], os.O_RDWR)")
        assert await one.ask(f"flock({twin}, LOCK_EX | LOCK_NB)") == "EAGAIN"
