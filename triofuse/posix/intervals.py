"""An interval tree: byte ranges, each with a value, found by overlap.

The law: finding, adding and removing a range takes O(log n).  The tree is a treap,
ordered by start, balanced by random weights; each node has its subtree's last byte.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Generic, TypeVar

import attrs

__all__ = ["Intervals"]

T = TypeVar("T")

_Key = tuple[int, int]


@attrs.define(eq=False, repr=False)
class _Node(Generic[T]):
    """A range, the root of a subtree.

    Attributes:
      key: Its first and its last byte.
      value: The value of this range.
      last: The last byte of all ranges in this subtree.
      weight: Random; a parent's weight is not below its children's.
    """

    key: _Key
    value: T
    last: int
    weight: float = attrs.field(factory=random.random)
    left: _Node[T] | None = None
    right: _Node[T] | None = None

    def renew(self) -> _Node[T]:
        """Compute ``last`` again from the children."""
        self.last = self.key[1]
        if self.left is not None and self.left.last > self.last:
            self.last = self.left.last
        if self.right is not None and self.right.last > self.last:
            self.last = self.right.last
        return self


@attrs.define(eq=False, repr=False)
class Intervals(Generic[T]):
    """A mapping from ranges to values that finds overlaps."""

    _root: _Node[T] | None = attrs.field(default=None, init=False)
    _values: dict[_Key, T] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[T]:
        return iter(self._values.values())

    def get(self, start: int, end: int) -> T | None:
        """Return the value of exactly this range, None if there is none."""
        return self._values.get((start, end))

    def add(self, start: int, end: int, value: T) -> None:
        """Add a range; it must not exist yet."""
        key = start, end
        self._values[key] = value
        left, right = _split(self._root, key)
        self._root = _joined(_joined(left, _Node(key, value, end)), right)

    def remove(self, start: int, end: int) -> None:
        """Remove a range."""
        key = start, end
        del self._values[key]
        self._root = _without(self._root, key)

    def overlapping(self, start: int, end: int) -> Iterator[T]:
        """Yield the values of ranges that overlap with this one, ordered by start.

        Add and remove nothing while you iterate.
        """
        node, above = self._root, list[_Node[T]]()
        while node is not None or above:
            if node is not None and node.last >= start:
                above.append(node)
                node = node.left
                continue
            if not above:
                return
            node = above.pop()
            if node.key[0] > end:
                return
            if node.key[1] >= start:
                yield node.value
            node = node.right


def _split(node: _Node[T] | None, key: _Key) -> tuple[_Node[T] | None, _Node[T] | None]:
    """Split a tree into the ranges before a key and the rest."""
    if node is None:
        return None, None
    if node.key < key:
        node.right, rest = _split(node.right, key)
        return node.renew(), rest
    before, node.left = _split(node.left, key)
    return before, node.renew()


def _joined(left: _Node[T] | None, right: _Node[T] | None) -> _Node[T] | None:
    """Merge two trees; all ranges of the first are before those of the second."""
    if left is None or right is None:
        return left or right
    if left.weight > right.weight:
        left.right = _joined(left.right, right)
        return left.renew()
    right.left = _joined(left, right.left)
    return right.renew()


def _without(node: _Node[T] | None, key: _Key) -> _Node[T] | None:
    """Return the tree without a key."""
    if node is None or node.key == key:
        return node and _joined(node.left, node.right)
    if node.key < key:
        node.right = _without(node.right, key)
    else:
        node.left = _without(node.left, key)
    return node.renew()
