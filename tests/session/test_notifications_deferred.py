"""Which request a notification is deferred for."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

import triofuse
from tests.session.caching import Caching, lookup
from triofuse.testing import open_kernel


async def test_tasks_of_a_request_wait_for_its_answer_and_no_longer() -> None:
    caching = Caching()
    may_tell = trio.Event()

    async def child() -> None:
        await caching.notifier.inval_entry(1, "early")
        caching.arrived.set()
        await may_tell.wait()
        await caching.notifier.inval_entry(1, "late")

    with trio.fail_after(10):
        async with open_kernel(caching) as kernel, trio.open_nursery() as nursery:

            async def start() -> None:
                nursery.start_soon(child)
                await caching.arrived.wait()
                assert kernel.notifications.statistics().current_buffer_used == 0

            caching.action = start
            await lookup(kernel, "trigger")
            assert (await kernel.notifications.receive()).payload == b"early"
            may_tell.set()
            assert (await kernel.notifications.receive()).payload == b"late"


async def test_a_task_of_an_earlier_request_does_not_wait_for_a_later_one() -> None:
    caching = Caching()
    may_tell = trio.Event()

    async def child() -> None:
        await may_tell.wait()
        await caching.notifier.inval_entry(1, "late")

    with trio.fail_after(10):
        async with (
            open_kernel(caching, max_handlers=1) as kernel,
            trio.open_nursery() as nursery,
        ):

            async def start() -> None:
                nursery.start_soon(child)

            caching.action = start
            await lookup(kernel, "trigger")
            nursery.start_soon(lookup, kernel, "slow")  # in the same handler
            await caching.arrived.wait()
            may_tell.set()
            assert (await kernel.notifications.receive()).payload == b"late"
            caching.let_go.set()


@pytest.mark.parametrize("abandon", [False, True])
async def test_a_thread_of_a_request_tells_when_that_is_answered(abandon: bool) -> None:
    caching = Caching()

    def tell() -> None:
        trio.from_thread.run(caching.notifier.inval_entry, 1, "name")

    with trio.fail_after(10):
        async with open_kernel(caching) as kernel:

            async def tell_in_a_thread() -> None:
                await trio.to_thread.run_sync(tell, abandon_on_cancel=abandon)
                await trio.testing.wait_all_tasks_blocked()
                assert kernel.notifications.statistics().current_buffer_used == 0

            caching.action = tell_in_a_thread
            await lookup(kernel, "trigger")
            assert (await kernel.notifications.receive()).payload == b"name"


async def test_a_session_that_ends_leaves_the_tasks_of_another_alone() -> None:
    async with open_kernel(Caching()):
        pass  # nothing is left of it
    caching = Caching()

    async def child() -> None:
        await caching.notifier.inval_entry(1, "name")
        await trio.testing.wait_all_tasks_blocked()
        assert kernel.notifications.statistics().current_buffer_used == 0

    async def start() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    caching.action = start
    with trio.fail_after(10):
        async with open_kernel(caching) as kernel:
            async with open_kernel(Caching()):
                pass
            await lookup(kernel, "trigger")
            assert (await kernel.notifications.receive()).payload == b"name"


async def test_a_thread_that_was_left_behind_does_not_wait_for_a_later_request() -> (
    None
):
    caching = Caching()
    go = threading.Event()

    async def leave_a_thread_behind() -> None:
        with trio.CancelScope() as scope:

            def tell() -> None:
                trio.from_thread.run_sync(scope.cancel)
                go.wait()
                trio.from_thread.run(caching.notifier.inval_entry, 1, "name")

            await trio.to_thread.run_sync(tell, abandon_on_cancel=True)

    caching.action = leave_a_thread_behind
    with trio.fail_after(10):
        async with (
            open_kernel(caching, max_handlers=1) as kernel,
            trio.open_nursery() as nursery,
        ):
            await lookup(kernel, "trigger")
            nursery.start_soon(lookup, kernel, "slow")
            await caching.arrived.wait()
            go.set()
            assert (await kernel.notifications.receive()).payload == b"name"
            caching.let_go.set()


async def test_a_handler_that_another_has_started_is_no_task_of_its_request() -> None:
    """A handler that waits for a lock starts the task that releases it."""

    class Locking(Caching):
        async def setlkw(self, request: triofuse.Setlkw) -> None:
            await told.wait()

    locking = Locking()
    told = trio.Event()
    received: list[bytes] = []

    async def tell() -> None:
        await trio.to_thread.run_sync(
            lambda: trio.from_thread.run(locking.notifier.inval_entry, 1, "name"),
            abandon_on_cancel=True,
        )
        await trio.testing.wait_all_tasks_blocked()
        assert not received
        told.set()

    locking.action = tell
    with trio.fail_after(10):
        async with (
            open_kernel(locking, max_handlers=1) as kernel,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(lookup, kernel, "slow")
            await locking.arrived.wait()
            nursery.start_soon(kernel.setlkw, 1, 7, triofuse.FileLock(type=1))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lookup, kernel, "trigger")
            await trio.testing.wait_all_tasks_blocked()
            locking.let_go.set()
            received.append((await kernel.notifications.receive()).payload)

    assert received == [b"name"]


async def test_a_request_of_one_mount_does_not_defer_what_another_is_told() -> None:
    first, second = Caching(), Caching()

    async def tell_the_other() -> None:
        await second.notifier.inval_entry(1, "a")
        first.arrived.set()
        await first.let_go.wait()

    first.action = tell_the_other
    with trio.fail_after(10):
        async with (
            open_kernel(first) as kernel,
            open_kernel(second) as other,
            trio.open_nursery() as nursery,
        ):
            # Both serve a request of the same number.
            nursery.start_soon(lookup, other, "slow")
            await second.arrived.wait()
            nursery.start_soon(lookup, kernel, "trigger")
            assert (await other.notifications.receive()).payload == b"a"
            first.let_go.set()
            second.let_go.set()
