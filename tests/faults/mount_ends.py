"""Faults of mounts: their ends, while callers wait."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable

import trio

import triofuse as t
from tests.faults.fault import holding
from tests.faults.stage import MountedFault, Stage, abort, command
from tests.faults.victim import FINE
from tests.session.clients import outcome, start, until
from tests.session.test_run import in_child

Act = Callable[[Stage], Awaitable[object]]


def _ending(act: Act) -> Callable[[Stage], Awaitable[str]]:
    """Return what happens when a mount is ended while a READ waits."""

    async def happen(stage: Stage) -> str:
        async with t.mount(stage.victim, stage.mountpoint) as session:
            await stage.serve_others()
            answer = await stage.read_and(lambda: act(stage))
            await session.wait_unmounted()
        await command("umount", "-l")(stage)
        return answer

    return happen


async def _unmount_lazily(stage: Stage) -> None:
    await command("umount", "-l")(stage)
    stage.victim.go.set()


async def _busy(stage: Stage) -> str:
    """A plain umount(8) is refused, and nobody is the worse for it."""
    async with t.mount(stage.victim, stage.mountpoint):

        async def act() -> None:
            done = await trio.run_process(
                ["umount", stage.mountpoint], check=False, capture_stderr=True
            )
            assert done.returncode
            await stage.serve_others()
            stage.victim.go.set()

        return await stage.read_and(act)


async def _close_the_device(stage: Stage) -> str:
    async with t.mount(stage.victim, stage.mountpoint) as session:

        async def act() -> None:
            session.channel.close()

        return await stage.read_and(act)


async def _raise_in_the_block(stage: Stage) -> str:
    answers: list[str] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            answers.append(await stage.read())

        stage.victim.wrong["read"] = holding
        try:
            async with t.mount(stage.victim, stage.mountpoint):
                nursery.start_soon(read)
                await stage.victim.arrived.wait()
                raise KeyError("mine")
        except KeyError:
            pass
    return answers[0]


async def _cancel_the_block(stage: Stage) -> str:
    answers: list[str] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            answers.append(await stage.read())

        stage.victim.wrong["read"] = holding
        with trio.CancelScope() as scope:
            async with t.mount(stage.victim, stage.mountpoint):
                nursery.start_soon(read)
                await stage.victim.arrived.wait()
                scope.cancel()
                await trio.lowlevel.checkpoint()
    return answers[0]


def _signalled(number: signal.Signals) -> Callable[[Stage], Awaitable[str]]:
    """Return what happens when the program that serves gets a signal."""

    async def happen(stage: Stage) -> str:
        clients: list[subprocess.Popen[str]] = []

        async def stop(child: subprocess.Popen[str]) -> None:
            clients.append(await start("cat", f"{stage.mountpoint}/slow"))
            await trio.to_thread.run_sync(os.stat, f"{stage.mountpoint}/plain")
            await until(lambda: _waits(clients[0].pid))
            child.send_signal(number)

        await in_child(stage.mountpoint, stop)
        _, complaint = await outcome(clients[0])
        if number == signal.SIGKILL:
            await command("umount", "-l")(stage)
        return complaint.strip().rpartition(": ")[2]

    return happen


def _waits(pid: int) -> bool:
    """Whether a process waits for an answer about its file, which it has opened."""
    try:
        with open(f"/proc/{pid}/wchan") as wchan:
            waits = wchan.read() == "request_wait_answer"
        return waits and any(
            os.readlink(f"/proc/{pid}/fd/{fd}").endswith("slow")
            for fd in os.listdir(f"/proc/{pid}/fd")
        )
    except OSError:
        return False


ENDS = [
    MountedFault("umount of a busy mount", repr(FINE), _busy),
    MountedFault("umount -l of a busy mount", repr(FINE), _ending(_unmount_lazily)),
    MountedFault(
        "umount -f of a busy mount", "ECONNABORTED", _ending(command("umount", "-f"))
    ),
    MountedFault(
        "the connection is aborted by fusectl",
        "ECONNABORTED",
        _ending(abort),
    ),
    MountedFault(
        "the device is closed under the session", "ECONNABORTED", _close_the_device
    ),
    MountedFault("an exception in the block", "ECONNABORTED", _raise_in_the_block),
    MountedFault("the block is cancelled", "ECONNABORTED", _cancel_the_block),
    MountedFault(
        "kill -9 of the server",
        os.strerror(errno.ECONNABORTED),
        _signalled(signal.SIGKILL),
        mounts=False,
    ),
    MountedFault(
        "SIGTERM to the server",
        os.strerror(errno.ECONNABORTED),
        _signalled(signal.SIGTERM),
        mounts=False,
    ),
    MountedFault(
        "SIGHUP to the server, as of a closed terminal",
        os.strerror(errno.ECONNABORTED),
        _signalled(signal.SIGHUP),
        mounts=False,
    ),
    MountedFault(
        "Ctrl-C in the server",
        os.strerror(errno.ECONNABORTED),
        _signalled(signal.SIGINT),
        mounts=False,
    ),
]
