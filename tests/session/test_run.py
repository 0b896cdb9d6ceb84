"""A program that serves one mount: its signals, its end, and its next start."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.lowlevel

import triofuse
from tests.session.clients import failure_of, is_mounted, outcome, read, start, until
from tests.session.probe import TEXT, Probe

pytestmark = pytest.mark.mount

PROGRAM = textwrap.dedent(
    """
    import sys
    sys.path[:0] = {path!r}
    import triofuse
    from tests.session.probe import Probe
    probe = Probe()
    probe.on_destroy = lambda: print("destroyed", flush=True)
    options = triofuse.MountOptions(clear_stale=True)
    print("starting", flush=True)
    triofuse.run(probe, sys.argv[1], options)
    print("ended", flush=True)
    """
)


async def in_child(
    mountpoint: str, use: Callable[[subprocess.Popen[str]], Awaitable[None]]
) -> tuple[int, str]:
    """Run a program that serves a Probe; return its exit status and output."""
    program = PROGRAM.format(path=sys.path)
    child = subprocess.Popen(
        [sys.executable, "-c", program, mountpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with trio.fail_after(20):
            await until(lambda: is_mounted(mountpoint))
            assert await read(f"{mountpoint}/plain") == TEXT
            await use(child)
            out, _ = await trio.to_thread.run_sync(child.communicate)
    finally:
        child.kill()
        child.wait()
    return child.returncode, out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_run_ends_cleanly_on_a_signal(
    mountpoint: str, number: signal.Signals
) -> None:
    async def stop(child: subprocess.Popen[str]) -> None:
        child.send_signal(number)

    status, out = await in_child(mountpoint, stop)

    assert (status, out) == (0, "starting\ndestroyed\nended\n")
    assert not is_mounted(mountpoint)


async def test_run_ends_when_it_is_unmounted(mountpoint: str) -> None:
    async def stop(_: subprocess.Popen[str]) -> None:
        await trio.run_process(["umount", mountpoint])

    status, out = await in_child(mountpoint, stop)

    assert (status, out) == (0, "starting\ndestroyed\nended\n")


async def test_after_a_kill_callers_fail_at_once_and_the_next_start_serves(
    mountpoint: str,
) -> None:
    client = None

    async def kill(child: subprocess.Popen[str]) -> None:
        nonlocal client
        client = await start("cat", f"{mountpoint}/slow")
        await trio.to_thread.run_sync(os.stat, f"{mountpoint}/plain")
        child.kill()

    await in_child(mountpoint, kill)
    assert client is not None
    with trio.fail_after(5):
        _, complaint = await outcome(client)
    assert complaint
    assert await failure_of(f"{mountpoint}/plain") == errno.ENOTCONN

    options = triofuse.MountOptions(clear_stale=True)
    with trio.fail_after(10):
        async with triofuse.mount(Probe(), mountpoint, options):
            assert await read(f"{mountpoint}/plain") == TEXT
