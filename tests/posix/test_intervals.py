"""Ranges are found by what they overlap with, in few steps however many there are."""

from __future__ import annotations

from hypothesis import given, strategies as st

from triofuse.posix.intervals import Intervals, _Node

spans = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)


@given(st.lists(spans, max_size=30), spans)
def test_what_overlaps_is_found_by_start(
    steps: list[list[int]], asked: list[int]
) -> None:
    intervals = Intervals[tuple[int, int]]()
    there: set[tuple[int, int]] = set()
    for start, end in steps:  # the second time it is removed
        if (start, end) in there:
            intervals.remove(start, end)
        else:
            intervals.add(start, end, (start, end))
        there ^= {(start, end)}
    start, end = asked

    assert list(intervals.overlapping(start, end)) == sorted(
        span for span in there if span[0] <= end and start <= span[1]
    )
    assert set(intervals) == there
    assert len(intervals) == len(there)
    assert intervals.get(start, end) == (
        (start, end) if (start, end) in there else None
    )


def height(node: _Node[None] | None) -> int:
    return 0 if node is None else 1 + max(height(node.left), height(node.right))


def test_ranges_that_come_in_order_make_no_high_tree() -> None:
    intervals = Intervals[None]()
    for number in range(5000):
        intervals.add(number, number, None)

    assert height(intervals._root) < 60
    for number in range(4900):
        intervals.remove(number, number)
    assert height(intervals._root) < 40
    assert len(list(intervals.overlapping(4950, 10_000))) == 50
