"""File locks, for filesystems that keep them: who holds what, and who waits.

The law: a lock changes hands between two checkpoints, never across one.  So whoever
is interrupted either has the lock already and says so, or waits for it no more.
"""

from __future__ import annotations

import errno
import itertools
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import LockFlags, LockType, ReleaseFlags
from triofuse.filesystem.replies import FileLock
from triofuse.filesystem.requests import Flush, Getlk, Release, Setlk, Setlkw

__all__ = ["LockTable"]

#: Seconds for which who comes later leaves what is free to who waits for more.
PATIENCE = 1.0

#: A file's nodeid, and whether its flock(2) locks are meant: the two kinds do not
#: see each other.
_Key = tuple[int, bool]

_start = attrgetter("start")
_end = attrgetter("end")
_number = attrgetter("number")


@attrs.define(eq=False)
class LockTable:
    """The locks of a filesystem's files: fcntl(2), open file description, flock(2).

    Hand it every request that has to do with locks, as it is::

        class Shared(triofuse.Filesystem):
            def __init__(self) -> None:
                self._locks = triofuse.LockTable()

            async def getlk(self, request: triofuse.Getlk) -> triofuse.FileLock:
                return self._locks.getlk(request)

            async def setlk(self, request: triofuse.Setlk) -> None:
                self._locks.setlk(request)

            async def setlkw(self, request: triofuse.Setlkw) -> None:
                await self._locks.setlkw(request)

            async def flush(self, request: triofuse.Flush) -> None:
                self._locks.flush(request)

            async def release(self, request: triofuse.Release) -> None:
                self._locks.release(request)

    A filesystem without these methods has locks, too: the kernel keeps them.  Keep
    them yourself where they are to be seen, or shared with others than this mount.

    Give each open file an ``fh`` of its own other than 0.  The kernel does not say
    when a lock of F_OFD_SETLK ends; it ends with the handle that it came through.

    Each request that waits has a handler of the session to itself: let
    ``max_handlers`` be more than will ever wait, or nobody can unlock.

    Source: fs/locks.c; ``fuse_file_lock()`` and ``fuse_file_flock()`` in
    fs/fuse/file.c.
    """

    _files: dict[_Key, _Locks] = attrs.field(factory=dict, init=False, repr=False)
    _arrivals: Iterator[int] = attrs.field(
        factory=lambda: itertools.count(1), init=False, repr=False
    )

    def getlk(self, request: Getlk) -> FileLock:
        """Return what is in the way of a lock, or a lock of type UNLCK.

        The first of several.  Who asks about UNLCK (F_OFD_GETLK) is told what it
        holds there itself.

        Source: ``posix_test_lock()``.
        """
        locks = self._files.get(_key(request))
        if locks is None:
            return FileLock()
        if request.lock.type == LockType.UNLCK:
            found = list(locks.held_by(request))
        else:
            found = [lock for _, lock in locks.in_the_way(request)]
        return attrs.evolve(min(found, key=_start)) if found else FileLock()

    def setlk(self, request: Setlk) -> None:
        """Take or drop a lock.

        A flock(2) lock of another type is dropped first, and lost if this fails.

        Raises:
          FuseError: EAGAIN: somebody has it.
        """
        waiter = _Waiter(request)
        if not self._ask(waiter):
            self._leave(waiter)
            raise FuseError(errno.EAGAIN)

    async def setlkw(self, request: Setlkw) -> None:
        """Take or drop a lock, waiting for it; no checkpoint if it is free.

        Those who wait are served in order.  Who comes later does not take what is
        free but wanted by one who waits already, lest that one starve; yet only for
        a second, for the one who has the lock may wait for who comes now: a script
        that holds a shared lock, say, and runs another that takes it as well.

        Raises:
          FuseError: EDEADLK: those in the way wait, in the end, for this owner.
            That holds for locks of fcntl(2), also with F_OFD_SETLKW, where the
            kernel itself would not look.
        """
        waiter = _Waiter(request)
        if self._locks(request).holders.keys() >= {request.owner}:
            # It may be waited for already: nothing is gained by holding it up.
            return await self._turn(waiter)
        waiter.number = next(self._arrivals)
        waiter.is_patient = True
        with trio.move_on_after(PATIENCE):
            return await self._turn(waiter)
        waiter.is_patient = False
        return await self._turn(waiter)

    def flush(self, request: Flush) -> None:
        """Drop the fcntl(2) locks of who closes a descriptor, whichever it is."""
        self._drop((request.nodeid, False), {request.lock_owner})

    def release(self, request: Release) -> None:
        """Drop the flock(2) locks of an open file, and all that came through it."""
        if request.release_flags & ReleaseFlags.FLOCK_UNLOCK:
            self._drop((request.nodeid, True), {request.lock_owner})
        for key in (request.nodeid, False), (request.nodeid, True):
            if request.fh and key in self._files:
                self._drop(key, self._files[key].owners_through(request.fh))

    def _locks(self, request: Getlk) -> _Locks:
        return self._files.setdefault(_key(request), _Locks())

    def _ask(self, waiter: _Waiter) -> bool:
        """Queue for a lock; return whether there was no need to wait."""
        request = waiter.request
        locks = self._locks(request)
        if request.lk_flags & LockFlags.FLOCK:
            locks.drop_other_type(request)
        insort(locks.queue, waiter, key=_number)
        self._settle(_key(request))
        return waiter.is_served

    def _leave(self, waiter: _Waiter) -> None:
        key = _key(waiter.request)
        self._files[key].queue.remove(waiter)
        self._settle(key)

    async def _turn(self, waiter: _Waiter) -> None:
        """Queue and wait; whoever is cancelled is in the queue no more."""
        if self._ask(waiter):
            return
        if self._is_deadlock(waiter.request):
            self._leave(waiter)
            raise FuseError(errno.EDEADLK)

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._leave(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        waiter.task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        finally:
            waiter.task = None

    def _drop(self, key: _Key, owners: set[int]) -> None:
        locks = self._files.get(key)
        if locks is None:
            return
        for owner in owners & locks.holders.keys():
            del locks.holders[owner]
        self._settle(key)

    def _settle(self, key: _Key) -> None:
        """Serve who waits for a file, and forget the file when nobody is left."""
        locks = self._files[key]
        locks.serve()
        if not locks.holders and not locks.queue:
            del self._files[key]

    def _is_deadlock(self, request: Getlk) -> bool:
        """Whether one of those in the way waits, over others, for this owner.

        Source: ``posix_locks_deadlock()``.
        """
        if request.lk_flags & LockFlags.FLOCK:
            return False
        blocked: dict[int, list[tuple[_Locks, Getlk]]] = defaultdict(list)
        for (_, is_flock), locks in self._files.items():
            for waiter in () if is_flock else locks.queue:
                blocked[waiter.request.owner].append((locks, waiter.request))
        seen: set[int] = set()
        steps = [(self._locks(request), request)]
        while steps:
            locks, waiting = steps.pop()
            owners = {owner for owner, _ in locks.in_the_way(waiting)} - seen
            if request.owner in owners:
                return True
            seen |= owners
            steps += (step for owner in owners for step in blocked[owner])
        return False


@attrs.define(eq=False, repr=False)
class _Waiter:
    """A request in a queue.

    Attributes:
      number: Its place: the order of arrival, 0 for who is not to wait in line.
      is_patient: Whether it lets those ahead go first although it could be served.
      is_served: Whether it has its lock.
      task: Whom to wake then.
    """

    request: Getlk
    number: int = 0
    is_patient: bool = False
    is_served: bool = False
    task: trio.lowlevel.Task | None = None

    def serve(self) -> None:
        """Wake the task, which has its lock."""
        self.is_served = True
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)


