"""Faults of filesystems: forgetting, releasing and ending."""

from __future__ import annotations

from typing import Any

import trio

import triofuse as t
from tests.faults.fault import Fault, Scene, raising
from tests.faults.victim import FINE, NODE, Victim


async def _forget_badly(scene: Scene) -> str:
    right = scene.victim.forget

    def wrong(request: t.Forget) -> None:
        right(request)
        raise ValueError("a bug in forget")

    scene.victim.forget = wrong  # type: ignore[method-assign]
    await scene.kernel.lookup(1, "name")
    await scene.kernel.forget(NODE)
    return await scene.ask("getattr")


def _at_the_end(wrong: Any) -> Any:
    async def happen(scene: Scene) -> str:
        scene.victim.wrong["destroy"] = wrong
        return await scene.ask("read")

    return happen


async def _release_at_the_end(scene: Scene) -> str:
    """Leave a file open whose RELEASE will fail, which the end of the mount calls."""

    async def wrong(victim: Victim, request: t.Release) -> None:
        await victim.healthy("release", request)
        raise ValueError("a bug in release")

    await scene.kernel.open(NODE)
    scene.victim.wrong["release"] = wrong
    return await scene.ask("read")


async def _hang(victim: Victim, request: Any) -> None:
    await trio.sleep_forever()


CLEAN_UP = [
    Fault("forget raises a ValueError", "success", _forget_badly, "failed"),
    Fault(
        "release raises at the end of the mount",
        repr(FINE),
        _release_at_the_end,
        "Release(",
    ),
    Fault(
        "destroy raises a ValueError",
        repr(FINE),
        _at_the_end(raising(ValueError("a bug"))),
        "Victim.destroy() failed",
    ),
    Fault(
        "destroy hangs",
        repr(FINE),
        _at_the_end(_hang),
        "Victim.destroy() was cut off",
    ),
]
