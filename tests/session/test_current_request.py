"""`triofuse.current_request`: whose request the running code answers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import trio

import triofuse as t
from tests.session.probe import Probe
from triofuse.testing import open_kernel


class Asking(Probe):
    """Asks for the current request in several places."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[t.CurrentRequest | None] = []
        self.background: trio.Nursery | None = None
        self.answered = trio.Event()
        self.outlived: t.CurrentRequest | None = None
        self.finished = trio.Event()

    def ask(self) -> None:
        self.seen.append(t.current_request())

    async def run(self) -> None:
        self.ask()
        async with trio.open_nursery() as self.background:
            await trio.sleep_forever()

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        self.ask()
        return await super().getattr(request)

    async def readlink(self, request: t.Readlink) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.deeper)
        await trio.to_thread.run_sync(self.ask)
        self.ask()
        return "target"

    async def deeper(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ask()

    async def getxattr(self, request: t.Getxattr) -> bytes:
        assert self.background is not None
        self.background.start_soon(self.outlive)
        raise OSError(errno.ENODATA, "none")

    async def outlive(self) -> None:
        await self.answered.wait()
        self.outlived = t.current_request()
        self.ask()
        self.finished.set()


def operations(seen: list[t.CurrentRequest | None]) -> list[str]:
    return [one.operation if one else "none" for one in seen]


def test_outside_of_any_session_there_is_none() -> None:
    assert t.current_request() is None


async def test_it_is_there_at_any_depth_in_tasks_and_in_threads() -> None:
    asking = Asking()
    async with open_kernel(asking) as kernel:
        asking.seen.clear()
        await kernel.readlink(2)

    assert operations(asking.seen) == ["readlink"] * 3
    assert {one.nodeid for one in asking.seen if one} == {2}


async def test_each_request_of_one_handler_is_told_apart() -> None:
    asking = Asking()
    async with open_kernel(asking) as kernel:
        asking.seen.clear()
        for nodeid in (1, 2, 3):
            await kernel.getattr(nodeid)

    assert [one and one.nodeid for one in asking.seen] == [1, 2, 3]


async def test_the_task_of_the_filesystem_answers_none() -> None:
    asking = Asking()
    async with open_kernel(asking):
        pass

    assert asking.seen[-1] is None


async def test_a_task_that_outlives_its_request_answers_none() -> None:
    asking = Asking()
    async with open_kernel(asking) as kernel:
        with pytest.raises(OSError, match="No data"):
            await kernel.getxattr(2, "user.name", 0)
        asking.seen.clear()
        asking.answered.set()
        await asking.finished.wait()

    assert asking.seen == [None]


class Making(Probe):
    """Notes who makes a directory, and who asks for attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        self.pids: set[int] = set()

    def note(self) -> None:
        caller = t.current_request()
        assert caller is not None
        who = (caller.uid, caller.umask, caller.groups)
        self.callers[caller.operation] = who
        self.pids.add(caller.pid)

    async def mkdir(self, request: t.Mkdir) -> t.Entry:
        self.note()
        raise PermissionError(13, "only looking")

    async def lookup(self, request: t.Lookup) -> t.Entry:
        await trio.to_thread.run_sync(self.note)
        return await super().lookup(request)


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
async def test_umask_and_groups_are_those_of_the_caller(mountpoint: str) -> None:
    making = Making()
    program = (
        "import os, sys; os.chdir(sys.argv[1]); os.setgroups([7, 11]); "
        "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); "
        "os.umask(0o27); print(os.getpid(), flush=True); os.mkdir('new')"
    )

    with trio.fail_after(20):
        async with t.mount(making, mountpoint, t.MountOptions(allow_other=True)):
            done = await trio.run_process(
                [sys.executable, "-c", program, mountpoint],
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                check=False,
            )

    assert making.callers == {
        "lookup": (65534, 0o27, (7, 11)),
        "mkdir": (65534, 0o27, (7, 11)),
    }
    assert making.pids == {int(done.stdout)}