@attrs.define(eq=False, repr=False)
class _Holder:
    """What one owner holds of one file.

    Attributes:
      ranges: Sorted; they neither overlap nor touch one of their type.
      handles: The handles through which they came.
    """

    ranges: list[FileLock] = attrs.Factory(list)
    handles: set[int] = attrs.Factory(set)

    def put(self, new: FileLock) -> None:
        """Take, change or drop a range: what is there gives way or joins."""
        first = bisect_left(self.ranges, new.start - 1, key=_end)
        last = bisect_right(self.ranges, new.end + 1, key=_start)
        before, after, start, end = [], [], new.start, new.end
        for old in self.ranges[first:last]:
            if old.type == new.type:
                start, end = min(start, old.start), max(end, old.end)
                continue
            if old.start < new.start:
                before.append(attrs.evolve(old, end=min(old.end, new.start - 1)))
            if old.end > new.end:
                after.append(attrs.evolve(old, start=max(old.start, new.end + 1)))
        if new.type != LockType.UNLCK:
            before.append(FileLock(start, end, new.type, new.pid))
        self.ranges[first:last] = before + after

    def overlapping(self, lock: FileLock) -> list[FileLock]:
        """Return what is held of the bytes of a lock."""
        first = bisect_left(self.ranges, lock.start, key=_end)
        last = bisect_right(self.ranges, lock.end, key=_start)
        return self.ranges[first:last]


