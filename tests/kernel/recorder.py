"""A filesystem in memory that remembers what the kernel asked, and can make it wait."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio
import trio.lowlevel

import triofuse as t
from tests.kernel.store import Store

R = TypeVar("R", bound=t.Request)
T = TypeVar("T")

_NONE = t.InitFlags(0)


class Recorder(Store):
    """Notes each request before it is answered.

    Args:
      wants: Flags of INIT to ask for.
      declines: Flags of INIT to do without.
      opens_with: Flags of FOPEN in each answer to OPEN and CREATE.
      valid: Seconds for which names and attributes may be kept.
      figures: Other fields of `KernelConfig`.

    Attributes:
      requests: All requests that had a method, in the order in which they came.
      fails: The errno with which a method fails, by its name.
      gates: What a method waits for before it answers, by its name.
      peak: The most calls of a method at a time, by its name.
    """

    def __init__(
        self,
        wants: t.InitFlags = _NONE,
        declines: t.InitFlags = _NONE,
        *,
        opens_with: int = 0,
        valid: float = 0,
        **figures: int,
    ) -> None:
        super().__init__(valid)
        self.requests: list[t.Request] = []
        self.fails: dict[str, int] = {}
        self.gates: dict[str, trio.Event] = {}
        self.peak: Counter[str] = Counter()
        self.opens_with = opens_with
        self.offered = _NONE
        self._wants, self._declines, self._figures = wants, declines, figures
        self._running: Counter[str] = Counter()

    async def init(self, config: t.KernelConfig) -> None:
        self.offered = config.offered
        for figure, value in self._figures.items():
            setattr(config, figure, value)
        config.decline(self._declines)
        config.want(self._wants)

    def asked(self, kind: type[R]) -> list[R]:
        """Return the requests of one class, not of those derived from it."""
        return [request for request in self.requests if type(request) is kind]

    async def note(self, method: str, request: t.Request) -> None:
        """Remember a request; wait and fail as the test wants it."""
        if isinstance(request, t.Write):
            request = attrs.evolve(request, data=memoryview(bytes(request.data)))
        self.requests.append(request)
        if method in self.gates:
            await self.gates[method].wait()
        if method in self.fails:
            raise t.FuseError(self.fails[method])

    async def recorded(
        self, method: str, answer: Callable[[], Awaitable[Any]], request: t.Request
    ) -> Any:
        self._running[method] += 1
        self.peak[method] = max(self.peak[method], self._running[method])
        try:
            await self.note(method, request)
            return self._shaped(await answer())
        finally:
            self._running[method] -= 1

    def _shaped(self, value: Any) -> Any:
        match value:
            case t.Opened():
                value.flags = self.opens_with
            case (_, t.Opened() as opened):
                opened.flags = self.opens_with
        return value


def _recording(method: str) -> Callable[[Recorder, t.Request], Awaitable[Any]]:
    async def record(self: Recorder, request: t.Request) -> Any:
        own = getattr(super(Recorder, self), method)
        return await self.recorded(method, lambda: own(request), request)

    record.__name__ = method
    return record


for _method in [
    "lookup",
    "getattr",
    "statx",
    "setattr",
    "readlink",
    "setxattr",
    "getxattr",
    "listxattr",
    "removexattr",
    "create",
    "tmpfile",
    "mknod",
    "mkdir",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "rename2",
    "open",
    "release",
    "read",
    "write",
    "fallocate",
    "lseek",
    "copy_file_range",
    "readdir",
    "readdirplus",
    "statfs",
]:
    setattr(Recorder, _method, _recording(_method))


@asynccontextmanager
async def mounted(
    filesystem: t.Filesystem, mountpoint: str, options: t.MountOptions | None = None
) -> AsyncIterator[Path]:
    """Mount a filesystem, whose bugs end the test, and have ended it in a while."""
    with trio.fail_after(20):
        async with t.mount(filesystem, mountpoint, options, strict=True):
            yield Path(mountpoint)


async def off_thread(function: Callable[..., T], *args: Any) -> T:
    """Use the mount: from a thread, for this one serves it."""
    return await trio.to_thread.run_sync(function, *args)


@attrs.frozen
class User:
    """Somebody who is not root."""

    uid: int = 1000
    gid: int = 1000
    groups: tuple[int, ...] = ()

    def preamble(self) -> str:
        """Return what a script does to become the user, in its first argument."""
        return (
            "import os, sys\n"
            "os.chdir(sys.argv[1])\n"  # the mountpoint may be below a private place
            f"os.setgroups({list(self.groups)})\n"
            f"os.setgid({self.gid})\n"
            f"os.setuid({self.uid})\n"
        )


async def in_child(script: str, *args: object, user: User | None = None) -> str:
    """Run Python in a process of its own, return what it prints.

    For what must not be done by a thread of this process: it may hold the
    interpreter's lock while it waits for the mount (a page fault), or be somebody
    else.

    Args:
      script: The program.
      args: What it finds in ``sys.argv[1:]``.
      user: Who does it; the first of ``args`` is the working directory then.

    Raises:
      AssertionError: It failed.
    """

    def run() -> subprocess.CompletedProcess[str]:
        program = user.preamble() + script if user else script
        command = [sys.executable, "-S", "-c", program, *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=15)

    done = await trio.to_thread.run_sync(run)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what no event tells."""
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def until_or_clearly_not(condition: Callable[[], object]) -> None:
    """Wait for what may never come: as long as no machine is slow enough to need."""
    with trio.move_on_after(1.5):
        await until(condition)
