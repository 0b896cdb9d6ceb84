"""Faults of notifications, and of who waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

import triofuse as t
from tests.faults.fault import Fault, Happen, Scene, breaking, hanging
from tests.faults.victim import FINE, NODE, Victim


async def _notify_inside(scene: Scene) -> str:
    """What a handler tells the kernel goes out behind its reply."""

    async def telling(victim: Victim, request: t.Read) -> bytes:
        await victim.notifier.inval_inode(NODE)
        assert scene.kernel.notifications.statistics().current_buffer_used == 0
        return FINE

    answer = await breaking("read", telling)(scene)
    await scene.kernel.notifications.receive()
    return answer


async def _notify_and_fail(scene: Scene) -> str:
    async def telling(victim: Victim, request: t.Read) -> bytes:
        await victim.notifier.inval_entry(1, "name")
        raise ValueError("a bug behind a notification")

    answer = await breaking("read", telling)(scene)
    await scene.kernel.notifications.receive()
    return answer


async def _notify_and_be_interrupted(scene: Scene) -> str:
    async def telling(victim: Victim, request: t.Read) -> bytes:
        await victim.notifier.inval_entry(1, "name")
        await victim.hold()
        return FINE

    answer = await hanging("read", telling, Scene.interrupt)(scene)
    await scene.kernel.notifications.receive()
    return answer


def _telling(tell: Callable[[t.Notifier], Awaitable[object]]) -> Happen:
    async def happen(scene: Scene) -> str:
        try:
            await tell(scene.victim.notifier)
        except (OSError, ValueError, trio.EndOfChannel, t.CapabilityError) as exc:
            return type(exc).__name__
        return "success"

    return happen


async def _retrieve_and_lose_patience(scene: Scene) -> str:
    """A RETRIEVE that is not answered, and an answer that comes too late."""
    with trio.move_on_after(0.05):
        await scene.victim.notifier.retrieve(NODE, 0, 100)
    asked = await scene.kernel.notifications.receive()
    await scene.kernel.notify_reply(asked, b"late")
    return await scene.ask("read")


NOTIFICATIONS = [
    Fault(
        "a notification inside of a handler", repr(FINE), _notify_inside, real_time=True
    ),
    Fault(
        "a notification inside of a handler that fails",
        "EIO",
        _notify_and_fail,
        "Victim.read failed",
        real_time=True,
    ),
    Fault(
        "a notification inside of a handler that is interrupted",
        "EINTR",
        _notify_and_be_interrupted,
        real_time=True,
    ),
    Fault(
        "a notification of a name with a slash",
        "ValueError",
        _telling(lambda notifier: notifier.inval_entry(1, "a/b")),
        real_time=True,
    ),
    Fault(
        "a RETRIEVE whose caller has lost patience",
        repr(FINE),
        _retrieve_and_lose_patience,
        real_time=True,
    ),
]
