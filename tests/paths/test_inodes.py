"""The table of inodes, against a model that knows names only."""

from __future__ import annotations

import stat
from typing import Any

from hypothesis import given, strategies as st

from triofuse.paths.inodes import Inode, Inodes

NAMES = st.sampled_from("abc")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look up", "move", "exchange", "remove"]),
        st.integers(0, 20),
        NAMES,
        st.integers(0, 20),
        NAMES,
    ),
    max_size=40,
)


class Walk:
    """A table, and what the kernel has of it."""

    def __init__(self) -> None:
        self.table = Inodes()
        #: Names that the kernel knows, by directory; the number is the nodeid.
        self.names: dict[int, dict[str, int]] = {1: {}}
        self.lookups: dict[int, int] = {}

    def directory(self, number: int) -> Inode:
        known = sorted(self.names)
        return self.table.numbered[known[number % len(known)]]

    def is_below(self, inode: Inode, above: int) -> bool:
        return above in [one.nodeid for one in inode.ancestors()]

    def look_up(self, at: Inode, name: str) -> None:
        inode = self.table.known(at, name, stat.S_IFDIR)
        inode.nlookup += 1
        self.lookups[inode.nodeid] = self.lookups.get(inode.nodeid, 0) + 1
        self.names.setdefault(inode.nodeid, {})
        self.names[at.nodeid][name] = inode.nodeid

    def move(self, old: Inode, name: str, new: Inode, new_name: str) -> None:
        moved = self.names[old.nodeid].get(name)
        if moved is None or self.is_below(new, moved) or (old, name) == (new, new_name):
            return
        self.table.move(old, name, new, new_name)
        del self.names[old.nodeid][name]
        self.names[new.nodeid][new_name] = moved

    def exchange(self, old: Inode, name: str, new: Inode, new_name: str) -> None:
        one = self.names[old.nodeid].get(name)
        two = self.names[new.nodeid].get(new_name)
        if not one or not two or self.is_below(new, one) or self.is_below(old, two):
            return
        self.table.exchange(old, name, new, new_name)
        self.names[old.nodeid][name], self.names[new.nodeid][new_name] = two, one

    def remove(self, at: Inode, name: str) -> None:
        gone = self.names[at.nodeid].get(name)
        if gone is None or self.names[gone]:
            return
        self.table.remove(at, name)
        del self.names[at.nodeid][name]

    def forget_all(self) -> None:
        for nodeid, count in self.lookups.items():
            self.table.forget(nodeid, count)

    def check(self) -> None:
        """Check that each inode with a name has the path that leads to it."""
        left = set(self.table.numbered)
        below: list[tuple[int, str]] = [(1, "/")]
        while below:
            nodeid, path = below.pop()
            left.discard(nodeid)
            assert self.table.numbered[nodeid].path_now() == path
            for name, child in self.names[nodeid].items():
                below.append((child, f"{path.rstrip('/')}/{name}"))
        assert {self.table.numbered[nodeid].path_now() for nodeid in left} <= {""}


@given(STEPS)
def test_paths_follow_every_change_and_nothing_stays_behind(
    steps: list[tuple[Any, ...]],
) -> None:
    walk = Walk()
    for step, one, name, two, new_name in steps:
        old, new = walk.directory(one), walk.directory(two)
        old.path_now()
        match step:
            case "look up":
                walk.look_up(old, name)
            case "move":
                walk.move(old, name, new, new_name)
            case "exchange":
                walk.exchange(old, name, new, new_name)
            case "remove":
                walk.remove(old, name)
        walk.check()

    walk.forget_all()

    assert list(walk.table.numbered) == [1]
    assert not walk.table.root.children
