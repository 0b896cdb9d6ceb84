"""A fault that takes a real mount, and the stage on which it happens."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from tests.faults.fault import holding, told
from tests.faults.victim import FINE, Victim


@attrs.define(eq=False)
class Stage:
    """A place to mount, and a filesystem."""

    mountpoint: str
    victim: Victim = attrs.Factory(Victim)

    def path(self, name: str = "name") -> str:
        """Return a path in the mount."""
        return f"{self.mountpoint}/{name}"

    async def call(self, function: Callable[..., object], *args: object) -> str:
        """Be the victim, from a thread; return what it got."""
        try:
            # Should the fault not end it, the test must.
            thread = trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
            return told(await thread)
        except OSError as exc:
            return told(exc)

    async def read(self) -> str:
        """Read the victim's file."""
        return await self.call(_read_once, self.path())

    async def serve_others(self) -> None:
        """Be somebody else, who must notice nothing."""
        other = Path(self.path("other"))
        assert await trio.to_thread.run_sync(other.read_bytes) == FINE

    async def read_and(self, act: Callable[[], Awaitable[object]]) -> str:
        """Read a file whose handler waits, and do something meanwhile."""
        self.victim.wrong["read"] = holding
        answers: list[str] = []

        async def read() -> None:
            answers.append(await self.read())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await self.victim.arrived.wait()
            await act()
        return answers[0]


def _read_once(path: str) -> bytes:
    """Read a file; what close(2) says does not count."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 100)
    finally:
        with suppress(OSError):
            os.close(fd)


@attrs.frozen
class MountedFault:
    """As `Fault`, on a mount: ``happen`` makes it and ends it."""

    what: str
    victim: str
    happen: Callable[[Stage], Awaitable[str]]
    logged: str = ""
    mounts: bool = True

    @property
    def test_id(self) -> str:
        """The name of its test."""
        return self.what.replace(" ", "-").replace("/", "-")


def command(*words: str) -> Callable[[Stage], Awaitable[None]]:
    """Return what runs a command on the mountpoint."""

    async def act(stage: Stage) -> None:
        await trio.run_process(
            [*words, stage.mountpoint], check=False, capture_stderr=True
        )

    return act


async def abort(stage: Stage) -> None:
    """Abort the connection, as the file of fusectl does."""
    control = Path(stage.mountpoint).with_name("fusectl")
    device = await trio.to_thread.run_sync(os.stat, stage.mountpoint)
    control.mkdir()
    await trio.run_process(["mount", "-t", "fusectl", "none", str(control)])
    try:
        (control / str(os.minor(device.st_dev)) / "abort").write_text("1")
    finally:
        await trio.run_process(["umount", str(control)])
