"""When notifications are sent, and which are refused, on the fake kernel."""

from __future__ import annotations

import errno
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

import triofuse
from tests.session.caching import Caching, lookup
from triofuse.testing import FakeKernel, Notification, open_kernel
from triofuse.wire.opcodes import NotifyCode

Tell = Callable[[triofuse.Notifier], Awaitable[object]]

#: What is told, what arrives, and which protocol it takes.
TOLD: list[tuple[Tell, Notification, int]] = [
    (
        lambda n: n.inval_inode(7, 1, 2),
        Notification(NotifyCode.INVAL_INODE, {"ino": 7, "off": 1, "len": 2}),
        12,
    ),
    (
        lambda n: n.inval_inode(7, -1),
        Notification(NotifyCode.INVAL_INODE, {"ino": 7, "off": -1, "len": 0}),
        12,
    ),
    (
        lambda n: n.inval_entry(1, "name"),
        Notification(
            NotifyCode.INVAL_ENTRY, {"parent": 1, "namelen": 4, "flags": 0}, b"name"
        ),
        12,
    ),
    (
        lambda n: n.expire_entry(1, "name"),
        Notification(
            NotifyCode.INVAL_ENTRY, {"parent": 1, "namelen": 4, "flags": 1}, b"name"
        ),
        38,
    ),
    (
        lambda n: n.delete(1, 7, "name"),
        Notification(
            NotifyCode.DELETE, {"parent": 1, "child": 7, "namelen": 4}, b"name"
        ),
        18,
    ),
    (
        lambda n: n.store(7, 5, memoryview(b"data")),
        Notification(NotifyCode.STORE, {"nodeid": 7, "offset": 5, "size": 4}, b"data"),
        15,
    ),
    (lambda n: n.poll(9), Notification(NotifyCode.POLL, {"kh": 9}), 11),
    (lambda n: n.resend(), Notification(NotifyCode.RESEND, {}), 40),
    (lambda n: n.inc_epoch(), Notification(NotifyCode.INC_EPOCH, {}), 44),
    (
        lambda n: n.prune(iter([7])),
        Notification(NotifyCode.PRUNE, {"count": 1}, struct.pack("=Q", 7)),
        45,
    ),
]

#: What does not wait for a LOOKUP in the root, and is sent while that is served.
PROMPT = {0, 1, 5, 6, 8, 9}
RESEND = 7


@pytest.mark.parametrize(("tell", "arrives", "minor"), TOLD)
async def test_a_notification_arrives(
    tell: Tell, arrives: Notification, minor: int
) -> None:
    caching = Caching()
    with trio.fail_after(10):
        async with open_kernel(caching, minor=minor) as kernel:
            await tell(caching.notifier)
            assert await kernel.notifications.receive() == arrives


@pytest.mark.parametrize(("tell", "arrives", "minor"), TOLD)
async def test_a_notification_that_is_too_new_is_refused(
    tell: Tell, arrives: Notification, minor: int
) -> None:
    caching = Caching()
    async with open_kernel(caching, minor=minor - 1) as kernel:
        with pytest.raises(triofuse.CapabilityError, match=rf"7\.{minor}"):
            await tell(caching.notifier)
        with pytest.raises(trio.WouldBlock):
            kernel.notifications.receive_nowait()


@pytest.mark.parametrize("row", sorted(set(range(len(TOLD))) - {RESEND}))
async def test_what_may_wait_for_a_request_is_sent_when_it_is_answered(
    row: int,
) -> None:
    tell, arrives, _ = TOLD[row]
    caching = Caching()

    async def told() -> None:
        await tell(caching.notifier)
        caching.arrived.set()
        await caching.let_go.wait()

    caching.action = told
    with trio.fail_after(10):
        async with open_kernel(caching) as kernel, trio.open_nursery() as nursery:
            nursery.start_soon(lookup, kernel, "trigger")
            await caching.arrived.wait()
            if row in PROMPT:
                assert await kernel.notifications.receive() == arrives
            else:
                assert kernel.notifications.statistics().current_buffer_used == 0
            caching.let_go.set()
            if row not in PROMPT:
                assert await kernel.notifications.receive() == arrives


async def test_what_was_deferred_is_sent_in_its_order() -> None:
    caching = Caching()

    async def tell() -> None:
        for name in "abcdef":
            await caching.notifier.inval_entry(1, name)

    caching.action = tell
    with trio.fail_after(10):
        async with open_kernel(caching) as kernel:
            await lookup(kernel, "trigger")
            names = [(await kernel.notifications.receive()).payload for _ in "abcdef"]

    assert b"".join(names) == b"abcdef"


