"""Tests of lesson 5, without a mount: ``pytest examples/lessons/10_testing.py``."""

from importlib import import_module

import pytest
import trio
from trio.testing import MockClock

from triofuse.testing import FakeKernel, open_kernel

slow = import_module("05_slow")  # "import 05_slow" is no Python: it begins with a digit


async def read(kernel: FakeKernel, name: str) -> bytes:
    """Do what ``cat`` has the kernel do."""
    entry = await kernel.lookup(1, name)
    opened = await kernel.open(entry.nodeid)
    try:
        return await kernel.read(entry.nodeid, opened.fh, 0, 4096)
    finally:
        with trio.CancelScope(shield=True):
            await kernel.release(entry.nodeid, opened.fh)


async def test_a_file_sleeps_as_long_as_its_name_says(
    autojump_clock: MockClock,
) -> None:
    async with open_kernel(slow.make()) as kernel:
        began = trio.current_time()

        assert await read(kernel, "10") == b"slept for 10 s\n"

        assert trio.current_time() - began == pytest.approx(10)


async def test_a_sleep_that_is_too_long_times_out(autojump_clock: MockClock) -> None:
    async with open_kernel(slow.make()) as kernel:
        with pytest.raises(TimeoutError):
            await read(kernel, "3600")

        assert trio.current_time() == pytest.approx(slow.PATIENCE, abs=1)


async def test_a_reader_that_is_killed_cancels_the_sleep(
    autojump_clock: MockClock,
) -> None:
    async with open_kernel(slow.make()) as kernel:
        with trio.move_on_after(3):  # then the kernel sends INTERRUPT
            await read(kernel, "10")

        assert await read(kernel, "log") == b"sleep of 10 s: cancelled\n"
