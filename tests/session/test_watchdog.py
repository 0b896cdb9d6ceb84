"""A program that calls into its own mount from its event loop gets EDEADLK."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import trio

import triofuse
from tests.session.probe import TEXT, Probe
from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.inspection.watchdog import Watchdog
from triofuse.session.scheduling.receiver import Receiver
from triofuse.testing import open_kernel
from triofuse.testing.messages import encode_request
from triofuse.wire.opcodes import Opcode

#: A program of its own: should the watchdog fail, only that hangs.
PROGRAM = """
import os, subprocess, sys, trio, triofuse
from tests.session.probe import Probe

class Own(Probe):
    async def readlink(self, request):
        return os.readlink(mountpoint + "/denied")  # the handler itself calls in

async def main():
    async with triofuse.mount(Own(), mountpoint):
        try:
            {call}
        except OSError as exc:
            print(exc.errno, flush=True)
        # and the mount goes on
        print(await trio.to_thread.run_sync(lambda: open(mountpoint + "/plain").read()))

mountpoint = sys.argv[1]
trio.run(main)
"""

CALLS = {
    "stat": "os.stat(mountpoint + '/plain')",
    "listing": "os.listdir(mountpoint)",
    "open": "open(mountpoint + '/plain')",
    "child with its folder there": "subprocess.run(['true'], cwd=mountpoint)",
}


@pytest.mark.mount
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_call_into_the_own_mount_from_the_serving_thread_fails_with_edeadlk(
    mountpoint: str, call: str
) -> None:
    program = textwrap.dedent(PROGRAM).replace("{call}", call)

    done = subprocess.run(
        [sys.executable, "-c", program, mountpoint],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stdout == f"{errno.EDEADLK}\n{TEXT.decode()}\n", done.stderr
    assert "gets EDEADLK" in done.stderr
    assert "trio.to_thread.run_sync()" in done.stderr
    assert "in main" in done.stderr  # where the thread stands


@pytest.mark.mount
async def test_a_loop_that_stands_still_for_other_reasons_refuses_nobody(
    mountpoint: str,
) -> None:
    """Requests that the watchdog has read are served when the loop goes on."""
    probe = Probe()
    async with triofuse.mount(probe, mountpoint):
        go = threading.Event()

        def read() -> bytes:
            go.set()
            return Path(mountpoint, "plain").read_bytes()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_text, read)
            while not go.is_set():
                await trio.lowlevel.checkpoint()
            # Blocks the loop for longer than the watchdog looks on.
            _block_in_a_syscall(0.8)


async def _expect_text(read: object) -> None:
    assert callable(read)
    assert await trio.to_thread.run_sync(read) == TEXT


def _block_in_a_syscall(seconds: float) -> None:
    subprocess.run(
        [sys.executable, "-c", f"import time; time.sleep({seconds})"], check=True
    )


@pytest.mark.mount
async def test_no_thread_is_left_behind(mountpoint: str) -> None:
    before = threading.active_count()
    async with triofuse.mount(Probe(), mountpoint):
        assert any("watchdog" in thread.name for thread in threading.enumerate())
    assert not any("watchdog" in thread.name for thread in threading.enumerate())
    assert threading.active_count() <= before + 1  # trio's idle worker


async def test_what_it_hands_over_too_late_is_dropped() -> None:
    queued: list[ReceivedRequest] = []
    async with open_kernel(Probe()) as kernel:
        channel = kernel.session.channel
        receiver = Receiver(channel, 8192, {}, lambda unique: None, 1 << 20)
        watchdog = Watchdog(channel, receiver, queued.append)
        watchdog.start()
        message = encode_request(Opcode.GETATTR, 4, 1, (0, 0, 0), bytes(16))
        watchdog._hand_over(message)
        watchdog.stop()
        watchdog._hand_over(message)

    assert len(queued) == 1
