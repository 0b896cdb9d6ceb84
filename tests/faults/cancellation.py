"""Faults of filesystems: cancellation misused."""

from __future__ import annotations

from typing import Any

import trio

from tests.faults.fault import Fault, Scene, breaking, hanging
from tests.faults.victim import FINE, Victim


async def _swallowing(victim: Victim, request: Any) -> bytes:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        return FINE


async def _own_scope(victim: Victim, request: Any) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.cancel_scope.cancel()
    return FINE


async def _clumsy(victim: Victim, request: Any) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(_stumble)
    return FINE


async def _stumble() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("on the way out")


async def _stubborn(victim: Victim, request: Any) -> bytes:
    with trio.CancelScope(shield=True):
        await trio.sleep(60)
    return FINE


async def _breathless(victim: Victim, request: Any) -> bytes:
    return FINE


async def _ask_a_thousand_times(scene: Scene) -> str:
    scene.victim.wrong["read"] = _breathless
    answers = {await scene.ask("read") for _ in range(1000)}
    (answer,) = answers
    return answer


CANCELLATION = [
    Fault(
        "a handler swallows Cancelled and returns",
        repr(FINE),
        hanging("read", _swallowing, Scene.interrupt),
    ),
    Fault(
        "a handler never ends, cancelled or not, under a timeout",
        "ETIMEDOUT",
        breaking("read", _stubborn),
        "nothing has ended READ in time",
        {"timeout": 1.0},
    ),
    Fault(
        "a handler's own nursery is cancelled",
        repr(FINE),
        breaking("read", _own_scope),
    ),
    Fault(
        "a handler fails while it is cancelled",
        "EINTR",
        hanging("read", _clumsy, Scene.interrupt),
        "Victim.read failed",
    ),
    Fault(
        "a thousand requests without a checkpoint",
        repr(FINE),
        _ask_a_thousand_times,
    ),
]
