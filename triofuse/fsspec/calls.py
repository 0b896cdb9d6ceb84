"""How a store is called: in threads, from a pool of connections, or in its own loop.

The law: a store is called by one thread at a time, unless it is known to share.  A
caller that is cancelled continues at once.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import attrs
import trio
from fsspec import AbstractFileSystem

from triofuse.backend.threads import Threads
from triofuse.fsspec.errors import is_transient, translated
from triofuse.fsspec.transfers import Activity

__all__ = ["Calls", "Limits", "Pool"]

T = TypeVar("T")

#: What is no failure of the store.
_EXPECTED = {errno.ENOENT, errno.EEXIST, errno.EOPNOTSUPP, errno.ENOTDIR}

#: The least speed, bytes a second, below which a transfer has a timeout.
_LEAST_SPEED = 64 << 10


@attrs.frozen
class Limits:
    """How long and how often a store is asked.

    Attributes:
      in_flight: The most calls at a time.
      timeout: Seconds for one attempt; a transfer has more, for its size.
      retries: Further attempts after one that failed for what may pass.
      pause: Seconds before the first of them, doubled for each.
    """

    in_flight: int = 16
    timeout: float = 60.0
    retries: int = 3
    pause: float = 0.25


@attrs.define(eq=False)
class Pool:
    """Connections to a store, for threads.

    Attributes:
      fs: The first.
      size: The most of them; 1 for a store that can be opened only once.
      shared: Whether threads may use one at the same time.
      blocks: Whether a call may block; if not, it needs no thread.
      breaks: Whether an exception means that a connection is of no use any more.
    """

    fs: AbstractFileSystem
    size: int = 1
    shared: bool = False
    blocks: bool = True
    breaks: Callable[[Exception], bool] = lambda _: False
    make: Callable[[AbstractFileSystem], AbstractFileSystem] | None = None
    _idle: list[AbstractFileSystem] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._idle = [self.fs]

    def use(self, function: Callable[[AbstractFileSystem], T]) -> T:
        """Call a function with a connection of its own; in a thread."""
        if self.shared or (self.size == 1 and self.make is None):
            return function(self.fs)
        connection = self._idle.pop() if self._idle else self._another()
        try:
            result = function(connection)
        except Exception as exc:
            if not self.breaks(exc):
                self._idle.append(connection)
            raise
        self._idle.append(connection)
        return result

    def _another(self) -> AbstractFileSystem:
        assert self.make is not None
        return self.make(self.fs)


class Calls:
    """Calls of one store.

    Args:
      pool: The store, or its connections.
      limits: How long and how often it is asked.
    """

    def __init__(self, pool: Pool, limits: Limits) -> None:
        self.fs = pool.fs
        self.limits = limits
        self.activity = Activity()
        self.is_async = bool(pool.fs.async_impl)
        self._pool = pool
        self._places = trio.CapacityLimiter(limits.in_flight)
        size = limits.in_flight if pool.shared else min(pool.size, limits.in_flight)
        self._threads = Threads(size)

    async def method(self, name: str, path: str, *rest: Any, **keywords: Any) -> Any:
        """Call a method of the store with a path, again if it fails and may succeed."""
        if not self._pool.blocks:
            try:
                return getattr(self.fs, name)(path, *rest, **keywords)
            except Exception as exc:
                raise translated(exc, f"{name} {path}") from exc
        return await self.attempts(
            name, path, lambda: self.once(name, path, *rest, **keywords)
        )

    async def once(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        """Call a method of the store."""
        if self.is_async and (own := getattr(self.fs, f"_{name}", None)) is not None:
            return await self._in_loop(lambda: own(*arguments, **keywords))

        def call(fs: AbstractFileSystem) -> Any:
            return getattr(fs, name)(*arguments, **keywords)

        return await self.in_thread(call)

    async def in_thread(self, function: Callable[[AbstractFileSystem], T]) -> T:
        """Call a function with the store, in a thread."""
        if not self._pool.blocks:
            return function(self.fs)
        result: T = await self._threads.run(self._pool.use, function)
        return result

    async def attempts(
        self,
        verb: str,
        path: str,
        attempt: Callable[[], Coroutine[Any, Any, T]],
        *,
        size: int = 0,
        again: bool = True,
    ) -> T:
        """Do something that may fail for what passes.

        Args:
          verb: What it is, for reports.
          path: What it is about.
          attempt: One attempt.
          size: Bytes to be transferred.
          again: Whether it may be done twice.

        Raises:
          OSError: It failed; ETIMEDOUT: the store did not answer in time.
        """
        seconds = self.limits.timeout + size / _LEAST_SPEED
        pauses = [self.limits.pause * 2**n for n in range(self.limits.retries)]
        for pause in [*(pauses if again else ()), None]:
            try:
                return await self._attempt(verb, path, attempt, seconds)
            except OSError as exc:
                if pause is None or not is_transient(exc):
                    if exc.errno not in _EXPECTED:
                        self.activity.failed(f"{verb} {path}", exc)
                    raise
            await trio.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    async def _attempt(
        self,
        verb: str,
        path: str,
        attempt: Callable[[], Coroutine[Any, Any, T]],
        seconds: float,
    ) -> T:
        try:
            with trio.fail_after(seconds):
                async with self._places:
                    with self.activity.noted(verb, path):
                        return await attempt()
        except trio.TooSlowError:
            message = f"{verb} {path}: no answer within {seconds:.0f} s"
            raise TimeoutError(errno.ETIMEDOUT, message) from None
        except Exception as exc:
            raise translated(exc, f"{verb} {path}") from exc

    async def _in_loop(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the store's own loop."""
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()
        future: Future[T] = asyncio.run_coroutine_threadsafe(make(), self.fs.loop)

        def wake() -> None:
            if task is not None:
                trio.lowlevel.reschedule(task)

        def done(_: object) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(wake)

        def abort(_: Callable[[], object]) -> trio.lowlevel.Abort:
            nonlocal task
            task = None
            future.cancel()
            return trio.lowlevel.Abort.SUCCEEDED

        future.add_done_callback(done)
        await trio.lowlevel.wait_task_rescheduled(abort)
        return future.result()
