"""memfs with bad luck: it dawdles, fails, and now and then does not give way."""

from __future__ import annotations

import errno
import random
from collections import Counter
from typing import Any

import attrs
import trio

import triofuse as t
from memfs import MemFS
from triofuse.filesystem.filesystem import implements
from triofuse.tree.inode import Inode
from triofuse.wire.operations import OPERATIONS

#: A killed client interrupts its own FLUSH, and nobody interrupts a RELEASE.
_SHIELDED = {"flush", "release", "releasedir"}

INJECTED = "injected"


@attrs.frozen
class Luck:
    """How often things go wrong, each a probability.

    Attributes:
      dawdle: Waits up to 3 ms, before and after.
      sleep: Waits for 60 s, or until it is cancelled.
      stubborn: Waits for 1.5 s, and is not cancelled.
      bug: Raises a ValueError.
      error: Raises an OSError.
    """

    dawdle: float = 0.3
    sleep: float = 0.0
    stubborn: float = 0.0
    bug: float = 0.0
    error: float = 0.0


class Jittery(MemFS):
    """Counts what it was asked and what it did to its callers."""

    def __init__(self, luck: Luck, seed: int) -> None:
        super().__init__(size=1 << 26)
        self.luck = luck
        self.calm = False
        self.chance = random.Random(seed)
        self.calls: Counter[str] = Counter()
        self.mishaps: Counter[str] = Counter()

    async def before(self, method: str) -> None:
        """Be late or fail, while nothing has been done yet."""
        self.calls[method] += 1
        luck, chance = self.luck, self.chance
        if self.calm:
            return
        if chance.random() < luck.dawdle:
            await trio.sleep(chance.uniform(0, 0.003))
        if method in _SHIELDED:
            return
        if chance.random() < luck.bug:
            self.mishaps["bug"] += 1
            raise ValueError(INJECTED)
        if chance.random() < luck.error:
            self.mishaps["error"] += 1
            raise t.FuseError(chance.choice([errno.ENOSPC, errno.EIO, errno.EAGAIN]))
        if chance.random() < luck.sleep:
            self.mishaps["sleep"] += 1
            await trio.sleep(60)
        if chance.random() < luck.stubborn:
            self.mishaps["stubborn"] += 1
            with trio.CancelScope(shield=True):
                await trio.sleep(1.5)

    async def after(self) -> None:
        """Be late with what is done, although the caller may have gone."""
        if not self.calm and self.chance.random() < self.luck.dawdle:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.chance.uniform(0, 0.003))

    def leftovers(self) -> list[str]:
        """Return the nodes that the kernel knows or has open, but for the root."""
        return [
            f"{inode.nodeid}: {inode.nlookup} lookups, {inode.nopen} opens"
            for number, inode in self._inodes.items()
            if (number != 1 and inode.nlookup) or inode.nopen or inode.nlookup < 0
        ]

    def numbers(self) -> list[int]:
        """Return the nodes there are."""
        return list(self._inodes)

    def _entry(self, inode: Inode) -> t.Entry:
        """Have the kernel keep neither names nor attributes."""
        super()._entry(inode)
        inode.attr.attr_valid = 0
        inode.set_entry_valid(0)
        return inode

    def _absence(self, directory: Inode, name: str) -> t.Entry:
        return t.Entry.negative(0)


def _unlucky(name: str) -> Any:
    inner = getattr(MemFS, name)

    async def method(self: Jittery, request: t.Request) -> Any:
        with trio.CancelScope(shield=name in _SHIELDED):
            await self.before(name)
        value = await inner(self, request)
        await self.after()
        return value

    return method


for _row in OPERATIONS.values():
    if implements(MemFS(size=1 << 20), _row.method):
        setattr(Jittery, _row.method, _unlucky(_row.method))
