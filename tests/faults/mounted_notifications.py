"""Faults of notifications that wait in the kernel, or come too late."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import triofuse as t
from tests.faults.stage import MountedFault, Stage, command
from tests.faults.victim import NODE, Victim


async def _tell_the_dead(stage: Stage) -> str:
    async with t.mount(stage.victim, stage.mountpoint) as session:
        await command("umount")(stage)
        await session.wait_unmounted()
        try:
            await session.notifier.inval_inode(NODE)
        except trio.EndOfChannel:
            return "EndOfChannel"
    raise AssertionError


async def _tell_and_wait(stage: Stage, act: Callable[[], Awaitable[None]]) -> str:
    """Have a notification wait in the kernel for a LOOKUP in the same directory."""

    stage.victim.wrong["mkdir"] = _hold_mkdir
    answers: list[str] = []

    async def make() -> None:
        answers.append(await stage.call(os.mkdir, stage.path("new")))

    async with t.mount(stage.victim, stage.mountpoint) as session:
        await stage.serve_others()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make)
            await stage.victim.arrived.wait()
            with trio.move_on_after(0.1) as patience:
                await session.notifier.inval_entry(1, "other")
            assert patience.cancelled_caught  # the directory is locked
            await act()
    return answers[0]


async def _hold_mkdir(victim: Victim, request: t.Mkdir) -> Any:
    await victim.hold()
    return await victim.healthy("mkdir", request)


async def _abandon(stage: Stage) -> str:
    async def act() -> None:
        stage.victim.go.set()

    return await _tell_and_wait(stage, act)


async def _unmount_under_it(stage: Stage) -> str:
    async def act() -> None:
        await command("umount", "-f")(stage)

    answer = await _tell_and_wait(stage, act)
    await command("umount", "-l")(stage)
    return answer


NOTIFICATIONS = [
    MountedFault("a notification after the end", "EndOfChannel", _tell_the_dead),
    MountedFault(
        "a notification that waits in the kernel is cancelled", "success", _abandon
    ),
    MountedFault(
        "umount -f while a notification waits in the kernel",
        "ECONNABORTED",
        _unmount_under_it,
    ),
]
