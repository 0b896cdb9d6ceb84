"""Lookup counts balance, whatever clients do and whenever they are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
import trio.lowlevel

import triofuse as t
from tests.kernel.recorder import mounted, off_thread, until
from tests.kernel.store import Store

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to drop the kernel's caches"),
]

#: Makes names, looks at them and lists them, for ever.  A listing of long names takes
#: many pages, the last entry of each of which does not fit.
CLIENT = """
import contextlib, itertools, os, sys
os.chdir(sys.argv[1])
me = sys.argv[2] + "-" + "n" * 150
for number in itertools.count():
    # The others take names away, and who is killed leaves things half done.
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        os.mkdir(f"{me}-{number}.d")
        os.close(os.open(f"{me}-{number}", os.O_CREAT | os.O_WRONLY))
        os.symlink("x", f"{me}-{number}.l")
        with os.scandir(".") as entries:
            next(entries)  # the rest is never read
        names = os.listdir(".")
        for name in names[:20]:
            os.lstat(name)
        os.rename(f"{me}-{number}", f"{me}-{number}.f")
        if len(names) > 300:
            os.unlink(sorted(n for n in names if n.endswith(".f"))[0])
"""


class Slow(Store):
    """Holds answers back when it has been asked enough, until the callers have gone.

    Attributes:
      calls: How often a method was called, by its name.
      calls_left: How many are answered before all are held back.
      held: How many answers are held back.
      gone: Set when the callers have gone.
    """

    def __init__(self) -> None:
        super().__init__(valid=1)
        self.calls: Counter[str] = Counter()
        self.calls_left = 0
        self.held = 0
        self.gone = trio.Event()

    async def _before(self, name: str) -> None:
        self.calls[name] += 1
        self.calls_left -= 1
        await trio.lowlevel.checkpoint()

    async def _after(self) -> None:
        """Finish, although the caller may have been killed."""
        if self.calls_left <= 0:
            self.held += 1
            with trio.CancelScope(shield=True):
                await self.gone.wait()

    async def lookup(self, request: t.Lookup) -> t.Entry:
        await self._before("lookup")
        entry = await super().lookup(request)
        await self._after()
        return entry

    async def create(self, request: t.Create) -> tuple[t.Entry, t.Opened]:
        await self._before("create")
        created = await super().create(request)
        await self._after()
        return created

    async def mkdir(self, request: t.Mkdir) -> t.Entry:
        await self._before("mkdir")
        entry = await super().mkdir(request)
        await self._after()
        return entry

    async def symlink(self, request: t.Symlink) -> t.Entry:
        await self._before("symlink")
        return await super().symlink(request)

    async def readdirplus(self, request: t.Readdirplus) -> Iterable[t.DirEntry]:
        await self._before("readdirplus")
        entries = list(await super().readdirplus(request))  # each of them a lookup
        await self._after()
        return entries


def start(root: Path, me: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", CLIENT, str(root), me])


async def storm(slow: Slow, root: Path, rounds: int, calls: int) -> int:
    """Let many clients work, kill them all in the midst of it, again and again.

    Returns:
      How many answers came too late for those who wanted them.
    """
    too_late = 0
    for number in range(rounds):
        slow.held, slow.calls_left, slow.gone = 0, calls, trio.Event()
        clients = [
            await off_thread(start, root, f"{number}-{client}") for client in range(3)
        ]
        try:
            await until(lambda: slow.held)
            too_late += slow.held
        finally:
            for client in clients:
                client.kill()
            slow.gone.set()
            with trio.CancelScope(shield=True):
                for client in clients:
                    await off_thread(client.wait)
    return too_late


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("2")


@pytest.mark.shows("FUSE_FORGET", "FUSE_BATCH_FORGET")
async def test_lookups_are_all_forgotten_after_a_storm_of_clients(
    mountpoint: str,
) -> None:
    slow = Slow()

    async with mounted(slow, mountpoint) as root:
        too_late = await storm(slow, root, rounds=8, calls=150)
        await off_thread(drop_caches)
        await until(lambda: not any(slow.lookups.values()))

    kinds = {"lookup", "create", "mkdir", "symlink", "readdirplus"}
    assert slow.calls.keys() == kinds
    assert too_late >= 8
    assert slow.forgotten.total() > 500
