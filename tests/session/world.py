"""A mount of `Caching`, and ways to send notifications from it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio
import trio.lowlevel

import triofuse
from tests.session.caching import Caching

Call = Callable[[], Awaitable[object]]


@attrs.frozen
class World:
    """A mount, and the way in which its filesystem sends a notification."""

    filesystem: Caching
    session: triofuse.Session
    root: Path
    tell: Callable[[Call], Awaitable[None]]

    @property
    def notifier(self) -> triofuse.Notifier:
        return self.filesystem.notifier

    async def read(self) -> bytes:
        return await trio.to_thread.run_sync((self.root / "file").read_bytes)

    async def stat(self, name: str = "file") -> os.stat_result:
        return await trio.to_thread.run_sync(os.stat, self.root / name)

    async def eventually(self, condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def mounted(
    mountpoint: str, where: str = "outside", *, strict: bool = True
) -> AsyncIterator[World]:
    filesystem = Caching()

    async def inside(call: Call) -> None:
        filesystem.action = call
        with suppress(FileNotFoundError):
            await trio.to_thread.run_sync(os.stat, f"{mountpoint}/trigger")

    async def outside(call: Call) -> None:
        await call()

    with trio.fail_after(20):
        async with triofuse.mount(filesystem, mountpoint, strict=strict) as session:
            tell = inside if where == "inside" else outside
            yield World(filesystem, session, Path(mountpoint), tell)
