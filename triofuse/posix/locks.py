"""File locks, for filesystems that keep them: who holds what, and who waits.

The law: a lock changes hands between two checkpoints, never across one.  So whoever
is interrupted either has the lock already and says so, or waits for it no more.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from operator import attrgetter

import attrs
import trio

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import LockFlags, LockType, ReleaseFlags
from triofuse.filesystem.replies import FileLock
from triofuse.filesystem.requests import Flush, Getlk, Release, Setlk, Setlkw
from triofuse.posix.waiting import Locks, Waiter

__all__ = ["LockTable"]

#: Seconds for which who comes later leaves what is free to who waits for more.
PATIENCE = 1.0

#: A file's nodeid, and whether its flock(2) locks are meant: the two kinds do not
#: see each other.
_Key = tuple[int, bool]

_start = attrgetter("start")

#: Added to the number of who waits in line: the others have one below 0.
_IN_LINE = 1 << 62

#: Owners on the way round a circle that are followed.  The kernel follows ten
#: (MAX_DEADLK_ITERATIONS), and each takes microseconds.
_LONGEST = 256


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

    _files: dict[_Key, Locks] = attrs.field(factory=dict, init=False, repr=False)
    #: Who waits for locks of fcntl(2) or flock(2), by owner, and where.
    _blocked: dict[int, dict[Waiter, Locks]] = attrs.field(
        factory=dict, init=False, repr=False
    )
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
            found = locks.held.of(request.owner, request.lock)
        else:
            found = locks.held.against(request.owner, request.lock)
        return attrs.evolve(min(found, key=_start)) if found else FileLock()

    def setlk(self, request: Setlk) -> None:
        """Take or drop a lock.

        A flock(2) lock of another type is dropped first, and lost if this fails.

        Raises:
          FuseError: EAGAIN: somebody has it.
        """
        locks = self._locks(request)
        waiter = Waiter(request, next(self._arrivals) - _IN_LINE)
        if not _served_at_once(locks, waiter):
            locks.leave(waiter)
        self._tidy(request)
        if not waiter.is_served:
            raise FuseError(errno.EAGAIN)

    async def setlkw(self, request: Setlkw) -> None:
        """Take or drop a lock, waiting for it; no checkpoint if it is free.

        Those who wait are served in order.  Who comes later does not take what is
        free but wanted by one who waits already, lest that one starve; yet only for
        a second, for the one who has the lock may wait for who comes now: a script
        that holds a shared lock, say, and runs another that takes it as well.

        However many wait, what one of them costs grows with the logarithm of their
        number, or with the number of different ranges that they want.

        Raises:
          FuseError: EDEADLK: those in the way wait, in the end, for this owner.
            That holds for locks of fcntl(2), also with F_OFD_SETLKW, where the
            kernel itself would not look.
        """
        locks = self._locks(request)
        waiter = Waiter(request, next(self._arrivals) - _IN_LINE)
        # A holder may be waited for already: nothing is gained by holding it up.
        if request.owner not in locks.held.holders:
            waiter.number += _IN_LINE
            waiter.is_patient = True
        try:
            if not _served_at_once(locks, waiter):
                await self._wait(locks, waiter)
        finally:
            if not waiter.is_served:
                locks.leave(waiter)
            self._tidy(request)

    def flush(self, request: Flush) -> None:
        """Drop the fcntl(2) locks of who closes a descriptor, whichever it is."""
        self._drop((request.nodeid, False), {request.lock_owner})

    def release(self, request: Release) -> None:
        """Drop the flock(2) locks of an open file, and all that came through it."""
        if request.release_flags & ReleaseFlags.FLOCK_UNLOCK:
            self._drop((request.nodeid, True), {request.lock_owner})
        for key in (request.nodeid, False), (request.nodeid, True):
            if request.fh and key in self._files:
                owners = self._files[key].held.owners_through(request.fh)
                self._drop(key, set(owners))

    async def _wait(self, locks: Locks, waiter: Waiter) -> None:
        """Wait, where that is no deadlock."""
        blocked = self._blocked.setdefault(waiter.owner, {})
        try:
            self._check_deadlock(locks, waiter)
            blocked[waiter] = locks
            if waiter.is_patient:
                with trio.move_on_after(PATIENCE):
                    return await waiter.wait()
                locks.hurry(waiter)
                if waiter.is_served:
                    return None
                self._check_deadlock(locks, waiter)
            return await waiter.wait()
        finally:
            blocked.pop(waiter, None)
            if not blocked:
                self._blocked.pop(waiter.owner, None)

    def _locks(self, request: Getlk) -> Locks:
        return self._files.setdefault(_key(request), Locks())

    def _drop(self, key: _Key, owners: set[int]) -> None:
        locks = self._files.get(key)
        if locks is None:
            return
        dropped = [locks.held.drop(owner) for owner in owners]
        for lock in dropped:
            locks.settle(lock)
        if locks.is_idle:
            del self._files[key]

    def _tidy(self, request: Getlk) -> None:
        """Forget a file of which nobody has or wants anything."""
        key = _key(request)
        if key in self._files and self._files[key].is_idle:
            del self._files[key]

    def _check_deadlock(self, locks: Locks, waiter: Waiter) -> None:
        """See whether one of those in the way waits, over others, for this owner.

        Raises:
          FuseError: EDEADLK: one does.

        Source: ``posix_locks_deadlock()``.
        """
        if waiter.request.lk_flags & LockFlags.FLOCK:
            return
        seen: set[int] = set()
        steps = [(locks, waiter)]
        while steps and len(seen) < _LONGEST:
            locks, waiting = steps.pop()
            for owners in locks.held.owners_against(waiting.request.lock):
                if waiter.owner in owners and waiting.owner != waiter.owner:
                    raise FuseError(errno.EDEADLK)
                for owner in (owners.keys() & self._blocked.keys()) - seen:
                    if owner != waiting.owner:
                        seen.add(owner)
                        steps += [(at, one) for one, at in self._blocked[owner].items()]


def _served_at_once(locks: Locks, waiter: Waiter) -> bool:
    """Serve a request, or have it wait; flock(2) drops a lock of another type first."""
    request = waiter.request
    had = locks.held.of(request.owner, request.lock)
    if request.lk_flags & LockFlags.FLOCK and any(
        lock.type != request.lock.type for lock in had
    ):
        locks.join(waiter, locks.held.drop(request.owner))
    elif not locks.take(waiter):
        locks.join(waiter)
    return waiter.is_served


def _key(request: Getlk) -> _Key:
    return request.nodeid, bool(request.lk_flags & LockFlags.FLOCK)
