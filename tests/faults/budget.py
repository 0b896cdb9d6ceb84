"""Faults of plenty: no room for payload, no handler free."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

import triofuse as t
from tests.faults.fault import Fault, Scene, holding, told
from tests.faults.victim import FH, NODE, Victim


async def _hold_write(victim: Victim, request: t.Write) -> int:
    await victim.hold()
    return request.size


async def _full_and_interrupted(scene: Scene) -> str:
    """Two WRITEs fill the room; both their callers get a signal."""
    scene.victim.wrong["write"] = _hold_write
    answers: list[str] = []

    async def write() -> None:
        try:
            await scene.kernel.write(NODE, FH, 0, bytes(100_000))
        except OSError as exc:
            answers.append(told(exc))

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await scene.interrupt()
    assert answers[0] == answers[1]
    return answers[0]


async def _full(scene: Scene) -> str:
    """More WRITEs than there is room for are all served in the end."""
    scene.victim.wrong["write"] = _hold_write
    written: list[int] = []

    async def write() -> None:
        written.append(await scene.kernel.write(NODE, FH, 0, bytes(100_000)))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(write)
        await wait_all_tasks_blocked()
        assert scene.victim.calls["write"] < 10
        scene.victim.go.set()
    return f"{len(written)} times {written[0]}"


async def _all_handlers_busy(scene: Scene) -> str:
    """All handlers wait; one caller's signal frees one of them for the others."""
    scene.victim.wrong["read"] = holding
    answers: list[str] = []

    async def read() -> None:
        answers.append(await scene.ask("read"))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await scene.kernel.interrupt(min(scene.kernel.pending))
        await wait_all_tasks_blocked()
        assert answers == ["EINTR"]
        scene.victim.go.set()
    return answers[0]


async def _unlock_when_busy(scene: Scene) -> str:
    """The handlers are all taken by waiters for a lock; the unlock still passes."""
    lock = t.FileLock(0, 9, t.LockType.WRLCK, 1)
    await scene.kernel.setlk(NODE, FH, lock, owner=1)
    async with trio.open_nursery() as nursery:
        for owner in (2, 3, 4):
            nursery.start_soon(_lock_and_unlock, scene, owner)
        await wait_all_tasks_blocked()
        await _unlock(scene, 1)
    return "success"


async def _lock_and_unlock(scene: Scene, owner: int) -> None:
    lock = t.FileLock(0, 9, t.LockType.WRLCK, owner)
    await scene.kernel.setlkw(NODE, FH, lock, owner=owner)
    await _unlock(scene, owner)


async def _unlock(scene: Scene, owner: int) -> None:
    unlock = t.FileLock(0, 9, t.LockType.UNLCK, owner)
    await scene.kernel.setlk(NODE, FH, unlock, owner=owner)


BUDGET = [
    Fault(
        "there is no room for payload, and callers get signals",
        "EINTR",
        _full_and_interrupted,
        options={"max_payload": 200_000},
        alone=True,
    ),
    Fault(
        "there is no room for payload for long",
        "10 times 100000",
        _full,
        options={"max_payload": 200_000},
        alone=True,
    ),
    Fault(
        "all handlers are busy, and one caller gets a signal",
        "EINTR",
        _all_handlers_busy,
        options={"max_handlers": 2},
        alone=True,
    ),
    Fault(
        "all handlers wait for a lock",
        "success",
        _unlock_when_busy,
        options={"max_handlers": 2},
    ),
]