@attrs.define(eq=False, repr=False)
class _Locks:
    """The locks of one kind on one file.

    Attributes:
      holders: Who has some.
      queue: Who waits for some, in order.
    """

    holders: dict[int, _Holder] = attrs.Factory(dict)
    queue: list[_Waiter] = attrs.Factory(list)

    def held_by(self, request: Getlk) -> list[FileLock]:
        """Return what the owner itself has of the bytes."""
        holder = self.holders.get(request.owner)
        return holder.overlapping(request.lock) if holder else []

    def in_the_way(self, request: Getlk) -> Iterator[tuple[int, FileLock]]:
        """Yield the owners who keep a request waiting, and by what."""
        for owner, holder in self.holders.items():
            if owner != request.owner:
                for lock in holder.overlapping(request.lock):
                    if _exclude(lock, request.lock):
                        yield owner, lock

    def owners_through(self, fh: int) -> set[int]:
        """Return who has locks that came through a handle."""
        return {owner for owner, held in self.holders.items() if fh in held.handles}

    def drop_other_type(self, request: Getlk) -> None:
        """Drop what the owner has, unless it is what it asks for."""
        if any(lock.type != request.lock.type for lock in self.held_by(request)):
            del self.holders[request.owner]

    def serve(self) -> None:
        """Give everybody what can be had, in order, until nothing more can."""
        found = True
        while found:  # who is served may give up something: WRLCK for RDLCK
            found = False
            ahead: list[_Waiter] = []
            for waiter in self.queue:
                if self._can_serve(waiter, ahead):
                    self._put(waiter.request)
                    waiter.serve()
                    found = True
                else:
                    ahead.append(waiter)
            self.queue = ahead

    def _can_serve(self, waiter: _Waiter, ahead: list[_Waiter]) -> bool:
        request = waiter.request
        if any(self.in_the_way(request)):
            return False
        return not waiter.is_patient or not any(
            other.request.owner != request.owner
            and _exclude(other.request.lock, request.lock)
            for other in ahead
        )

    def _put(self, request: Getlk) -> None:
        holder = self.holders.setdefault(request.owner, _Holder())
        holder.put(request.lock)
        holder.handles.add(request.fh)
        if not holder.ranges:
            del self.holders[request.owner]


def _key(request: Getlk) -> _Key:
    return request.nodeid, bool(request.lk_flags & LockFlags.FLOCK)


def _exclude(one: FileLock, other: FileLock) -> bool:
    """Whether two locks of different owners cannot be at once."""
    return (
        one.start <= other.end
        and other.start <= one.end
        and LockType.WRLCK in (one.type, other.type)
        and LockType.UNLCK not in (one.type, other.type)
    )
