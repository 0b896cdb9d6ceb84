"""Plain functions in threads: how many, and what happens to cancelled callers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triofuse import File, Threads, blocking
from triofuse.backend.threads import Outcome


class Gate:
    """A function that blocks in its thread until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = 0
        self.most = 0
        self.entered = threading.Semaphore(0)
        self._lock = threading.Lock()

    def pass_through(self, value: int = 0) -> int:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.open.wait(10)
        with self._lock:
            self.inside -= 1
        return value


async def test_no_more_than_the_limit_run_at_a_time() -> None:
    threads, gate = Threads(3), Gate()
    results = []

    async def one(number: int) -> None:
        results.append(await threads.run(gate.pass_through, number))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(one, number)
        await wait_all_tasks_blocked()
        for _ in range(3):
            await trio.to_thread.run_sync(gate.entered.acquire)
        assert threads.running == 3
        gate.open.set()

    assert sorted(results) == list(range(10))
    assert (gate.most, threads.running) == (3, 0)


async def test_a_cancelled_caller_continues_while_its_thread_keeps_its_place() -> None:
    threads, gate = Threads(1), Gate()
    settled: list[Outcome] = []

    with trio.move_on_after(0.01) as scope:
        await threads.run(gate.pass_through, 7, settle=settled.append)
    assert scope.cancelled_caught
    assert (threads.running, settled) == (1, [])
    with trio.move_on_after(0.01) as scope:
        await threads.run(int)
    assert scope.cancelled_caught

    gate.open.set()
    await threads.wait_idle()

    assert [(one.value, one.awaited) for one in settled] == [(7, False)]
    assert await threads.run(int) == 0


async def test_settle_comes_also_for_a_function_that_never_began() -> None:
    threads = Threads(1)
    settled: list[Outcome] = []

    with trio.CancelScope() as scope:
        scope.cancel()
        await threads.run(int, settle=settled.append)

    assert [type(one.error) for one in settled] == [trio.Cancelled]
    assert threads.running == 0


async def test_what_settle_returns_or_raises_is_the_result() -> None:
    threads = Threads(1)

    assert await threads.run(int, settle=lambda one: one.unwrap() + 1) == 1
    with pytest.raises(ZeroDivisionError):
        await threads.run(int, settle=lambda one: 1 // one.unwrap())


async def test_a_view_is_copied_since_its_memory_may_be_reused() -> None:
    kept: list[Any] = []

    await Threads(1).run(kept.append, memoryview(b"abc"))

    assert kept == [b"abc"]
    assert type(kept[0]) is bytes


async def test_a_blocking_method_runs_in_a_thread() -> None:
    class Row:
        name = "x"

        @blocking
        def read(self, size: int, *, upper: bool = False) -> str:
            assert threading.current_thread() is not threading.main_thread()
            text = self.name * size
            return text.upper() if upper else text

    row = Row()

    assert await row.read(2) == "xx"
    assert await row.read(1, upper=True) == "X"


async def test_a_blocking_class_has_its_plain_overrides_run_in_threads() -> None:
    @blocking(threads=Threads(2))
    class Row(File):
        def read(self, size: int, offset: int) -> bytes:  # type: ignore[override]
            return threading.current_thread().name.encode()

        def helper(self) -> str:
            return threading.current_thread().name

    row = Row()

    assert await row.read(1, 0) != row.helper().encode()  # type: ignore[misc]


def test_what_cannot_run_in_a_thread_is_refused() -> None:
    async def already_async(self: object) -> None: ...

    def generator(self: object) -> Any:
        yield 1

    with pytest.raises(TypeError, match=r"already_async\(\) is async"):
        blocking(already_async)
    with pytest.raises(TypeError, match=r"generator\(\) has a yield"):
        blocking(generator)
    with pytest.raises(ValueError, match="1 or more, not 0"):
        Threads(0)
