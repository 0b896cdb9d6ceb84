"""What the tests of real mounts share: clients outside of the loop's thread."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import trio
import trio.lowlevel


async def read(path: str) -> bytes:
    return await trio.to_thread.run_sync(lambda: Path(path).read_bytes())


async def failure_of(path: str) -> int | None:
    """Return the errno with which reading a file fails."""
    try:
        await read(path)
    except OSError as exc:
        return exc.errno
    return None


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a RELEASE or FORGET of the kernel, for which there is no event."""
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def start(*command: str) -> subprocess.Popen[str]:
    """Start a client, from a thread: vfork(2) suspends the caller until exec."""

    def popen() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    return await trio.to_thread.run_sync(popen)


async def outcome(client: subprocess.Popen[str]) -> tuple[str, str]:
    """End a client's input, wait for its end, return what it said."""
    return await trio.to_thread.run_sync(client.communicate)


def is_mounted(path: str) -> bool:
    return f" {path} " in Path("/proc/self/mounts").read_text()
