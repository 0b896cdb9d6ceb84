"""The requests that wait for locks of one file, and what blocks each of them.

The law: requests for the same bytes are blocked by the same owner, except the requests
of that owner itself.  So of a group at most two are examined: the first, and the first
of the owner that blocks the first.
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
from triofuse.posix.held import Held, conflicting_types
from triofuse.posix.intervals import Intervals

__all__ = ["Locks", "Waiter"]

_number = attrgetter("number")


@attrs.define(eq=False, repr=False)
class Waiter:
    """A request that may have to wait.

    Attributes:
      request: The lock request.
      number: Its place in the order of arrival; below 0 if it does not queue.
      is_patient: Whether it lets earlier waiters go first although it could be
        granted.
      is_granted: Whether it has its lock.
      task: The task to wake when it is granted; None once that is cancelled.
      is_cancelled: Whether its task was cancelled and has not left yet.
      blocks: Groups whose first waiter this one blocks.
    """

    request: Getlk
    number: int = 0
    is_patient: bool = False
    is_granted: bool = False
    task: trio.lowlevel.Task | None = None
    is_cancelled: bool = False
    blocks: set[_Group] = attrs.Factory(set)

    @property
    def owner(self) -> int:
        """The owner that the lock is for."""
        return self.request.owner

    async def wait(self) -> None:
        """Block until it is granted; after a cancellation it is not granted any more."""

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self.is_cancelled = True
            return trio.lowlevel.Abort.SUCCEEDED

        self.is_cancelled = False
        self.task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        finally:
            self.task = None

    def grant(self) -> None:
        """Mark the lock as granted and wake the task."""
        self.is_granted = True
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)


@attrs.define(eq=False, repr=False)
class _WaitQueue:
    """Waiters in order of arrival, also by owner."""

    waiters: list[Waiter] = attrs.Factory(list)
    _by_owner: dict[int, list[Waiter]] = attrs.Factory(dict)

    def add(self, waiter: Waiter) -> None:
        insort(self.waiters, waiter, key=_number)
        insort(self._by_owner.setdefault(waiter.owner, []), waiter, key=_number)

    def remove(self, waiter: Waiter) -> None:
        own = self._by_owner[waiter.owner]
        for queue in (self.waiters, own):
            del queue[bisect_left(queue, waiter.number, key=_number)]
        if not own:
            del self._by_owner[waiter.owner]

    def first_of(self, owner: int) -> Waiter | None:
        own = self._by_owner.get(owner)
        return own[0] if own else None

    def first_but(self, owner: int) -> Waiter | None:
        return next((one for one in self.waiters if one.owner != owner), None)


@attrs.define(eq=False, repr=False)
class _Group:
    """The waiters for the same range and type of lock.

    Attributes:
      lock: The range and type that they want.
      patient: Waiters that let earlier ones go first.
      impatient: Waiters that only conflicting locks block.
      blocked_by: Other waiters that block the first of this group.
    """

    lock: FileLock
    patient: _WaitQueue = attrs.Factory(_WaitQueue)
    impatient: _WaitQueue = attrs.Factory(_WaitQueue)
    blocked_by: list[Waiter] = attrs.Factory(list)

    @property
    def queues(self) -> tuple[_WaitQueue, _WaitQueue]:
        return self.impatient, self.patient

    def queue_of(self, waiter: Waiter) -> _WaitQueue:
        return self.patient if waiter.is_patient else self.impatient

    def number(self) -> int | None:
        """Return the number of the first waiter, None if there is none."""
        impatient, patient = self.impatient.waiters, self.patient.waiters
        if impatient and patient:
            return min(impatient[0].number, patient[0].number)
        first = impatient or patient
        return first[0].number if first else None

    def is_blocked_by(self, request: Getlk) -> bool:
        """Whether a lock that was just granted blocks the whole group."""
        return (
            request.lock.type in conflicting_types(self.lock.type)
            and request.lock.start <= self.lock.end
            and self.lock.start <= request.lock.end
            and not any(queue.first_of(request.owner) for queue in self.queues)
        )

    def waiter_ahead_of(self, waiter: Waiter) -> Waiter | None:
        """Return a waiter of another owner that is ahead of this one."""
        for queue in self.queues:
            first = queue.first_but(waiter.owner)
            if first is not None and first.number < waiter.number:
                return first
        return None

    def release(self) -> None:
        """Forget which waiters block this group."""
        for waiter in self.blocked_by:
            waiter.blocks.discard(self)
        self.blocked_by.clear()


@attrs.define(eq=False, repr=False)
class Locks:
    """The locks of one kind on one file, and their waiters.

    Attributes:
      held: The locks that are held.
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
        """Whether there is no lock and no waiter."""
        return not self.held.holders and not any(self._groups.values())

    @property
    def queue(self) -> list[Waiter]:
        """All waiters, in order."""
        groups = [group for groups in self._groups.values() for group in groups]
        queues = [queue for group in groups for queue in group.queues]
        return sorted((one for queue in queues for one in queue.waiters), key=_number)

    def try_grant(self, waiter: Waiter) -> bool:
        """Grant a request if nothing blocks it; return whether it was granted."""
        if self._blocked_by(waiter) is not None:
            return False
        self._grant_waiters(self._grant(waiter))
        return True

    def enqueue(self, waiter: Waiter, dropped: FileLock | None = None) -> None:
        """Queue a request that may have dropped a lock first; grant what is free now."""
        others = [] if dropped is None else self._overlapping(dropped)
        if waiter.request.lock.type == LockType.UNLCK:
            waiter.grant()
            return self._grant_waiters(others)
        group = self._group(waiter.request.lock)
        group.queue_of(waiter).add(waiter)
        return self._grant_waiters([group, *others])

    def give_up(self, waiter: Waiter) -> None:
        """Remove a waiter; grant those that it blocked."""
        group = self._group(waiter.request.lock)
        self._grant_waiters([*self._remove(group, waiter), *waiter.blocks])

    def lose_patience(self, waiter: Waiter) -> None:
        """Let only held locks block a waiter from now on, no earlier waiter."""
        group = self._group(waiter.request.lock)
        group.patient.remove(waiter)
        waiter.is_patient = waiter.is_cancelled = False
        group.impatient.add(waiter)
        self._grant_waiters([group])

    def grant_waiters(self, dropped: FileLock | None) -> None:
        """Grant waiters for a range that was just unlocked; None is no range."""
        if dropped is not None:
            self._grant_waiters(self._overlapping(dropped))

    def _group(self, lock: FileLock) -> _Group:
        groups = self._groups[lock.type]
        group = groups.get(lock.start, lock.end)
        if group is None:
            group = _Group(lock)
            groups.add(lock.start, lock.end, group)
        return group

    def _remove(self, group: _Group, waiter: Waiter) -> list[_Group]:
        """Remove a waiter from its group; return the group unless it is empty."""
        group.queue_of(waiter).remove(waiter)
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

    def _grant_waiters(self, groups: Iterable[_Group]) -> None:
        """Grant what can be granted in some groups, in order of arrival."""
        heap: list[tuple[int, int, _Group]] = []
        entries = itertools.count()  # breaks ties, as groups do not compare

        def push(group: _Group) -> None:
            if (number := group.number()) is not None:
                heapq.heappush(heap, (number, next(entries), group))

        for group in set(groups):
            push(group)
        granted: Getlk | None = None
        while heap:
            _, _, group = heapq.heappop(heap)
            if granted is not None and group.is_blocked_by(granted):
                continue
            waiter = self._next_grantable(group)
            if waiter is not None:
                granted = waiter.request
                for other in (*self._remove(group, waiter), *self._grant(waiter)):
                    push(other)

    def _grant(self, waiter: Waiter) -> list[_Group]:
        """Grant a waiter its lock; return the groups that this may unblock."""
        request = waiter.request
        waiter.grant()
        less = self.held.put(request.owner, request.lock, request.fh)
        return self._overlapping(request.lock) if less else []

    def _next_grantable(self, group: _Group) -> Waiter | None:
        """Return a waiter that can be granted; else record what blocks the group."""
        group.release()
        for queue in group.queues:
            waiter = queue.waiters[0] if queue.waiters else None
            for _ in range(2):
                if waiter is None or waiter.is_cancelled:
                    break
                by = self._blocked_by(waiter)
                if by is None:
                    return waiter
                if isinstance(by, Waiter):
                    group.blocked_by.append(by)
                    by.blocks.add(group)
                    by = by.owner
                waiter = queue.first_of(by)
        return None

    def _blocked_by(self, waiter: Waiter) -> Waiter | int | None:
        """Return what blocks a request: an owner, or a waiter ahead of it; else None."""
        lock = waiter.request.lock
        owner = self.held.conflicting_owner(waiter.owner, lock)
        if owner is not None or not waiter.is_patient:
            return owner
        for type_ in conflicting_types(lock.type):
            for group in self._groups[type_].overlapping(lock.start, lock.end):
                ahead = group.waiter_ahead_of(waiter)
                if ahead is not None:
                    return ahead
        return None
