"""examples/slow.py on a virtual clock, as you may test yours, and on a real mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

import triofuse
from slow import ACCOUNTS, TRANSFER, UPSTREAM, Slow
from tests.examples.conftest import EXAMPLES, serving
from triofuse.testing import open_kernel

COMMAND = str(EXAMPLES / "slow.py")


# --- On a virtual clock: an hour of sleep takes no time at all


async def test_reading_takes_as_long_as_the_name_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Slow()) as kernel:
        hour = await kernel.lookup(1, "3600")
        opened = await kernel.open(hour.nodeid)
        began = trio.current_time()

        text = await kernel.read(hour.nodeid, opened.fh, 0, 100)

        assert text == b"slept for 3600 s\n"
        assert trio.current_time() - began == pytest.approx(3600)


async def test_a_reader_that_gives_up_wakes_the_sleeper(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Slow()
    async with open_kernel(slow) as kernel:
        hour = await kernel.lookup(1, "3600")
        opened = await kernel.open(hour.nodeid)

        with trio.move_on_after(5) as reader:  # then the kernel sends INTERRUPT
            await kernel.read(hour.nodeid, opened.fh, 0, 100)

        assert reader.cancelled_caught
        assert slow.sleepers == 0
        assert trio.current_time() < 3600


async def test_a_transfer_that_is_interrupted_is_finished_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Slow(pause=3)
    async with open_kernel(slow) as kernel:
        opened = await kernel.open(TRANSFER)

        with trio.move_on_after(1):
            await kernel.write(TRANSFER, opened.fh, 0, b"10\n")

        assert (slow.left, slow.right) == (90, 10)


async def test_who_reads_the_accounts_meanwhile_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Slow(pause=3)) as kernel, trio.open_nursery() as nursery:
        opened = await kernel.open(TRANSFER)
        nursery.start_soon(kernel.write, TRANSFER, opened.fh, 0, b"10\n")
        await trio.testing.wait_all_tasks_blocked()

        text = await kernel.read(ACCOUNTS, opened.fh, 0, 100)

        assert text == b"left 90, right 10\n"


async def test_upstream_has_a_deadline_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Slow(patience=2)) as kernel:
        opened = await kernel.open(UPSTREAM)

        with pytest.raises(TimeoutError) as failed:
            await kernel.read(UPSTREAM, opened.fh, 0, 100)

        assert failed.value.errno == errno.ETIMEDOUT
        assert trio.current_time() == pytest.approx(2, abs=0.1)


async def test_upstream_that_answers_in_time_is_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Slow(patience=2, latency=1)) as kernel:
        opened = await kernel.open(UPSTREAM)
        text = await kernel.read(UPSTREAM, opened.fh, 0, 100)

    assert text == b"upstream is well\n"


async def test_every_read_has_the_deadline_of_the_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Slow()
    async with open_kernel(slow, timeout={"read": 60}) as kernel:
        hour = await kernel.lookup(1, "3600")
        opened = await kernel.open(hour.nodeid)
        began = trio.current_time()

        with pytest.raises(TimeoutError):
            await kernel.read(hour.nodeid, opened.fh, 0, 100)

        assert trio.current_time() - began == pytest.approx(60)
        assert slow.sleepers == 0


@pytest.mark.parametrize("text", [b"\n", b"a lot", b"\xff"])
async def test_what_is_no_amount_is_not_transferred(text: bytes) -> None:
    slow = Slow()
    async with open_kernel(slow) as kernel:
        opened = await kernel.open(TRANSFER)
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            await kernel.write(TRANSFER, opened.fh, 0, text)

    assert (slow.left, slow.right) == (100, 0)


# --- On a real mount: what Ctrl-C, kill and the clock do


async def start(*command: str) -> subprocess.Popen[str]:
    """Start a client, from a thread: the loop serves what it uses."""

    def popen() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)

    return await trio.to_thread.run_sync(popen)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what no event tells."""
    while not condition():
        await trio.lowlevel.checkpoint()


@pytest.mark.mount
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_reader_that_is_killed_is_gone_at_once(
    mountpoint: str, how: signal.Signals
) -> None:
    slow = Slow()
    with trio.fail_after(10):
        async with triofuse.mount(slow, mountpoint, strict=True):
            reader = await start("cat", f"{mountpoint}/3600")
            await until(lambda: slow.sleepers)
            reader.send_signal(how)
            await trio.to_thread.run_sync(reader.communicate)
            await until(lambda: not slow.sleepers)

    assert reader.returncode == -how


#: Transfers 10, and says so when write(2) has returned.
TRANSFER_10 = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
os.write(fd, b"10")
"""


@pytest.mark.mount
async def test_a_transfer_is_finished_before_its_caller_dies(mountpoint: str) -> None:
    slow = Slow(pause=0.2)
    with trio.fail_after(10):
        async with triofuse.mount(slow, mountpoint, strict=True):
            path = f"{mountpoint}/transfer"
            client = await start(sys.executable, "-c", TRANSFER_10, path)
            await until(lambda: slow.left == 90)
            client.kill()
            await trio.to_thread.run_sync(client.communicate)

            assert slow.right == 10
            accounts = Path(mountpoint, "accounts").read_text
            assert await trio.to_thread.run_sync(accounts) == "left 90, right 10\n"

    assert client.returncode == -signal.SIGKILL


@pytest.mark.mount
def test_the_program_keeps_its_deadlines(mountpoint: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import slow, triofuse; "
        "triofuse.main(slow.Slow, timeout={'read': 1})"
    )
    command = ["-c", program, mountpoint, "-o", "patience=0.5,pause=0"]
    with serving(*command, mountpoint=mountpoint):
        for name in ("3600", "upstream"):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                Path(mountpoint, name).read_text()
            assert time.monotonic() - began < 5
        assert Path(mountpoint, "0.001").read_text() == "slept for 0.001 s\n"
        script = f"echo 25 > {mountpoint}/transfer; cat {mountpoint}/accounts"
        done = subprocess.run(script, shell=True, capture_output=True, timeout=10)

    assert (done.stdout, done.stderr) == (b"left 75, right 25\n", b"")


@pytest.mark.mount
def test_ctrl_c_ends_a_reader_in_a_shell(mountpoint: str) -> None:
    with serving(COMMAND, mountpoint, mountpoint=mountpoint):
        command = ["timeout", "--signal=INT", "0.2", "cat", f"{mountpoint}/3600"]
        done = subprocess.run(command, capture_output=True, timeout=10)

    assert (done.returncode, done.stdout) == (124, b"")


def test_it_is_short() -> None:
    assert len(Path(COMMAND).read_text().splitlines()) < 200
