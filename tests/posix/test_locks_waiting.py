"""Locks that are waited for: order, interrupts, deadlocks."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from tests.posix.crowd import Crowd
from tests.posix.owners import RD, UN, WR, Owner
from triofuse.posix.locks import PATIENCE


@pytest.fixture
async def crowd(nursery: trio.Nursery) -> AsyncIterator[Crowd]:
    crowd = Crowd(nursery)
    with trio.fail_after(5):
        yield crowd
    for owner in crowd.owners * 2:  # who ends lets another begin
        owner.flush()
    assert not crowd.table._files


async def test_a_free_lock_costs_no_checkpoint(crowd: Crowd) -> None:
    with trio.testing.assert_no_checkpoints():
        await crowd[0].setlkw(WR)
        await crowd[0].setlkw(UN)


async def test_who_waits_gets_the_lock_when_it_is_dropped(crowd: Crowd) -> None:
    crowd[0].setlk(WR)
    await crowd.wants(1, WR)
    assert crowd.got == []

    await crowd.unlocks(0)

    assert crowd.got == [1]
    assert not crowd[0].setlk(RD)


@pytest.mark.parametrize("end", ["flush", "release"])
async def test_the_end_of_the_holder_lets_others_go_on(crowd: Crowd, end: str) -> None:
    crowd[0].setlk(WR)
    await crowd.wants(1, WR)

    getattr(crowd[0], end)()
    await trio.testing.wait_all_tasks_blocked()

    assert crowd.got == [1]


async def test_a_lock_that_becomes_shared_lets_readers_go_on(crowd: Crowd) -> None:
    crowd[0].setlk(WR)
    await crowd.wants(1, RD)
    await crowd.wants(2, WR)

    crowd[0].setlk(RD)
    await trio.testing.wait_all_tasks_blocked()

    assert crowd.got == [1]


async def test_who_waits_is_served_in_order(crowd: Crowd) -> None:
    crowd[0].setlk(WR)
    for number in (3, 1, 2):
        await crowd.wants(number, WR)

    for number in (0, 3, 1):
        await crowd.unlocks(number)

    assert crowd.got == [3, 1, 2]


async def test_readers_are_served_together(crowd: Crowd) -> None:
    crowd[0].setlk(WR)
    for number in (1, 2, 3):
        await crowd.wants(number, RD)

    await crowd.unlocks(0)

    assert sorted(crowd.got) == [1, 2, 3]


async def test_who_can_be_served_is_not_held_up_by_who_cannot(crowd: Crowd) -> None:
    crowd[0].setlk(WR, 0, 9)
    crowd[1].setlk(WR, 20, 29)
    await crowd.wants(2, WR, 0, 9)
    await crowd.wants(3, WR, 20, 29)

    await crowd.unlocks(1)

    assert crowd.got == [3]


async def test_who_gives_up_a_part_in_getting_another_lets_others_go_on(
    crowd: Crowd,
) -> None:
    crowd[0].setlk(WR, 0, 9)
    crowd[1].setlk(WR, 10, 19)
    await crowd.wants(2, RD, 0, 5)
    await crowd.wants(0, RD, 0, 19)

    await crowd.unlocks(1)

    assert sorted(crowd.got) == [0, 2]


# --- Interrupts


async def test_whoever_is_interrupted_waits_no_more(crowd: Crowd) -> None:
    crowd[0].setlk(WR)
    interrupted = await crowd.wants(1, WR)
    await crowd.wants(2, WR)

    interrupted.cancel()
    await crowd.unlocks(0)

    assert interrupted.cancelled_caught
    assert crowd.got == [2]


async def test_a_writer_who_gives_up_lets_readers_go_on(crowd: Crowd) -> None:
    crowd[0].setlk(RD)
    writer = await crowd.wants(1, WR)
    await crowd.wants(2, RD)
    assert crowd.got == []

    writer.cancel()
    await trio.testing.wait_all_tasks_blocked()

    assert crowd.got == [2]


async def test_who_is_served_and_interrupted_at_once_has_the_lock(crowd: Crowd) -> None:
    crowd[0].setlk(WR)
    scope = await crowd.wants(1, WR)

    crowd[0].setlk(UN)
    scope.cancel()
    await trio.testing.wait_all_tasks_blocked()

    assert crowd.got == [1]
    assert not crowd[0].setlk(RD)


async def test_who_is_interrupted_and_served_at_once_has_none(crowd: Crowd) -> None:
    crowd[0].setlk(WR)
    scope = await crowd.wants(1, WR)

    scope.cancel()
    crowd[0].setlk(UN)
    await trio.testing.wait_all_tasks_blocked()

    assert crowd.got == []
    assert crowd[2].setlk(WR)


async def test_who_is_interrupted_before_it_waits_gets_what_is_free(
    crowd: Crowd,
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await crowd[0].setlkw(WR)
        await crowd[1].setlkw(WR)

    assert scope.cancelled_caught
    assert not crowd[1].setlk(RD)
    assert crowd[0].getlk(UN).type == WR


# --- Nobody starves, and nobody waits for ever out of courtesy


async def test_readers_who_come_later_let_a_writer_go_first(crowd: Crowd) -> None:
    crowd[0].setlk(RD)
    await crowd.wants(1, WR)
    await crowd.wants(2, RD)
    assert crowd.got == []

    await crowd.unlocks(0)
    assert crowd.got == [1]
    await crowd.unlocks(1)

    assert crowd.got == [1, 2]


async def test_a_writer_gets_in_between_readers_who_overlap_for_ever(
    crowd: Crowd, autojump_clock: trio.testing.MockClock
) -> None:
    async def read(number: int) -> None:
        while 1 not in crowd.got:
            await crowd[number].setlkw(RD)
            await trio.sleep(PATIENCE / 2)
            crowd[number].setlk(UN)

    for number in (2, 3, 4):
        crowd.nursery.start_soon(read, number)
        await trio.sleep(PATIENCE / 6)
    await crowd.wants(1, WR)
    await trio.sleep(PATIENCE)

    assert crowd.got == [1]


async def test_courtesy_ends_in_time_for_who_is_waited_for_elsewhere(
    crowd: Crowd, autojump_clock: trio.testing.MockClock
) -> None:
    """A script with a shared lock that runs another, which takes the same."""
    crowd[0].setlk(RD)
    await crowd.wants(1, WR)
    began = trio.current_time()

    await crowd[2].setlkw(RD)

    assert trio.current_time() - began == pytest.approx(PATIENCE)
    crowd[2].setlk(UN)
    await crowd.unlocks(0)
    assert crowd.got == [1]


async def test_who_has_waited_for_long_keeps_its_place(
    crowd: Crowd, autojump_clock: trio.testing.MockClock
) -> None:
    crowd[0].setlk(WR)
    await crowd.wants(1, WR)
    await crowd.wants(2, WR)
    await trio.sleep(PATIENCE * 3)
    await crowd.wants(3, WR)

    for number in (0, 1, 2):
        await crowd.unlocks(number)

    assert crowd.got == [1, 2, 3]


async def test_a_holder_is_not_held_up_by_who_waits_for_it(crowd: Crowd) -> None:
    crowd[0].setlk(RD, 0, 9)
    await crowd.wants(1, WR, 0, 19)

    await crowd.wants(0, RD, 10, 19)

    assert crowd.got == [0]


async def test_who_is_kept_by_its_own_owner_only_is_served_before_the_first(
    crowd: Crowd, autojump_clock: trio.testing.MockClock
) -> None:
    crowd[0].setlk(WR, 0, 0)
    await crowd.wants(1, WR, 0, 9)
    await crowd.wants(2, WR, 0, 9)
    await trio.sleep(PATIENCE * 2)
    crowd[2].setlk(WR, 5, 5)

    await crowd.unlocks(0)

    assert crowd.got == [2]


async def test_setlk_takes_what_is_free_whoever_waits(crowd: Crowd) -> None:
    crowd[0].setlk(RD)
    await crowd.wants(1, WR)

    assert crowd[2].setlk(RD)


# --- Deadlocks


async def test_a_circle_of_two_is_a_deadlock(crowd: Crowd) -> None:
    crowd[0].setlk(WR, 0, 0)
    crowd[1].setlk(WR, 1, 1)
    await crowd.wants(0, WR, 1, 1)

    await crowd.wants(1, WR, 0, 0)

    assert crowd.failed == [(1, errno.EDEADLK)]
    await crowd.unlocks(1)
    assert crowd.got == [0]


async def test_a_circle_may_be_long_and_cross_files(crowd: Crowd) -> None:
    elsewhere = [
        Owner(crowd.table, owner.number, owner.fh, nodeid=9) for owner in crowd.owners
    ]
    for number in range(3):
        crowd[number].setlk(WR, number, number)
    elsewhere[3].setlk(WR)
    await crowd.wants(0, WR, 1, 1)
    await crowd.wants(1, WR, 2, 2)
    crowd.nursery.start_soon(elsewhere[2].setlkw, RD)
    await trio.testing.wait_all_tasks_blocked()

    await crowd.wants(3, RD, 0, 0)

    assert crowd.failed == [(3, errno.EDEADLK)]
    elsewhere[3].setlk(UN)
    await trio.testing.wait_all_tasks_blocked()
    await crowd.unlocks(2)
    await crowd.unlocks(1)
    assert crowd.got == [1, 0]
    elsewhere[2].flush()


async def test_two_readers_who_both_want_to_write_are_a_deadlock(crowd: Crowd) -> None:
    crowd[0].setlk(RD)
    crowd[1].setlk(RD)
    await crowd.wants(0, WR)

    await crowd.wants(1, WR)

    assert crowd.failed == [(1, errno.EDEADLK)]
    await crowd.unlocks(1)
    assert crowd.got == [0]


async def test_a_queue_is_no_deadlock(crowd: Crowd) -> None:
    crowd[0].setlk(WR, 0, 0)
    await crowd.wants(1, WR, 0, 0)
    await crowd.wants(2, WR, 0, 0)

    assert crowd.failed == []


async def test_flock_knows_no_deadlock(nursery: trio.Nursery) -> None:
    crowd = Crowd(nursery, flock=True)
    crowd[0].setlk(RD)
    crowd[1].setlk(RD)
    first = await crowd.wants(0, WR)  # which drops its shared lock
    second = await crowd.wants(1, WR)

    assert crowd.got == [0]
    assert crowd.failed == []
    second.cancel()
    assert not first.cancel_called
    crowd[0].release()


async def test_a_flock_that_becomes_shared_does_so_before_who_waits(
    nursery: trio.Nursery,
) -> None:
    crowd = Crowd(nursery, flock=True)
    crowd[0].setlk(WR)
    await crowd.wants(1, WR)

    with trio.testing.assert_no_checkpoints():
        await crowd[0].setlkw(RD)

    crowd[0].release()
    await trio.testing.wait_all_tasks_blocked()
    assert crowd.got == [1]
    crowd[1].release()
