"""Locks that are there or not: what excludes what, and what ends them."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

import triofuse as t
from tests.posix.owners import END, RD, UN, WR, Owner
from triofuse import LockTable
from triofuse.posix.held import Holder

BYTES = 12


@pytest.fixture
def table() -> Iterator[LockTable]:
    table = LockTable()
    yield table
    assert not table._files, "a lock that nobody holds is remembered"


def owners(table: LockTable, flock: bool = False) -> list[Owner]:
    return [Owner(table, number, fh=number, flock=flock) for number in (1, 2, 3)]


@pytest.fixture
def two(table: LockTable) -> Iterator[tuple[Owner, Owner]]:
    one, other, _ = owners(table)
    yield one, other
    one.flush()
    other.flush()


# --- What fcntl(2) promises


def test_readers_share_and_a_writer_is_alone(two: tuple[Owner, Owner]) -> None:
    one, other = two

    assert one.setlk(RD)
    assert other.setlk(RD)
    assert not other.setlk(WR)
    assert other.setlk(UN)
    assert one.setlk(WR)
    assert not other.setlk(RD)


def test_what_is_in_the_way_is_shown_with_its_process(two: tuple[Owner, Owner]) -> None:
    one, other = two
    one.setlk(WR, 30, 39)
    one.setlk(RD, 10, 19)

    assert other.getlk(WR) == t.FileLock(10, 19, RD, one.pid)
    assert other.getlk(RD) == t.FileLock(30, 39, WR, one.pid)
    assert other.getlk(WR, 20, 29) == t.FileLock()
    assert one.getlk(WR) == t.FileLock()


def test_what_is_shown_is_a_copy(two: tuple[Owner, Owner]) -> None:
    one, other = two
    one.setlk(WR, 0, 9)

    other.getlk(WR).type = UN

    assert not other.setlk(RD)


def test_a_lock_to_the_end_holds_what_is_to_come(two: tuple[Owner, Owner]) -> None:
    one, other = two

    assert one.setlk(WR, 100, END)
    assert other.setlk(WR, 0, 99)
    assert not other.setlk(RD, END, END)


def test_unlocking_the_middle_leaves_both_sides(two: tuple[Owner, Owner]) -> None:
    one, other = two
    one.setlk(WR, 0, END)

    one.setlk(UN, 10, 19)

    assert other.setlk(WR, 10, 19)
    assert not other.setlk(RD, 9, 9)
    assert not other.setlk(RD, 20, 20)
    assert other.getlk(RD, 5, 100) == t.FileLock(0, 9, WR, one.pid)


def test_what_touches_becomes_one_lock(two: tuple[Owner, Owner]) -> None:
    one, other = two
    one.setlk(RD, 0, 9)
    one.setlk(RD, 20, 29)

    one.setlk(RD, 10, 19)

    assert other.getlk(WR) == t.FileLock(0, 29, RD, one.pid)


def test_upgrading_fails_while_others_read_and_keeps_the_lock(
    two: tuple[Owner, Owner],
) -> None:
    one, other = two
    one.setlk(RD)
    other.setlk(RD)

    assert not one.setlk(WR)
    other.setlk(UN)
    assert not other.setlk(WR)
    assert one.setlk(WR)


def test_closing_any_descriptor_ends_all_locks_of_the_process(table: LockTable) -> None:
    one, other, _ = owners(table)
    twin = Owner(table, one.number, fh=7)  # it has opened the file twice
    one.setlk(WR, 0, 9)
    twin.setlk(WR, 20, 29)

    twin.flush()

    assert other.setlk(WR)
    twin.release()
    other.flush()


def test_the_late_release_of_a_handle_ends_no_newer_locks(table: LockTable) -> None:
    one, other, _ = owners(table)
    twin = Owner(table, one.number, fh=7)
    one.setlk(WR)
    one.flush()
    twin.setlk(WR)

    one.release()

    assert not other.setlk(RD)
    twin.flush()


def test_locks_of_a_description_end_with_its_handle(table: LockTable) -> None:
    """F_OFD_SETLK: neither FLUSH nor RELEASE names the owner."""
    one, other, process = owners(table)
    one.setlk(WR)
    process.flush()
    assert not other.setlk(RD)

    one.release()

    assert other.setlk(RD)
    other.release()


def test_without_a_handle_a_release_ends_nobodys_locks(table: LockTable) -> None:
    one = Owner(table, 1, fh=0)
    other = Owner(table, 2, fh=0)
    one.setlk(WR)

    other.release()

    assert not other.setlk(RD)
    one.flush()


def test_who_asks_for_what_it_holds_is_told(two: tuple[Owner, Owner]) -> None:
    """F_OFD_GETLK with F_UNLCK, since Linux 6.4."""
    one, other = two
    one.setlk(WR, 5, 9)

    assert one.getlk(UN) == t.FileLock(5, 9, WR, one.pid)
    assert other.getlk(UN) == t.FileLock()


def test_files_have_nothing_to_do_with_each_other(table: LockTable) -> None:
    one, other, _ = owners(table)
    elsewhere = Owner(table, other.number, nodeid=99)

    one.setlk(WR)

    assert elsewhere.setlk(WR)
    one.flush()
    elsewhere.flush()


# --- What flock(2) promises


def test_the_two_kinds_do_not_see_each_other(table: LockTable) -> None:
    one, other, _ = owners(table)
    flocker = Owner(table, 4, fh=4, flock=True)
    one.setlk(WR)

    assert flocker.setlk(WR)
    one.flush()
    assert other.setlk(WR)
    other.flush()
    assert not Owner(table, 5, fh=5, flock=True).setlk(RD)
    flocker.release()


def test_a_flock_outlives_a_flush_and_ends_with_the_release(table: LockTable) -> None:
    one, other, _ = owners(table, flock=True)
    one.setlk(WR)

    one.flush()
    assert not other.setlk(RD)
    one.release()

    assert other.setlk(RD)
    other.release(fh=0)  # the flag alone does it


def test_a_flock_that_fails_to_become_another_is_lost(table: LockTable) -> None:
    one, other, third = owners(table, flock=True)
    one.setlk(RD)
    other.setlk(RD)

    assert not one.setlk(WR)

    other.release()
    assert third.setlk(WR)
    third.setlk(UN)


def test_a_flock_can_become_another(table: LockTable) -> None:
    one, other, _ = owners(table, flock=True)
    one.setlk(RD)
    assert one.setlk(WR)
    assert not other.setlk(RD)
    assert one.setlk(RD)
    assert one.setlk(RD)
    assert other.setlk(RD)
    one.release()
    other.release()


# --- Against a naive model: for each byte, what each owner has of it

spans = st.tuples(st.integers(0, BYTES - 1), st.integers(0, BYTES - 1)).map(sorted)
actions = st.one_of(
    st.tuples(
        st.just("setlk"), st.integers(0, 2), st.sampled_from([RD, WR, UN]), spans
    ),
    st.tuples(st.just("flush"), st.integers(0, 2), st.none(), st.none()),
    st.tuples(st.just("release"), st.integers(0, 2), st.none(), st.none()),
)


@given(st.lists(actions, max_size=40))
@settings(max_examples=400, deadline=None)
def test_ranges_are_like_an_array_of_bytes(
    script: list[tuple[str, int, int, list[int]]],
) -> None:
    table = LockTable()
    everybody = owners(table)
    model = [[UN] * BYTES for _ in everybody]

    for what, who, kind, span in script:
        owner, others = everybody[who], [m for m in model if m is not model[who]]
        if what == "setlk":
            within = slice(span[0], span[1] + 1)
            taken = {byte for other in others for byte in other[within]}
            free = kind == UN or not taken & ({WR} if kind == RD else {WR, RD})
            assert owner.setlk(kind, *span) == free
            if free:
                model[who][within] = [kind] * (span[1] + 1 - span[0])
        else:
            owner.flush() if what == "flush" else owner.release()
            model[who] = [UN] * BYTES
        _check(everybody, model)

    for owner in everybody:
        owner.setlk(UN, 0, BYTES - 1)
    assert not table._files


def _check(everybody: list[Owner], model: list[list[int]]) -> None:
    for owner, expected in zip(everybody, model, strict=True):
        held = [owner.getlk(UN, byte, byte) for byte in range(BYTES)]
        assert [lock.type for lock in held] == expected
        for byte, lock in enumerate(held):
            if lock.type != UN:
                assert (lock.start, lock.end) == _run(expected, byte)


def _run(row: list[int], byte: int) -> tuple[int, int]:
    """Return the longest stretch of one value around a byte."""
    start = end = byte
    while start > 0 and row[start - 1] == row[byte]:
        start -= 1
    while end < len(row) - 1 and row[end + 1] == row[byte]:
        end += 1
    return start, end


def test_many_ranges_cost_little_each() -> None:
    """One bisection each, not a walk over all that are there."""
    ranges: list[t.FileLock] = []
    holder = Holder(ranges)
    for number in range(20_000):
        holder.put(t.FileLock(2 * number, 2 * number, WR))

    assert len(ranges) == 20_000
    holder.put(t.FileLock(0, END, UN))
    assert not holder.ranges


def test_a_failure_says_that_one_may_try_again(two: tuple[Owner, Owner]) -> None:
    one, other = two
    one.setlk(WR)

    with pytest.raises(t.FuseError) as caught:
        other.table.setlk(other.request(t.Setlk, RD))
    assert caught.value.errno == errno.EAGAIN
