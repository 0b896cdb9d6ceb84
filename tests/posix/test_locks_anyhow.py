"""Whatever happens: what is held fits together, and who waits has to."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from tests.posix.crowd import Crowd
from tests.posix.owners import END, RD, UN, WR
from triofuse.posix.locks import PATIENCE
from triofuse.posix.waiting import Waiter

span = st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted)
steps = st.lists(
    st.tuples(
        st.sampled_from(["want", "want", "try", "cancel", "flush", "release", "pass"]),
        st.integers(0, 3),
        st.sampled_from([RD, WR, UN]),
        span,
    ),
    max_size=25,
)
Script = list[tuple[str, int, int, list[int]]]


@given(steps, st.booleans())
@settings(max_examples=150, deadline=None)
def test_nobody_waits_for_what_is_free(script: Script, flock: bool) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(_play, script, flock, clock=clock)


async def _play(script: Script, flock: bool) -> None:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery, flock=flock)
        waiting: dict[int, trio.CancelScope] = {}
        for what, number, kind, (start, end) in script:
            byte_range = (0, END) if flock else (start, end)
            done = {*crowd.got, *(who for who, _ in crowd.failed)}
            waiting = {who: scope for who, scope in waiting.items() if who not in done}
            if what == "pass":
                await trio.sleep(PATIENCE * 2)
            elif number in waiting:
                if what == "cancel":
                    waiting.pop(number).cancel()
            elif what == "want":
                crowd.got = [who for who in crowd.got if who != number]
                crowd.failed = [pair for pair in crowd.failed if pair[0] != number]
                waiting[number] = await crowd.wants(number, kind, *byte_range)
            elif what == "try":
                crowd[number].setlk(kind, *byte_range)
            elif what in ("flush", "release"):
                getattr(crowd[number], what)()
            await trio.testing.wait_all_tasks_blocked()
            _check(crowd, settled=what == "pass")
        nursery.cancel_scope.cancel()
    for owner in crowd.owners:
        owner.release()
        owner.flush()
    assert not crowd.table._files


def _check(crowd: Crowd, *, settled: bool) -> None:
    """Check that locks exclude each other, and that nobody waits for nothing."""
    for locks in crowd.table._files.values():
        held = [
            (owner, lock)
            for owner, holder in locks.held.holders.items()
            for lock in holder.ranges
        ]
        for owner, lock in held:
            for other, beside in held:
                overlap = lock.start <= beside.end and beside.start <= lock.end
                if owner != other and overlap:
                    assert lock.type == beside.type == RD
        for place, waiter in enumerate(locks.queue):
            in_the_way = bool(locks.held.conflicts(waiter.owner, waiter.request.lock))
            assert in_the_way or (not settled and waiter.is_patient and place > 0)


#: What threads of three processes do, two of each.
threads = st.lists(
    st.tuples(
        st.sampled_from(["want", "want", "want", "cancel", "unlock", "pass"]),
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from([RD, WR]),
        span,
    ),
    max_size=30,
)
Threads = list[tuple[str, int, int, int, list[int]]]


@given(threads)
@settings(max_examples=200, deadline=None)
def test_threads_of_one_owner_do_not_wait_for_each_other(script: Threads) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(_play_threads, script, clock=clock)


async def _play_threads(script: Threads) -> None:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery)
        scopes: dict[tuple[int, int], trio.CancelScope] = {}
        for what, number, thread, kind, (start, end) in script:
            who = number, thread
            if what == "pass":
                await trio.sleep(PATIENCE * 2)
            elif what == "want" and who not in scopes:
                scopes[who] = await crowd.wants(number, kind, start, end)
            elif what == "cancel" and who in scopes:
                scopes.pop(who).cancel()
            elif what == "unlock":
                crowd[number].setlk(UN, start, end)
            await trio.testing.wait_all_tasks_blocked()
            for locks in crowd.table._files.values():
                queue = locks.queue
                for place, waiter in enumerate(queue):
                    assert locks.held.conflicts(waiter.owner, waiter.request.lock) or (
                        waiter.is_patient
                        and any(_keeps(one, waiter) for one in queue[:place])
                    )
        nursery.cancel_scope.cancel()


def _keeps(ahead: Waiter, waiter: Waiter) -> bool:
    """Whether one who waits keeps a patient one waiting."""
    one, other = ahead.request.lock, waiter.request.lock
    overlap = one.start <= other.end and other.start <= one.end
    return ahead.owner != waiter.owner and overlap and WR in (one.type, other.type)
