"""Faults of mounting, and of who mounts twice."""

from __future__ import annotations

import os
from typing import Any

import trio

import triofuse as t
from tests.faults.fault import raising, told
from tests.faults.stage import MountedFault, Stage, abort, command
from tests.faults.victim import Victim


async def _mount_nowhere(stage: Stage) -> str:
    try:
        async with t.mount(stage.victim, stage.path("absent")):
            raise AssertionError
    except t.MountError as exc:
        return told(exc)


async def _mount_two(stage: Stage) -> str:
    """One mount fails while the other serves, and serves on."""
    async with t.mount(stage.victim, stage.mountpoint):
        await stage.serve_others()
        try:
            async with t.mount(Victim(), f"{stage.mountpoint}/absent"):
                raise AssertionError
        except t.MountError as exc:
            answer = told(exc)
        await stage.serve_others()
    return answer


async def _end_one_of_two(stage: Stage) -> str:
    """One of two mounts in a program is aborted; the other serves on."""
    places = [f"{stage.mountpoint}/a", f"{stage.mountpoint}/b"]
    for place in places:
        os.mkdir(place)
    stages = [Stage(places[0], stage.victim), Stage(places[1])]
    async with t.mount(stage.victim, places[0]) as first:
        async with t.mount(stages[1].victim, places[1]):
            answer = await stages[0].read_and(lambda: abort(stages[0]))
            await first.wait_unmounted()
            await stages[1].serve_others()
    await command("umount", "-l")(stages[0])
    for place in places:
        os.rmdir(place)
    return answer


async def _init_fails(stage: Stage) -> str:
    stage.victim.wrong["init"] = raising(LookupError("no database"))
    try:
        async with t.mount(stage.victim, stage.mountpoint):
            raise AssertionError
    except LookupError as exc:
        return type(exc).__name__


async def _init_is_cancelled(stage: Stage) -> str:
    async def wrong(victim: Victim, request: Any) -> None:
        await trio.sleep_forever()

    stage.victim.wrong["init"] = wrong
    with trio.move_on_after(0.05) as scope:
        async with t.mount(stage.victim, stage.mountpoint):
            raise AssertionError
    assert scope.cancelled_caught
    return "Cancelled"


MOUNTING = [
    MountedFault("a mountpoint that is not there", "ENOENT", _mount_nowhere, "", False),
    MountedFault("one of two mounts cannot be made", "ENOENT", _mount_two),
    MountedFault("one of two mounts is aborted", "ECONNABORTED", _end_one_of_two),
    MountedFault("init raises", "LookupError", _init_fails, mounts=False),
    MountedFault("init is cancelled", "Cancelled", _init_is_cancelled, mounts=False),
]
