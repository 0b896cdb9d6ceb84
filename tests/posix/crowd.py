"""Owners of locks who wait for each other."""

from __future__ import annotations

import trio
import trio.testing

import triofuse as t
from tests.posix.owners import END, UN, Owner
from triofuse import LockTable


class Crowd:
    """Owners who wait in tasks of their own; notes who has got what, in order."""

    def __init__(self, nursery: trio.Nursery, *, flock: bool = False) -> None:
        self.nursery = nursery
        self.table = LockTable()
        self.owners = [Owner(self.table, n, fh=n, flock=flock) for n in range(1, 9)]
        self.got: list[int] = []
        self.failed: list[tuple[int, int | None]] = []

    def __getitem__(self, number: int) -> Owner:
        return self.owners[number]

    async def wants(
        self, number: int, kind: int, start: int = 0, end: int = END
    ) -> trio.CancelScope:
        """Let an owner wait for a lock; return what an interrupt would cancel."""
        scope = trio.CancelScope()
        self.nursery.start_soon(self._wait, scope, number, kind, start, end)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _wait(
        self, scope: trio.CancelScope, number: int, kind: int, start: int, end: int
    ) -> None:
        with scope:
            try:
                await self[number].setlkw(kind, start, end)
            except t.FuseError as exc:
                self.failed.append((number, exc.errno))
            else:
                self.got.append(number)

    async def unlocks(self, number: int, start: int = 0, end: int = END) -> None:
        assert self[number].setlk(UN, start, end)
        await trio.testing.wait_all_tasks_blocked()
