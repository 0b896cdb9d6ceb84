"""Who waits for the locks of one file, and what keeps each waiting.

The law: whoever wants the same, and comes later, is kept out by the same, unless that
is their own owner's.  So of all who want the same, two at most are looked at, however
many they are: the first, and the first of that owner.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, insort
from collections.abc import Iterable
from operator import attrgetter

import attrs
import trio

from triofuse.filesystem.flags import LockType
from triofuse.filesystem.replies import FileLock
from triofuse.filesystem.requests import Getlk
from triofuse.posix.held import Held, types_against
from triofuse.posix.intervals import Intervals

__all__ = ["Locks", "Waiter"]

_number = attrgetter("number")


@attrs.define(eq=False, repr=False)
class Waiter:
    """A request that may have to wait.

    Attributes:
      request: What is wanted.
      number: Its place: the order of arrival, below 0 for who is not to wait in line.
      is_patient: Whether it lets those ahead go first although it could be served.
      is_served: Whether it has its lock.
      task: Whom to wake then; None also for who is cancelled and on its way out.
      keeps: Groups whose first waits for nobody else but this one.
    """

    request: Getlk
    number: int = 0
    is_patient: bool = False
    is_served: bool = False
    task: trio.lowlevel.Task | None = None
    is_leaving: bool = False
    keeps: set[_Group] = attrs.Factory(set)

    @property
    def owner(self) -> int:
        """Who wants it."""
        return self.request.owner

    async def wait(self) -> None:
        """Sleep until it is served; who is cancelled is served no more."""

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self.is_leaving = True
            return trio.lowlevel.Abort.SUCCEEDED

        self.is_leaving = False
        self.task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        finally:
            self.task = None

    def serve(self) -> None:
        """Wake the task, which has its lock."""
        self.is_served = True
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)


@attrs.define(eq=False, repr=False)
class _Line:
    """Waiters in order, and those of each owner."""

    waiters: list[Waiter] = attrs.Factory(list)
    _by_owner: dict[int, list[Waiter]] = attrs.Factory(dict)

    def add(self, waiter: Waiter) -> None:
        insort(self.waiters, waiter, key=_number)
        insort(self._by_owner.setdefault(waiter.owner, []), waiter, key=_number)

    def remove(self, waiter: Waiter) -> None:
        own = self._by_owner[waiter.owner]
        for line in (self.waiters, own):
            del line[bisect_left(line, waiter.number, key=_number)]
        if not own:
            del self._by_owner[waiter.owner]

    def first_of(self, owner: int) -> Waiter | None:
        own = self._by_owner.get(owner)
        return own[0] if own else None

    def first_but(self, owner: int) -> Waiter | None:
        return next((one for one in self.waiters if one.owner != owner), None)


@attrs.define(eq=False, repr=False)
class _Group:
    """Those who want the same bytes in the same way.

    Attributes:
      lock: What they want.
      patient: Those who let others go first.
      hurried: Those who do not, any more.
      kept_by: Who keeps the first of them waiting, of those who wait themselves.
    """

    lock: FileLock
    patient: _Line = attrs.Factory(_Line)
    hurried: _Line = attrs.Factory(_Line)
    kept_by: list[Waiter] = attrs.Factory(list)

    @property
    def lines(self) -> tuple[_Line, _Line]:
        return self.hurried, self.patient

    def line_of(self, waiter: Waiter) -> _Line:
        return self.patient if waiter.is_patient else self.hurried

    def number(self) -> int | None:
        """Return the place of the first, None if there is nobody."""
        hurried, patient = self.hurried.waiters, self.patient.waiters
        if hurried and patient:
            return min(hurried[0].number, patient[0].number)
        first = hurried or patient
        return first[0].number if first else None

    def is_kept_by(self, request: Getlk) -> bool:
        """Whether a lock that has just been given keeps all of them waiting."""
        return (
            request.lock.type in types_against(self.lock.type)
            and request.lock.start <= self.lock.end
            and self.lock.start <= request.lock.end
            and not any(line.first_of(request.owner) for line in self.lines)
        )

    def keeps(self, waiter: Waiter) -> Waiter | None:
        """Return one of another owner who is ahead of a waiter."""
        for line in self.lines:
            first = line.first_but(waiter.owner)
            if first is not None and first.number < waiter.number:
                return first
        return None

    def release(self) -> None:
        """Be kept by nobody."""
        for waiter in self.kept_by:
            waiter.keeps.discard(self)
        self.kept_by.clear()


@attrs.define(eq=False, repr=False)
class Locks:
    """The locks of one kind on one file, and who waits for them.

    Attributes:
      held: The locks.
    """

    held: Held = attrs.field(factory=Held, init=False)
    _groups: dict[int, Intervals[_Group]] = attrs.field(
        factory=lambda: {
            int(type_): Intervals() for type_ in (LockType.RDLCK, LockType.WRLCK)
        },
        init=False,
    )

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to keep."""
        return not self.held.holders and not any(self._groups.values())

    @property
    def queue(self) -> list[Waiter]:
        """All who wait, in order."""
        groups = [group for groups in self._groups.values() for group in groups]
        lines = [line for group in groups for line in group.lines]
        return sorted((one for line in lines for one in line.waiters), key=_number)

    def take(self, waiter: Waiter) -> bool:
        """Serve a request if it need not wait."""
        if self._kept_by(waiter) is not None:
            return False
        self._settle(self._serve(waiter))
        return True

    def join(self, waiter: Waiter, dropped: FileLock | None = None) -> None:
        """Have a request wait; it may have dropped something for that."""
        others = [] if dropped is None else self._overlapping(dropped)
        if waiter.request.lock.type == LockType.UNLCK:
            waiter.serve()
            return self._settle(others)
        group = self._group(waiter.request.lock)
        group.line_of(waiter).add(waiter)
        return self._settle([group, *others])

    def leave(self, waiter: Waiter) -> None:
        """Let others go on who have waited for one who gives up."""
        group = self._group(waiter.request.lock)
        self._settle([*self._remove(group, waiter), *waiter.keeps])

    def hurry(self, waiter: Waiter) -> None:
        """Have one who was patient wait for nothing but the locks that are held."""
        group = self._group(waiter.request.lock)
        group.patient.remove(waiter)
        waiter.is_patient = waiter.is_leaving = False
        group.hurried.add(waiter)
        self._settle([group])

    def settle(self, dropped: FileLock | None) -> None:
        """Serve who can be served now that some bytes are free, if there are any."""
        if dropped is not None:
            self._settle(self._overlapping(dropped))

    def _group(self, lock: FileLock) -> _Group:
        groups = self._groups[lock.type]
        group = groups.get(lock.start, lock.end)
        if group is None:
            group = _Group(lock)
            groups.add(lock.start, lock.end, group)
        return group

    def _remove(self, group: _Group, waiter: Waiter) -> list[_Group]:
        """Take a waiter out of its group; return that, unless nobody is left."""
        group.line_of(waiter).remove(waiter)
        if group.number() is not None:
            return [group]
        group.release()
        self._groups[group.lock.type].remove(group.lock.start, group.lock.end)
        return []

    def _overlapping(self, lock: FileLock) -> list[_Group]:
        return [
            group
            for groups in self._groups.values()
            for group in groups.overlapping(lock.start, lock.end)
        ]

    def _settle(self, groups: Iterable[_Group]) -> None:
        """Serve who can be served of some groups, in order."""
        heap: list[tuple[int, int, _Group]] = []
        entries = itertools.count()  # no two are the same

        def look_at(group: _Group) -> None:
            if (number := group.number()) is not None:
                heapq.heappush(heap, (number, next(entries), group))

        for group in set(groups):
            look_at(group)
        served: Getlk | None = None
        while heap:
            _, _, group = heapq.heappop(heap)
            if served is not None and group.is_kept_by(served):
                continue
            waiter = self._next(group)
            if waiter is not None:
                served = waiter.request
                for other in (*self._remove(group, waiter), *self._serve(waiter)):
                    look_at(other)

    def _serve(self, waiter: Waiter) -> list[_Group]:
        """Give a waiter its lock; return who may gain by what it had before."""
        request = waiter.request
        waiter.serve()
        less = self.held.put(request.owner, request.lock, request.fh)
        return self._overlapping(request.lock) if less else []

    def _next(self, group: _Group) -> Waiter | None:
        """Return one of a group who can be served; note who keeps it, if nobody."""
        group.release()
        for line in group.lines:
            waiter = line.waiters[0] if line.waiters else None
            for _ in range(2):
                if waiter is None or waiter.is_leaving:
                    break
                by = self._kept_by(waiter)
                if by is None:
                    return waiter
                if isinstance(by, Waiter):
                    group.kept_by.append(by)
                    by.keeps.add(group)
                    by = by.owner
                waiter = line.first_of(by)
        return None

    def _kept_by(self, waiter: Waiter) -> Waiter | int | None:
        """Return who keeps a request waiting: an owner, or one who waits ahead."""
        lock = waiter.request.lock
        owner = self.held.owner_against(waiter.owner, lock)
        if owner is not None or not waiter.is_patient:
            return owner
        for type_ in types_against(lock.type):
            for group in self._groups[type_].overlapping(lock.start, lock.end):
                ahead = group.keeps(waiter)
                if ahead is not None:
                    return ahead
        return None
