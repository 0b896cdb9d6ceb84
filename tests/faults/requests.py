"""Faults of callers and of the kernel: interrupts, deadlines, callers that are gone."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

import triofuse as t
from tests.faults.fault import CALLS, Fault, Scene, breaking, hanging, told
from tests.faults.victim import FH, FINE, NODE, Victim
from triofuse.device.channel import ChannelSender
from triofuse.filesystem.replies import Buffer
from triofuse.testing import FakeKernel
from triofuse.testing.messages import encode_request
from triofuse.testing.pending import Pending, os_error
from triofuse.testing.replies import BYTES
from triofuse.wire.decode import peek_unique
from triofuse.wire.layouts import IN_HEADER, INTERRUPT_IN, OUT_HEADER, READ_IN
from triofuse.wire.opcodes import INTERRUPT_BIT, Opcode

Happen = Callable[[Scene], Awaitable[str]]


# --- Interrupts


async def _wait(victim: Victim, request: Any) -> bytes:
    await victim.hold()
    return FINE


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
    scene.victim.wrong["read"] = _wait
    answer = await scene.ask_and("read", scene.interrupt)

    async def write(victim: Victim, request: t.Write) -> int:
        victim.go.set()
        return request.size

    scene.victim.wrong["write"] = write
    assert await scene.ask("write") == "4"
    return answer


async def _interrupt(scene: Scene) -> None:
    await scene.interrupt()


async def _interrupt_and_let_go(scene: Scene) -> None:
    await scene.interrupt_and_let_go()


async def _queued(scene: Scene) -> str:
    """One request has the only handler; the one behind it gets a signal."""
    scene.victim.wrong["read"] = _wait
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
    scene.victim.wrong["read"] = _wait
    kernel = scene.kernel
    unique = kernel._next_unique()
    body = READ_IN.pack(FH, 0, 100, 0, 0, 0)
    message = encode_request(Opcode.READ, unique, NODE, (0, 0, 0), body)
    pending = Pending(Opcode.READ, NODE, unique, message, BYTES, 100)
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
        await scene.kernel.send_raw(_interrupt_of(unique))
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
    scene.victim.wrong["read"] = _wait

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


INTERRUPTS = [
    Fault(
        "a signal while the handler waits", "EINTR", hanging("read", _wait, _interrupt)
    ),
    Fault(
        "a signal while no handler is free",
        "EINTR",
        _queued,
        options={"max_handlers": 1},
        alone=True,
    ),
    Fault("a signal while it waits for a lock", "EINTR", _wait_for_lock),
    Fault(
        "a signal while a thread is at work that may be left",
        "EINTR",
        hanging("read", _wait_in_thread, _interrupt),
        real_time=True,
    ),
    Fault(
        "a signal while a thread is at work that may not be left",
        "EINTR",
        hanging("read", _wait_in_faithful_thread, _interrupt),
        real_time=True,
    ),
    Fault(
        "a signal while the handler waits for the network",
        "EINTR",
        hanging("read", _wait_for_network, _interrupt),
    ),
    Fault(
        "a signal while the handler waits for another request",
        "EINTR",
        _wait_for_another,
    ),
    Fault(
        "a signal while the handler is shielded",
        repr(FINE),
        hanging("read", _wait_shielded, _interrupt_and_let_go),
    ),
    Fault("a signal that comes before its request", "EINTR", _before_its_request),
    Fault("a signal that comes after the reply", repr(FINE), _after_its_reply),
    Fault("a signal for a request that never was", repr(FINE), _unknown),
    Fault("two signals for one request", "EINTR", hanging("read", _wait, _twice)),
    Fault(
        "a signal during a FLUSH that waits",
        "EINTR",
        hanging("flush", _flush_waits, _interrupt),
    ),
    Fault("a signal during a RELEASE", "let go", _interrupted_release),
    Fault(
        "a signal for a RELEASE while no handler is free",
        "released",
        _release_behind,
        options={"max_handlers": 1},
        alone=True,
    ),
]


# --- Deadlines


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


#: What leaves something behind when it succeeds for nobody.
_UNDONE = (
    "open",
    "opendir",
    "create",
    "tmpfile",
    "lookup",
    "mknod",
    "mkdir",
    "symlink",
    "link",
    "readdirplus",
)

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
        for method in _UNDONE
    ),
]


# --- Replies that the kernel refuses


@contextmanager
def _refusing(scene: Scene, error: int) -> Iterator[None]:
    """Have the kernel refuse the next success that is sent to a victim."""
    original = ChannelSender.send_nowait
    done = False

    def send_nowait(self: ChannelSender, buffers: Sequence[Buffer]) -> None:
        nonlocal done
        _, code, unique = OUT_HEADER.unpack(bytes(buffers[0])[: OUT_HEADER.size])
        pending = scene.kernel.pending.get(unique)
        if not done and code == 0 and pending and pending.opcode not in _NOT_VICTIMS:
            done = True
            del scene.kernel.pending[unique]
            pending.fail(os_error(errno.EIO if error == errno.EINVAL else errno.EINTR))
            raise OSError(error, "refused")
        original(self, buffers)

    ChannelSender.send_nowait = send_nowait  # type: ignore[method-assign]
    try:
        yield
        assert done
    finally:
        ChannelSender.send_nowait = original  # type: ignore[method-assign]


_NOT_VICTIMS = {Opcode.READ, Opcode.RELEASE, Opcode.RELEASEDIR}


def _refused(method: str, error: int) -> Happen:
    async def happen(scene: Scene) -> str:
        with _refusing(scene, error):
            try:
                return told(await CALLS[method](scene.kernel))
            except OSError as exc:
                return told(exc)

    return happen


REFUSALS = [
    *(
        Fault(
            f"{method} succeeds when its caller is gone",
            "EINTR",
            _refused(method, errno.ENOENT),
        )
        for method in _UNDONE
    ),
    *(
        Fault(
            f"the kernel refuses the reply to {method} as nonsense",
            "EIO",
            _refused(method, errno.EINVAL),
            "is refused",
        )
        for method in _UNDONE
    ),
]


# --- The budget


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
    scene.victim.wrong["read"] = _wait
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


# --- Messages that no kernel sends


def _sent(
    *,
    size: int = 0,
    opcode: int = Opcode.READ,
    unique: int = 1 << 30,
    body: bytes = b"",
) -> bytes:
    length = size or IN_HEADER.size + len(body)
    return IN_HEADER.pack(length, opcode, unique, 1, 0, 0, 0, 0) + body


def _sending(message: bytes) -> Happen:
    """Return what happens when a message comes that no caller is behind."""

    async def happen(scene: Scene) -> str:
        before = len(scene.kernel.refusals)
        await scene.kernel.send_raw(message)
        await wait_all_tasks_blocked()
        replies = scene.kernel.refusals[before:]
        if not replies:
            return "no reply"
        (reply,) = replies
        _, error, unique = OUT_HEADER.unpack_from(reply.message)
        assert unique == peek_unique(message)
        return errno.errorcode[-error]

    return happen


MESSAGES = [
    Fault("a message of one byte", "no reply", _sending(b"x"), "malformed"),
    Fault("a message without a body", "EIO", _sending(_sent()), "makes no sense"),
    Fault(
        "a message with half a body",
        "EIO",
        _sending(_sent(body=bytes(9))),
        "makes no sense",
    ),
    Fault(
        "a message with more than its body",
        "EIO",
        _sending(_sent(body=bytes(99))),
        "makes no sense",
    ),
    Fault(
        "a message that says it is longer",
        "EIO",
        _sending(_sent(size=4000, body=bytes(40))),
        "malformed",
    ),
    Fault(
        "a message that says it is shorter",
        "EIO",
        _sending(_sent(size=12, body=bytes(40))),
        "malformed",
    ),
    Fault(
        "a message of an unknown opcode",
        "ENOSYS",
        _sending(_sent(opcode=3000, body=bytes(40))),
    ),
    Fault(
        "garbage with the number of no request",
        "no reply",
        _sending(_sent(size=9, unique=0)),
        "malformed",
    ),
    Fault(
        "a name without its end",
        "EIO",
        _sending(_sent(opcode=Opcode.LOOKUP, body=b"name")),
        "makes no sense",
    ),
    Fault(
        "a FORGET without a body",
        "no reply",
        _sending(_sent(opcode=Opcode.FORGET)),
        "malformed",
    ),
    Fault(
        "a BATCH_FORGET that is shorter than it says",
        "no reply",
        _sending(_sent(opcode=Opcode.BATCH_FORGET, body=bytes([9] + [0] * 7))),
        "malformed",
    ),
    Fault(
        "an INTERRUPT without a body",
        "no reply",
        _sending(_sent(opcode=Opcode.INTERRUPT)),
        "malformed",
    ),
    Fault(
        "a NOTIFY_REPLY that nobody has asked for",
        "no reply",
        _sending(
            _sent(opcode=Opcode.NOTIFY_REPLY, unique=77, body=bytes(40)),
        ),
    ),
]


# --- Notifications


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

    answer = await hanging("read", telling, _interrupt)(scene)
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

FAULTS = [
    *INTERRUPTS,
    *DEADLINES,
    *REFUSALS,
    *BUDGET,
    *MESSAGES,
    *NOTIFICATIONS,
]
