"""The locks that are held of one file: by owner, and by the bytes that they cover."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import attrgetter

import attrs

from triofuse.filesystem.flags import LockType
from triofuse.filesystem.replies import FileLock
from triofuse.posix.intervals import Intervals

__all__ = ["Held", "Holder", "types_against"]

_start = attrgetter("start")
_end = attrgetter("end")

#: Which types of others keep out a lock of a type.
_AGAINST = {
    int(LockType.RDLCK): (int(LockType.WRLCK),),
    int(LockType.WRLCK): (int(LockType.WRLCK), int(LockType.RDLCK)),
}


def types_against(type_: int) -> tuple[int, ...]:
    """Return the types of lock that one of this type excludes."""
    return _AGAINST.get(type_, ())


@attrs.define(eq=False, repr=False)
class Holder:
    """What one owner holds of one file.

    Attributes:
      ranges: Sorted; they neither overlap nor touch one of their type.
      handles: The handles through which they came.
    """

    ranges: list[FileLock] = attrs.Factory(list)
    handles: set[int] = attrs.Factory(set)

    def put(self, new: FileLock) -> tuple[list[FileLock], list[FileLock]]:
        """Take, change or drop a range: what is there gives way or joins.

        Returns:
          What is gone, and what has come.
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
        """Return what is held of the bytes of a lock."""
        first = bisect_left(self.ranges, lock.start, key=_end)
        last = bisect_right(self.ranges, lock.end, key=_start)
        return self.ranges[first:last]


@attrs.define(eq=False, repr=False)
class Held:
    """All locks of one kind on one file.

    Attributes:
      holders: Who has some.
    """

    holders: dict[int, Holder] = attrs.field(factory=dict, init=False)
    #: By type, then by range: who has just that, and the lock itself.
    _ranges: dict[int, Intervals[dict[int, FileLock]]] = attrs.field(
        factory=lambda: {type_: Intervals() for type_ in _AGAINST}, init=False
    )
    _through: dict[int, set[int]] = attrs.field(factory=dict, init=False)

    def of(self, owner: int, lock: FileLock) -> list[FileLock]:
        """Return what an owner has of the bytes of a lock."""
        holder = self.holders.get(owner)
        return holder.overlapping(lock) if holder else []

    def owners_against(self, lock: FileLock) -> Iterator[dict[int, FileLock]]:
        """Yield those who keep a lock out, its own owner among them, and by what."""
        for type_ in types_against(lock.type):
            yield from self._ranges[type_].overlapping(lock.start, lock.end)

    def against(self, owner: int, lock: FileLock) -> list[FileLock]:
        """Return the locks of others that keep a lock out."""
        return [
            found
            for owners in self.owners_against(lock)
            for other, found in owners.items()
            if other != owner
        ]

    def owner_against(self, owner: int, lock: FileLock) -> int | None:
        """Return one other owner who keeps a lock out."""
        for owners in self.owners_against(lock):
            for other in owners:
                if other != owner:
                    return other
        return None

    def owners_through(self, fh: int) -> set[int]:
        """Return who has locks that came through a handle."""
        return self._through.get(fh, set())

    def put(self, owner: int, lock: FileLock, fh: int) -> bool:
        """Take, change or drop a range; return whether others may gain by that."""
        less = any(lock.type != old.type for old in self.of(owner, lock))
        holder = self.holders.setdefault(owner, Holder())
        gone, come = holder.put(lock)
        for old in gone:
            self._remove(owner, old)
        for new in come:
            self._add(owner, new)
        holder.handles.add(fh)
        self._through.setdefault(fh, set()).add(owner)
        if not holder.ranges:
            self._forget(owner)
        return less and lock.type != LockType.WRLCK

    def drop(self, owner: int) -> FileLock | None:
        """Drop all that an owner has; return what covers it."""
        holder = self.holders.get(owner)
        if holder is None:
            return None
        for lock in holder.ranges:
            self._remove(owner, lock)
        self._forget(owner)
        return attrs.evolve(holder.ranges[0], end=holder.ranges[-1].end)

    def _forget(self, owner: int) -> None:
        for fh in self.holders.pop(owner).handles:
            owners = self._through[fh]
            owners.discard(owner)
            if not owners:
                del self._through[fh]

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
