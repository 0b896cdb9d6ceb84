"""Whatever goes wrong, the victim gets its answer, and nobody else notices.

The faults are in catalogue.py.  What happens on a real mount only is in
test_mounted_faults.py.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault, Scene
from tests.faults.victim import Victim
from triofuse.session.session import SessionOptions
from triofuse.testing import open_kernel


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _threads() -> set[str]:
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("Trio thread")}


@contextmanager
def nothing_left() -> Iterator[None]:
    """See that the block leaves no descriptor, task or thread behind."""
    fds, threads = _descriptors(), _threads()
    tasks = trio.lowlevel.current_statistics().tasks_living
    yield
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert _threads() == threads
    assert _descriptors() <= fds


async def run(fault: Fault) -> str:
    """Have a fault happen; return what its victim got."""
    victim = Victim()
    answer = ""
    options: SessionOptions = {**fault.options, "strict": False}
    try:
        with nothing_left():
            try:
                async with open_kernel(victim, **options) as kernel:
                    scene = Scene(victim, kernel)
                    answer = await among_others(fault, scene)
                    await settle(scene)
            except BaseException as exc:
                if not fault.ends:
                    raise
                answer = type(exc).__name__
    finally:
        victim.go.set()
    assert victim.calls["destroy"] == 1
    assert not +victim.handles
    assert not -victim.handles
    return answer


async def among_others(fault: Fault, scene: Scene) -> str:
    """Have it happen while others are served, before, meanwhile and afterwards."""
    served = trio.Event()

    async def be_served() -> None:
        while True:
            await scene.serve_others()
            served.set()
            await trio.sleep(0.05)

    await scene.serve_others()
    async with trio.open_nursery() as nursery:
        if not fault.alone:
            nursery.start_soon(be_served)
        answer = await fault.happen(scene)
        if not fault.alone:
            await served.wait()
        nursery.cancel_scope.cancel()
    await scene.serve_others()
    return answer


async def settle(scene: Scene) -> None:
    """See that the books balance while the session lives."""
    session, victim = scene.kernel.session, scene.victim
    with trio.fail_after(1000):
        while session.statistics().in_flight:
            await trio.sleep(1)
    await wait_all_tasks_blocked()
    pending = session._table
    assert not pending.running
    assert not pending.waiting
    assert not pending.interrupted
    assert not pending.deferred
    assert not pending.renumbered
    assert +victim.lookups == +scene.kernel.lookups
    assert not scene.kernel.pending


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.test_id)
def test_a_fault_costs_its_victim_only(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with trio.fail_after(5000):
            answers.append(await run(fault))

    answers: list[str] = []
    clock = None if fault.real_time else MockClock(autojump_threshold=0)
    trio.run(main, clock=clock)

    assert answers == [fault.victim]
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    if fault.logged:
        assert len(errors) == 1
        assert fault.logged in errors[0]
    else:
        assert errors == []
