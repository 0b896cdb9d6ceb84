"""Tests of lesson 5, without a mount: ``pytest examples/lessons/10_testing.py``."""

from importlib import import_module

import pytest
import trio
from trio.testing import MockClock

from triofuse.testing import open_kernel

slow = import_module("05_slow")  # a name that begins with a digit cannot be imported


async def test_a_file_sleeps_as_long_as_its_name_says(
    autojump_clock: MockClock,
) -> None:
    async with open_kernel(slow.make()) as kernel:
        began = trio.current_time()

        assert await kernel.path("/10").read_bytes() == b"slept for 10 s\n"

        assert trio.current_time() - began == pytest.approx(10)


async def test_a_sleep_that_is_too_long_times_out(autojump_clock: MockClock) -> None:
    async with open_kernel(slow.make()) as kernel:
        with pytest.raises(TimeoutError):
            await kernel.path("/3600").read_bytes()

        assert trio.current_time() == pytest.approx(slow.PATIENCE, abs=1)


async def test_a_reader_that_is_killed_cancels_the_sleep(
    autojump_clock: MockClock,
) -> None:
    async with open_kernel(slow.make()) as kernel:
        with trio.move_on_after(3):  # then the kernel sends INTERRUPT
            await kernel.path("/10").read_bytes()

        log = await kernel.path("/log").read_bytes()

    assert log == b"sleep of 10 s: cancelled\n"
