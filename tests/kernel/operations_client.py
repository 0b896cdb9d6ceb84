"""A client process on a real mount, which does one system call after another."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import trio

import triofuse as t

R = TypeVar("R")

_ROOT = Path(__file__).parents[2]
_COMMAND = [sys.executable, "-m", "tests.kernel.operations_syscalls"]


def _start() -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(_COMMAND, stdin=pipe, stdout=pipe, cwd=_ROOT)


@attrs.define(eq=False)
class Client:
    """Keeps its files open, and its identity, from one call to the next."""

    process: subprocess.Popen[bytes] = attrs.field(factory=_start)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def call(self, function: Callable[..., R], *arguments: object) -> R:
        """Have a function of a module called there, return or raise what it did."""
        ask = self._ask
        return await trio.to_thread.run_sync(
            ask, function, arguments, abandon_on_cancel=True
        )

    async def errno_of(self, function: Callable[..., Any], *arguments: object) -> int:
        """Return the errno with which a call fails."""
        try:
            value = await self.call(function, *arguments)
        except OSError as exc:
            return exc.errno or 0
        raise AssertionError(f"{function} succeeds with {value!r}")

    async def last_call(self, function: Callable[..., Any], *arguments: object) -> None:
        """Make the call in which the process dies."""
        try:
            value = await self.call(function, *arguments)
        except EOFError:
            return
        raise AssertionError(f"{function} returned {value!r}")

    def _ask(self, function: Callable[..., R], arguments: tuple[object, ...]) -> R:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((function, arguments), self.process.stdin)
        self.process.stdin.flush()
        succeeded, value = pickle.load(self.process.stdout)
        if not succeeded:
            raise value
        result: R = value
        return result

    def finish(self) -> None:
        """Let it close what it has open, and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._end)

    def _end(self) -> None:
        """Kill it and wait: in a thread, for its files are closed on the mount."""
        self.process.kill()
        with self.process:  # closes the pipes
            pass


@asynccontextmanager
async def served(
    filesystem: t.Filesystem, mountpoint: str, options: t.MountOptions | None = None
) -> AsyncIterator[Client]:
    """Mount a filesystem and give it a client, which is gone before the mount is."""
    with trio.fail_after(20):
        async with (
            Client() as client,
            t.mount(filesystem, mountpoint, options, strict=True),
        ):
            yield client
            if client.process.poll() is None:
                await trio.to_thread.run_sync(client.finish)
