"""File locks for filesystems that keep them: holders and waiters.

The law: a lock is granted between two checkpoints, never across one.  So a request
that is interrupted either has its lock and reports success, or waits no more.
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

#: Seconds for which a new request lets earlier waiters go first.
PATIENCE = 1.0

#: A file's nodeid, and whether these are its flock(2) locks.  The two kinds never
#: conflict.
_Key = tuple[int, bool]

_start = attrgetter("start")

#: Added to the number of a waiter that queues; the others have a number below 0.
_IN_QUEUE = 1 << 62

#: Owners that the search for a deadlock visits at most.  The kernel visits ten
#: (MAX_DEADLK_ITERATIONS); each takes microseconds.
_MAX_DEADLOCK_OWNERS = 256


@attrs.define(eq=False)
class LockTable:
    """The locks of a filesystem's files: fcntl(2), open file description, flock(2).

    Pass every request about locks to it unchanged::

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
    them yourself to inspect them, or to share them beyond this mount.

    Give each open file its own ``fh``, not 0.  The kernel does not report the end of
    a lock of F_OFD_SETLK; it ends when the handle that set it is released.

    A request that waits for a lock does not count towards ``max_handlers``.

    Source: fs/locks.c; ``fuse_file_lock()`` and ``fuse_file_flock()`` in
    fs/fuse/file.c.
    """

    _files: dict[_Key, Locks] = attrs.field(factory=dict, init=False, repr=False)
    #: Blocked requests by owner, each with the file's locks that it waits for.
    _blocked: dict[int, dict[Waiter, Locks]] = attrs.field(
        factory=dict, init=False, repr=False
    )
    _arrivals: Iterator[int] = attrs.field(
        factory=lambda: itertools.count(1), init=False, repr=False
    )

    def getlk(self, request: Getlk) -> FileLock:
        """Return the lock that conflicts, or a lock of type UNLCK.

        Of several, the first.  A request of type UNLCK (F_OFD_GETLK) gets the
        owner's own lock.

        Source: ``posix_test_lock()``.
        """
        locks = self._files.get(_key(request))
        if locks is None:
            return FileLock()
        if request.lock.type == LockType.UNLCK:
            found = locks.held.of(request.owner, request.lock)
        else:
            found = locks.held.conflicts(request.owner, request.lock)
        return attrs.evolve(min(found, key=_start)) if found else FileLock()

    def setlk(self, request: Setlk) -> None:
        """Take or drop a lock, without waiting.

        A flock(2) lock of another type is dropped first, and lost if this fails.

        Raises:
          FuseError: EAGAIN: another owner holds a conflicting lock.
        """
        locks = self._locks(request)
        waiter = Waiter(request, next(self._arrivals) - _IN_QUEUE)
        if not _granted_at_once(locks, waiter):
            locks.give_up(waiter)
        self._tidy(request)
        if not waiter.is_granted:
            raise FuseError(errno.EAGAIN)

    async def setlkw(self, request: Setlkw) -> None:
        """Take or drop a lock; block while it conflicts.  No checkpoint if it is free.

        Waiters are granted in order.  A new request queues behind an earlier waiter
        that wants the same bytes, so that no waiter starves.  It does so for one
        second only, because the holder may wait for it: a script that holds a shared
        lock, for example, and runs another that takes the same lock.

        The cost of one waiter grows with the logarithm of their number, or with the
        number of different ranges that they want.

        Raises:
          FuseError: EDEADLK: the owners that conflict wait, directly or through
            others, for this owner.  This is checked for locks of fcntl(2), also with
            F_OFD_SETLKW, for which the kernel itself does not check.
        """
        locks = self._locks(request)
        waiter = Waiter(request, next(self._arrivals) - _IN_QUEUE)
        # Others may wait for a holder already, so a holder does not queue.
        if request.owner not in locks.held.holders:
            waiter.number += _IN_QUEUE
            waiter.is_patient = True
        try:
            if not _granted_at_once(locks, waiter):
                await self._wait(locks, waiter)
        finally:
            if not waiter.is_granted:
                locks.give_up(waiter)
            self._tidy(request)

    def flush(self, request: Flush) -> None:
        """Drop all fcntl(2) locks of the owner that closes any descriptor of the file."""
        self._drop((request.nodeid, False), {request.lock_owner})

    def release(self, request: Release) -> None:
        """Drop the flock(2) locks of an open file, and all locks set through it."""
        if request.release_flags & ReleaseFlags.FLOCK_UNLOCK:
            self._drop((request.nodeid, True), {request.lock_owner})
        for key in (request.nodeid, False), (request.nodeid, True):
            if request.fh and key in self._files:
                owners = self._files[key].held.owners_by_handle(request.fh)
                self._drop(key, set(owners))

    async def _wait(self, locks: Locks, waiter: Waiter) -> None:
        """Block until the lock is granted.  Raises EDEADLK."""
        blocked = self._blocked.setdefault(waiter.owner, {})
        try:
            self._check_deadlock(locks, waiter)
            blocked[waiter] = locks
            if waiter.is_patient:
                with trio.move_on_after(PATIENCE):
                    return await waiter.wait()
                locks.lose_patience(waiter)
                if waiter.is_granted:
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
            locks.grant_waiters(lock)
        if locks.is_idle:
            del self._files[key]

    def _tidy(self, request: Getlk) -> None:
        """Forget a file that has no lock and no waiter."""
        key = _key(request)
        if key in self._files and self._files[key].is_idle:
            del self._files[key]

    def _check_deadlock(self, locks: Locks, waiter: Waiter) -> None:
        """Check that no conflicting owner waits, directly or not, for this owner.

        Raises:
          FuseError: EDEADLK: one does.

        Source: ``posix_locks_deadlock()``.
        """
        if waiter.request.lk_flags & LockFlags.FLOCK:
            return
        seen: set[int] = set()
        steps = [(locks, waiter)]
        while steps and len(seen) < _MAX_DEADLOCK_OWNERS:
            locks, waiting = steps.pop()
            for owners in locks.held.conflicting_owners(waiting.request.lock):
                if waiter.owner in owners and waiting.owner != waiter.owner:
                    raise FuseError(errno.EDEADLK)
                for owner in (owners.keys() & self._blocked.keys()) - seen:
                    if owner != waiting.owner:
                        seen.add(owner)
                        steps += [(at, one) for one, at in self._blocked[owner].items()]


def _granted_at_once(locks: Locks, waiter: Waiter) -> bool:
    """Grant or queue a request; flock(2) drops a lock of another type first."""
    request = waiter.request
    had = locks.held.of(request.owner, request.lock)
    if request.lk_flags & LockFlags.FLOCK and any(
        lock.type != request.lock.type for lock in had
    ):
        locks.enqueue(waiter, locks.held.drop(request.owner))
    elif not locks.try_grant(waiter):
        locks.enqueue(waiter)
    return waiter.is_granted


def _key(request: Getlk) -> _Key:
    return request.nodeid, bool(request.lk_flags & LockFlags.FLOCK)