async def test_what_a_failing_request_has_deferred_is_sent() -> None:
    caching = Caching()

    async def fail() -> None:
        await caching.notifier.inval_entry(1, "a")
        raise PermissionError(errno.EACCES, "no")

    caching.action = fail
    with trio.fail_after(10):
        async with open_kernel(caching) as kernel:
            with pytest.raises(PermissionError):
                await kernel.lookup(1, "trigger")
            assert (await kernel.notifications.receive()).payload == b"a"


async def test_retrieve_asks_until_nothing_more_comes() -> None:
    caching = Caching()
    cached = b"0123456789"
    retrieved: list[bytes] = []

    async def answer(kernel: FakeKernel) -> None:
        async for asked in kernel.notifications:
            offset = asked.fields["offset"]
            size = min(4, asked.fields["size"])
            await kernel.notify_reply(asked, cached[offset : offset + size])

    async with open_kernel(caching) as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(answer, kernel)
        with trio.fail_after(10):
            retrieved.append(await caching.notifier.retrieve(7, 0, 6))
            retrieved.append(await caching.notifier.retrieve(7, 1, 100))
            retrieved.append(await caching.notifier.retrieve(7, 1, 0))
        nursery.cancel_scope.cancel()

    assert retrieved == [b"012345", b"123456789", b""]


async def test_a_retrieve_ends_with_the_mount() -> None:
    caching = Caching()

    async def retrieve() -> None:
        with pytest.raises(trio.EndOfChannel, match="unmounted"):
            await caching.notifier.retrieve(7, 0, 6)

    with trio.fail_after(10):
        async with open_kernel(caching) as kernel, trio.open_nursery() as nursery:
            nursery.start_soon(retrieve)
            await kernel.notifications.receive()
            kernel.unmount()


async def test_an_answer_that_nobody_waits_for_any_more_is_ignored() -> None:
    caching = Caching()
    with trio.fail_after(10):
        async with open_kernel(caching) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(caching.notifier.retrieve, 7, 0, 6)
                asked = await kernel.notifications.receive()
                nursery.cancel_scope.cancel()
            await kernel.notify_reply(asked, b"late")
            await lookup(kernel, "absent")


async def test_a_thousand_notifications_arrive_where_there_is_little_room() -> None:
    caching = Caching()
    with trio.fail_after(30):
        async with open_kernel(caching) as kernel:
            async with trio.open_nursery() as nursery:
                for number in range(1000):
                    nursery.start_soon(caching.notifier.store, 7, number, bytes(9000))
            offsets = {
                (await kernel.notifications.receive()).fields["offset"]
                for _ in range(1000)
            }

    assert offsets == set(range(1000))


async def test_a_queued_request_that_is_sent_again_is_served_once() -> None:
    caching = Caching()
    with trio.fail_after(10):
        async with (
            open_kernel(caching, max_handlers=1) as kernel,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(lookup, kernel, "slow")
            await caching.arrived.wait()
            nursery.start_soon(lookup, kernel, "queued")
            await trio.testing.wait_all_tasks_blocked()
            await caching.notifier.resend()
            await trio.testing.wait_all_tasks_blocked(0.01)
            caching.let_go.set()

    assert caching.calls["lookup slow"] == caching.calls["lookup queued"] == 1
    assert kernel.refusals == []


async def test_there_is_no_notifier_before_somebody_serves() -> None:
    with pytest.raises(RuntimeError, match=r"Caching has no notifier before init"):
        _ = Caching().notifier


async def test_nothing_can_be_told_before_init_is_answered() -> None:
    class Hasty(Caching):
        async def init(self, config: triofuse.KernelConfig) -> None:
            with pytest.raises(RuntimeError, match="before INIT is answered"):
                await self.notifier.inval_inode(1)
            self.calls["init"] += 1

    hasty = Hasty()
    async with open_kernel(hasty) as kernel:
        assert hasty.notifier is kernel.session.notifier

    assert hasty.calls["init"] == 1


async def test_after_the_end_nothing_can_be_told() -> None:
    caching = Caching()
    async with open_kernel(caching):
        pass

    for tell, _, _ in TOLD:
        with pytest.raises(trio.EndOfChannel, match="unmounted"):
            await tell(caching.notifier)


async def test_a_name_that_cannot_be_one_is_refused() -> None:
    caching = Caching()
    async with open_kernel(caching):
        with pytest.raises(ValueError, match="cannot be a name"):
            await caching.notifier.inval_entry(1, "a/b")
