"""Faults of callers: they get signals while they wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

import triofuse as t
from tests.faults.fault import Fault, Scene, hanging, holding, told
from tests.faults.victim import FH, FINE, NODE, Victim
from triofuse.testing import FakeKernel
from triofuse.testing.awaited import AwaitedReply
from triofuse.testing.messages import encode_request
from triofuse.testing.replies import BYTES
from triofuse.wire.layouts import INTERRUPT_IN, READ_IN
from triofuse.wire.opcodes import INTERRUPT_BIT, Opcode


async def _wait_shielded(victim: Victim, request: Any) -> bytes:
    await victim.hold(shield=True)
    return FINE


async def _wait_in_thread(victim: Victim, request: Any) -> bytes:
    go = threading.Event()
    try:
        await trio.to_thread.run_sync(go.wait, abandon_on_cancel=True)
    finally:
        go.set()
    return FINE


async def _wait_in_faithful_thread(victim: Victim, request: Any) -> bytes:
    await trio.to_thread.run_sync(lambda: trio.from_thread.run(victim.go.wait))
    return FINE


async def _wait_for_network(victim: Victim, request: Any) -> bytes:
    ours, theirs = socket.socketpair()
    with theirs, trio.socket.from_stdlib_socket(ours) as waiting:
        ours.setblocking(False)
        return await waiting.recv(100)


async def _wait_for_lock(scene: Scene) -> str:
    lock = t.FileLock(0, 9, t.LockType.WRLCK, 1)
    await scene.kernel.setlk(NODE, FH, lock, owner=1)
    answer = await scene.ask_and("setlkw", scene.interrupt)
    unlock = t.FileLock(0, 9, t.LockType.UNLCK, 1)
    await scene.kernel.setlk(NODE, FH, unlock, owner=1)
    assert await scene.ask("setlk") == "success"  # nobody stands in the way
    return answer


async def _wait_for_another(scene: Scene) -> str:
    """A READ waits for what only a later WRITE brings; the signal comes first."""
    scene.victim.wrong["read"] = holding
    answer = await scene.ask_and("read", scene.interrupt)

    async def write(victim: Victim, request: t.Write) -> int:
        victim.go.set()
        return request.size

    scene.victim.wrong["write"] = write
    assert await scene.ask("write") == "4"
    return answer


async def _queued(scene: Scene) -> str:
    """One request has the only handler; the one behind it gets a signal."""
    scene.victim.wrong["read"] = holding
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, "read")
        await scene.victim.arrived.wait()

        async def act() -> None:
            await scene.kernel.interrupt(max(scene.kernel.pending))

        answer = await scene.ask_and("getattr", act)
        scene.victim.go.set()
    assert scene.victim.calls["getattr"] == 0
    return answer


async def _before_its_request(scene: Scene) -> str:
    """Another reader of the queue may see the INTERRUPT first: it is asked again."""
    scene.victim.wrong["read"] = holding
    kernel = scene.kernel
    unique = kernel._next_unique()
    body = READ_IN.pack(FH, 0, 100, 0, 0, 0)
    message = encode_request(Opcode.READ, unique, NODE, (0, 0, 0), body)
    pending = AwaitedReply(Opcode.READ, NODE, unique, message, BYTES, 100)
    kernel.pending[unique] = pending
    again: list[int] = []
    with _instead_of_interrupting(again):
        await kernel.send_raw(_interrupt_of(unique))
        await wait_all_tasks_blocked()
    assert again == [unique]
    await kernel.send_raw(message)
    await scene.victim.arrived.wait()
    await kernel.interrupt(unique)
    await pending.answered.wait()
    assert pending.error is not None
    return told(pending.error)


@contextmanager
def _instead_of_interrupting(again: list[int]) -> Iterator[None]:
    """Have the kernel only note that it is to send an INTERRUPT again."""
    original = FakeKernel.interrupt

    async def interrupt(self: FakeKernel, unique: int) -> None:
        again.append(unique)

    FakeKernel.interrupt = interrupt  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        FakeKernel.interrupt = original  # type: ignore[method-assign]


def _interrupt_of(unique: int) -> bytes:
    body = INTERRUPT_IN.pack(unique)
    return encode_request(Opcode.INTERRUPT, unique | INTERRUPT_BIT, 0, (0, 0, 0), body)


async def _after_its_reply(scene: Scene) -> str:
    answer = await scene.ask("read")
    for _ in range(3):
        await scene.kernel.send_raw(_interrupt_of(scene.kernel._unique))
    await wait_all_tasks_blocked()
    return answer


async def _unknown(scene: Scene) -> str:
    await scene.kernel.send_raw(_interrupt_of(1 << 40))
    await wait_all_tasks_blocked()
    return await scene.ask("read")


async def _twice(scene: Scene) -> None:
    for unique in list(scene.kernel.pending):
        await scene.kernel.interrupt(unique)
        await scene.kernel.send_raw(_interrupt_of(unique))
    await wait_all_tasks_blocked()


async def _flush_waits(victim: Victim, request: t.Flush) -> None:
    await victim.hold()


async def _release_waits(victim: Victim, request: t.Release) -> None:
    await victim.hold()


async def _interrupted_release(scene: Scene) -> str:
    scene.victim.wrong["release"] = _release_waits

    async def act() -> None:
        await scene.interrupt()
        scene.victim.go.set()

    await scene.ask_and("release", act)
    (answer,) = scene.victim.ended
    return answer


async def _release_behind(scene: Scene) -> str:
    """A RELEASE that waits for a handler gets a signal, and is served as ever."""
    scene.victim.wrong["read"] = holding

    async def release(victim: Victim, request: t.Release) -> None:
        await trio.lowlevel.checkpoint()
        victim.ended.append("released")

    scene.victim.wrong["release"] = release
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, "read")
        await scene.victim.arrived.wait()
        nursery.start_soon(scene.ask, "release")
        await wait_all_tasks_blocked()
        await scene.kernel.interrupt(max(scene.kernel.pending))
        await wait_all_tasks_blocked()
        scene.victim.go.set()
    return scene.victim.ended[-1]


async def _survived_for_lock(scene: Scene) -> str:
    """Who waits for a lock gives way to any signal, as on a local filesystem."""
    lock = t.FileLock(0, 9, t.LockType.WRLCK, 1)
    await scene.kernel.setlk(NODE, FH, lock, owner=1)

    async def act() -> None:
        await scene.interrupt(fatal=False)

    answer = await scene.ask_and("setlkw", act)
    unlock = t.FileLock(0, 9, t.LockType.UNLCK, 1)
    await scene.kernel.setlk(NODE, FH, unlock, owner=1)
    return answer


async def _survived_behind(scene: Scene) -> str:
    """A request that waits for a handler gets a signal, and is served as ever."""
    scene.victim.wrong["read"] = holding
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, "read")
        await scene.victim.arrived.wait()

        async def act() -> None:
            await scene.kernel.interrupt(max(scene.kernel.pending), fatal=False)
            await wait_all_tasks_blocked()
            scene.victim.go.set()

        return await scene.ask_and("getattr", act)


INTERRUPTS = [
    Fault(
        "a signal that the caller survives",
        repr(FINE),
        hanging("read", holding, Scene.survive_and_let_go),
    ),
    Fault(
        "a signal that the caller survives, and then a fatal one",
        "EINTR",
        hanging("read", holding, Scene.survive_and_die),
    ),
    Fault(
        "a signal that the caller survives while it closes a file",
        "success",
        hanging("flush", _flush_waits, Scene.survive_and_let_go),
    ),
    Fault(
        "a signal that the caller survives while no handler is free",
        "success",
        _survived_behind,
        options={"max_handlers": 1},
        alone=True,
    ),
    Fault(
        "a signal that the caller survives while it waits for a lock",
        "EINTR",
        _survived_for_lock,
    ),
    Fault(
        "a fatal signal while the handler waits",
        "EINTR",
        hanging("read", holding, Scene.interrupt),
    ),
    Fault(
        "a fatal signal while no handler is free",
        "EINTR",
        _queued,
        options={"max_handlers": 1},
        alone=True,
    ),
    Fault("a fatal signal while it waits for a lock", "EINTR", _wait_for_lock),
    Fault(
        "a fatal signal while a thread is at work that may be left",
        "EINTR",
        hanging("read", _wait_in_thread, Scene.interrupt),
        real_time=True,
    ),
    Fault(
        "a fatal signal while a thread is at work that may not be left",
        "EINTR",
        hanging("read", _wait_in_faithful_thread, Scene.interrupt),
        real_time=True,
    ),
    Fault(
        "a fatal signal while the handler waits for the network",
        "EINTR",
        hanging("read", _wait_for_network, Scene.interrupt),
    ),
    Fault(
        "a fatal signal while the handler waits for another request",
        "EINTR",
        _wait_for_another,
    ),
    Fault(
        "a fatal signal while the handler is shielded",
        repr(FINE),
        hanging("read", _wait_shielded, Scene.interrupt_and_let_go),
    ),
    Fault("a fatal signal that comes before its request", "EINTR", _before_its_request),
    Fault("a fatal signal that comes after the reply", repr(FINE), _after_its_reply),
    Fault("a fatal signal for a request that never was", repr(FINE), _unknown),
    Fault("two signals for one request", "EINTR", hanging("read", holding, _twice)),
    Fault(
        "a fatal signal during a FLUSH that waits",
        "EINTR",
        hanging("flush", _flush_waits, Scene.interrupt),
    ),
    Fault("a fatal signal during a RELEASE", "let go", _interrupted_release),
    Fault(
        "a fatal signal for a RELEASE while no handler is free",
        "released",
        _release_behind,
        options={"max_handlers": 1},
        alone=True,
    ),
]
