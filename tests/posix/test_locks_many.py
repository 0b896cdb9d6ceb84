"""Thousands who wait for a lock cost little each, whatever they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import pytest
import trio
import trio.testing

from tests.posix.owners import END, RD, UN, WR, Owner
from triofuse import LockTable
from triofuse.posix.held import Held
from triofuse.posix.intervals import Intervals
from triofuse.posix.locks import PATIENCE

Range = Callable[[int], tuple[int, int]]


def whole(number: int) -> tuple[int, int]:
    return 0, END


def each_its_own(number: int) -> tuple[int, int]:
    return number, number


@attrs.define
class Work:
    """What was done: locks that were looked at, and ranges that were found."""

    done: int = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    against, overlapping = Held.conflicting_owner, Intervals.overlapping

    def conflicting_owner(self: Held, *args: object) -> int | None:
        work.done += 1
        return against(self, *args)  # type: ignore[arg-type]

    def counted(self: Intervals[object], start: int, end: int) -> Iterator[object]:
        for found in overlapping(self, start, end):
            work.done += 1
            yield found

    monkeypatch.setattr(Held, "conflicting_owner", conflicting_owner)
    monkeypatch.setattr(Intervals, "overlapping", counted)
    return work


class Many:
    """So many owners who wait for what one of them has."""

    def __init__(self, nursery: trio.Nursery, *, flock: bool) -> None:
        self.table = LockTable()
        self.nursery = nursery
        self.flock = flock
        self.holder = self.owner(1)
        self.got: list[Owner] = []
        assert self.holder.setlk(WR)

    def owner(self, number: int) -> Owner:
        return Owner(self.table, number, fh=number, flock=self.flock)

    async def want(self, count: int, kind: int, where: Range) -> None:
        async def wait(owner: Owner, start: int, end: int) -> None:
            await owner.setlkw(kind, start, end)
            self.got.append(owner)

        for number in range(count):
            self.nursery.start_soon(wait, self.owner(2 + number), *where(number))
        await trio.testing.wait_all_tasks_blocked()

    async def hand_over(self, count: int) -> None:
        """Unlock, and have each who gets the lock unlock it, too."""
        assert self.holder.setlk(UN)
        for number in range(count):
            await trio.testing.wait_all_tasks_blocked()
            assert self.got[number].setlk(UN)


#: What is enough for each of them, at each thing that happens to it.
ENOUGH = 15

COUNT = 1000

everybody = pytest.mark.parametrize(
    ("flock", "kind", "where"),
    [
        (True, WR, whole),
        (True, RD, whole),
        (False, WR, whole),
        (False, RD, whole),
        (False, WR, each_its_own),
        (False, RD, each_its_own),
    ],
)


@everybody
async def test_many_come_lose_patience_and_are_served(
    flock: bool,
    kind: int,
    where: Range,
    work: Work,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
) -> None:
    many = Many(nursery, flock=flock)

    await many.want(COUNT, kind, where)
    assert work.done < ENOUGH * COUNT
    work.done = 0
    await trio.sleep(PATIENCE * 2)
    assert work.done < ENOUGH * COUNT
    work.done = 0
    await many.hand_over(COUNT)

    assert len(many.got) == COUNT
    assert work.done < ENOUGH * COUNT
    assert not many.table._files


@everybody
@pytest.mark.parametrize("patient", [True, False])
async def test_many_are_interrupted_at_once(
    flock: bool,
    kind: int,
    where: Range,
    patient: bool,
    work: Work,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        many = Many(nursery, flock=flock)
        await many.want(COUNT, kind, where)
        await trio.sleep(0 if patient else PATIENCE * 2)
        work.done = 0
        nursery.cancel_scope.cancel()

    assert not many.got
    assert work.done < ENOUGH * COUNT
    assert many.holder.setlk(UN)
    assert not many.table._files


async def test_many_readers_hold_up_nobody_who_comes(
    work: Work, nursery: trio.Nursery
) -> None:
    many = Many(nursery, flock=True)
    many.holder.setlk(RD)
    for number in range(COUNT):
        many.owner(2 + number).setlk(RD)
    work.done = 0
    for number in range(COUNT):
        assert not many.owner(2 + COUNT + number).setlk(WR)

    assert work.done < ENOUGH * COUNT
    for number in range(COUNT):
        many.owner(2 + number).release()
    many.holder.release()
    assert not many.table._files


async def test_a_long_row_of_waiters_is_followed_so_far_only(
    work: Work, nursery: trio.Nursery
) -> None:
    many = Many(nursery, flock=False)
    many.holder.setlk(UN)
    count = 400
    owners = [many.owner(number) for number in range(count)]
    for number, owner in enumerate(owners):
        owner.setlk(WR, number, number)
    for number in reversed(range(1, count)):
        nursery.start_soon(owners[number - 1].setlkw, WR, number, number)
        await trio.testing.wait_all_tasks_blocked()
    work.done = 0
    nursery.start_soon(many.owner(count + 1).setlkw, WR, 0, 0)
    await trio.testing.wait_all_tasks_blocked()

    assert work.done < 300
    nursery.cancel_scope.cancel()
