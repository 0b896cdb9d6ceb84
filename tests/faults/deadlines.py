"""Faults of time: requests and handlers that take too much of it."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from tests.faults.fault import UNDONE, Fault, Happen, Scene, breaking
from tests.faults.victim import FINE, Victim


async def _slow(victim: Victim, request: Any) -> Any:
    await trio.sleep(60)
    return FINE


async def _waits_for_handler(scene: Scene) -> str:
    scene.victim.wrong["read"] = _slow
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, "read")
        await wait_all_tasks_blocked()
        answer = await scene.ask("getattr")
    assert scene.victim.calls["getattr"] == 0
    return answer


def _done_too_late(method: str) -> Happen:
    """Return what happens when a method succeeds, shielded, past its time.

    What it has made or opened then reaches nobody: the books show whether it is undone.
    """

    async def late(victim: Victim, request: Any) -> Any:
        value = await victim.healthy(method, request)
        with trio.CancelScope(shield=True):
            await trio.sleep(60)
        return value

    async def happen(scene: Scene) -> str:
        answer = await breaking(method, late)(scene)
        await trio.sleep(100)
        return answer

    return happen


DEADLINES = [
    Fault(
        "a handler takes longer than its timeout",
        "ETIMEDOUT",
        breaking("read", _slow),
        options={"timeout": 5.0},
    ),
    Fault(
        "a handler takes longer than the timeout of its method",
        "ETIMEDOUT",
        breaking("getattr", _slow),
        options={"timeout": {"getattr": 2.0}},
    ),
    Fault(
        "a handler takes its time where only others have a timeout",
        repr(FINE),
        breaking("read", _slow),
        options={"timeout": {"getattr": 2.0}},
    ),
    Fault(
        "a request waits longer than its timeout for a handler",
        "ETIMEDOUT",
        _waits_for_handler,
        "nothing has ended GETATTR in time",
        {"timeout": {"getattr": 5.0}, "max_handlers": 1},
        alone=True,
    ),
    Fault(
        "a wait for a lock longer than its timeout",
        "ETIMEDOUT",
        breaking("setlkw", _slow),
        options={"timeout": {"setlkw": 5.0}},
    ),
    *(
        Fault(
            f"{method} succeeds when its caller has given up",
            "ETIMEDOUT",
            _done_too_late(method),
            "in time",
            {"timeout": 1.0},
        )
        for method in UNDONE
    ),
]
