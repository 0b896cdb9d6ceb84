"""Ending a session from elsewhere than its event loop."""

from __future__ import annotations

import os
import signal

import pytest
import trio

import triofuse as t
from tests.session.probe import Probe
from triofuse.testing import FakeKernel, open_kernel


async def test_finish_may_be_called_in_another_thread() -> None:
    async with open_kernel(Probe()) as kernel:
        await trio.to_thread.run_sync(kernel.session.finish)
        with trio.fail_after(10):
            await kernel.session.wait_unmounted()


async def test_finish_may_be_called_in_a_signal_handler() -> None:
    async with open_kernel(Probe()) as kernel:
        former = signal.signal(signal.SIGUSR1, lambda *_: kernel.session.finish())
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            with trio.fail_after(10):
                await kernel.session.wait_unmounted()
        finally:
            signal.signal(signal.SIGUSR1, former)


async def test_a_session_that_is_finished_before_it_runs_ends_at_once() -> None:
    kernel, fd = FakeKernel.pair()
    session = t.Session.from_fd(Probe(), fd)
    session.finish()

    with trio.fail_after(10):
        await session.run()
    kernel.close()


async def test_finishing_a_session_that_has_ended_does_nothing() -> None:
    async with open_kernel(Probe()) as kernel:
        session = kernel.session

    await trio.to_thread.run_sync(session.finish)


async def test_from_fd_refuses_users_that_are_not_allowed() -> None:
    kernel, fd = FakeKernel.pair()
    session = t.Session.from_fd(Probe(), fd, allowed_uids=frozenset({1000}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.run)
        nursery.start_soon(session.run)
        await kernel.wait_ready()
        with pytest.raises(PermissionError):
            await kernel.lookup(1, "plain", uid=1001)
        assert (await kernel.lookup(1, "plain", uid=1000)).nodeid == 2
        session.finish()
    kernel.close()
