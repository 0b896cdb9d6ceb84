"""The locks that are held on one file, indexed by owner and by byte range."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import attrgetter

import attrs

from triofuse.filesystem.flags import LockType
from triofuse.filesystem.replies import FileLock
from triofuse.posix.intervals import Intervals

__all__ = ["Held", "Holder", "conflicting_types"]

_start = attrgetter("start")
_end = attrgetter("end")

#: The lock types of other owners that conflict with a type (posix_locks_conflict()).
_CONFLICTS = {
    int(LockType.RDLCK): (int(LockType.WRLCK),),
    int(LockType.WRLCK): (int(LockType.WRLCK), int(LockType.RDLCK)),
}


def conflicting_types(type_: int) -> tuple[int, ...]:
    """Return the types of lock that conflict with one of this type."""
    return _CONFLICTS.get(type_, ())


@attrs.define(eq=False, repr=False)
class Holder:
    """The locks that one owner holds on one file.

    Attributes:
      ranges: Sorted.  They do not overlap; adjacent ranges of one type are merged.
      handles: The file handles that the requests named.
    """

    ranges: list[FileLock] = attrs.Factory(list)
    handles: set[int] = attrs.Factory(set)

    def put(self, new: FileLock) -> tuple[list[FileLock], list[FileLock]]:
        """Set, change or remove a range; split and merge the ranges it touches.

        Returns:
          The ranges removed and the ranges added.
        """
        first = bisect_left(self.ranges, new.start - 1, key=_end)
        last = bisect_right(self.ranges, new.end + 1, key=_start)
        gone = self.ranges[first:last]
        before, after, start, end = [], [], new.start, new.end
        for old in gone:
            if old.type == new.type:
                start, end = min(start, old.start), max(end, old.end)
                continue
            if old.start < new.start:
                before.append(attrs.evolve(old, end=min(old.end, new.start - 1)))
            if old.end > new.end:
                after.append(attrs.evolve(old, start=max(old.start, new.end + 1)))
        if new.type != LockType.UNLCK:
            before.append(FileLock(start, end, new.type, new.pid))
        come = before + after
        self.ranges[first:last] = come
        return gone, come

    def overlapping(self, lock: FileLock) -> list[FileLock]:
        """Return the ranges that overlap with a lock."""
        first = bisect_left(self.ranges, lock.start, key=_end)
        last = bisect_right(self.ranges, lock.end, key=_start)
        return self.ranges[first:last]


@attrs.define(eq=False, repr=False)
class Held:
    """All locks of one kind on one file.

    Attributes:
      holders: The owners that hold a lock, and their ranges.
    """

    holders: dict[int, Holder] = attrs.field(factory=dict, init=False)
    #: By type, then by exact range: the owners that hold it, each with its lock.
    _ranges: dict[int, Intervals[dict[int, FileLock]]] = attrs.field(
        factory=lambda: {type_: Intervals() for type_ in _CONFLICTS}, init=False
    )
    _by_handle: dict[int, set[int]] = attrs.field(factory=dict, init=False)

    def of(self, owner: int, lock: FileLock) -> list[FileLock]:
        """Return the ranges of an owner that overlap with a lock."""
        holder = self.holders.get(owner)
        return holder.overlapping(lock) if holder else []

    def conflicting_owners(self, lock: FileLock) -> Iterator[dict[int, FileLock]]:
        """Yield the owners and locks that conflict with a lock, its own owner included."""
        for type_ in conflicting_types(lock.type):
            yield from self._ranges[type_].overlapping(lock.start, lock.end)

    def conflicts(self, owner: int, lock: FileLock) -> list[FileLock]:
        """Return the locks of other owners that conflict with a lock."""
        return [
            found
            for owners in self.conflicting_owners(lock)
            for other, found in owners.items()
            if other != owner
        ]

    def conflicting_owner(self, owner: int, lock: FileLock) -> int | None:
        """Return one other owner whose lock conflicts, None if there is none."""
        for owners in self.conflicting_owners(lock):
            for other in owners:
                if other != owner:
                    return other
        return None

    def owners_by_handle(self, fh: int) -> set[int]:
        """Return the owners whose locks were set through a handle."""
        return self._by_handle.get(fh, set())

    def put(self, owner: int, lock: FileLock, fh: int) -> bool:
        """Set, change or remove a range; return whether that may unblock others."""
        less = any(lock.type != old.type for old in self.of(owner, lock))
        holder = self.holders.setdefault(owner, Holder())
        gone, come = holder.put(lock)
        for old in gone:
            self._remove(owner, old)
        for new in come:
            self._add(owner, new)
        holder.handles.add(fh)
        self._by_handle.setdefault(fh, set()).add(owner)
        if not holder.ranges:
            self._forget(owner)
        return less and lock.type != LockType.WRLCK

    def drop(self, owner: int) -> FileLock | None:
        """Remove all locks of an owner; return one range that covers them."""
        holder = self.holders.get(owner)
        if holder is None:
            return None
        for lock in holder.ranges:
            self._remove(owner, lock)
        self._forget(owner)
        return attrs.evolve(holder.ranges[0], end=holder.ranges[-1].end)

    def _forget(self, owner: int) -> None:
        for fh in self.holders.pop(owner).handles:
            owners = self._by_handle[fh]
            owners.discard(owner)
            if not owners:
                del self._by_handle[fh]

    def _add(self, owner: int, lock: FileLock) -> None:
        ranges = self._ranges[lock.type]
        owners = ranges.get(lock.start, lock.end)
        if owners is None:
            ranges.add(lock.start, lock.end, {owner: lock})
        else:
            owners[owner] = lock

    def _remove(self, owner: int, lock: FileLock) -> None:
        ranges = self._ranges[lock.type]
        owners = ranges.get(lock.start, lock.end)
        assert owners is not None
        del owners[owner]
        if not owners:
            ranges.remove(lock.start, lock.end)
