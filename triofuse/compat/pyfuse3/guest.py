"""trio as a guest of the asyncio loop, for programs that are written for asyncio.

The law: handlers run as asyncio tasks.  The session runs in trio, whose tasks wait for
them; both loops share one thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import trio

__all__ = ["AsyncioOperations", "disable", "enable", "is_enabled", "run_as_guest"]

_enabled = False


def enable() -> None:
    """Have `init` and `main` serve in asyncio; call it before `init`."""
    global _enabled
    _enabled = True


def disable() -> None:
    """Have them serve in trio again."""
    global _enabled
    _enabled = False


def is_enabled() -> bool:
    """Whether `init` and `main` serve in asyncio."""
    return _enabled


class AsyncioOperations:
    """Operations whose handlers run as asyncio tasks."""

    def __init__(self, operations: Any) -> None:
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._operations, name)
        if not asyncio.iscoroutinefunction(value):
            return value

        async def handler(*arguments: Any) -> Any:
            return await _in_asyncio(value(*arguments))

        setattr(self, name, handler)  # found at once the next time
        return handler


async def _in_asyncio(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as an asyncio task, and wait for it in a trio task."""
    waiting = trio.lowlevel.current_task()
    task = asyncio.get_running_loop().create_task(coroutine)
    cancel: list[Callable[[], None]] = []

    def abort(raise_cancel: Callable[[], None]) -> trio.lowlevel.Abort:
        cancel.append(raise_cancel)
        task.cancel()
        return trio.lowlevel.Abort.FAILED  # it ends first

    task.add_done_callback(lambda _: trio.lowlevel.reschedule(waiting))
    await trio.lowlevel.wait_task_rescheduled(abort)
    if task.cancelled():
        for raise_cancel in cancel:
            raise_cancel()
        raise RuntimeError("the handler was cancelled in asyncio")
    return task.result()


async def run_as_guest(
    function: Callable[..., Awaitable[None]], *arguments: Any
) -> None:
    """Run an async function in trio, in the thread of the running asyncio loop.

    A cancellation of the asyncio task cancels the function; then it is raised.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[Any] = loop.create_future()
    scope = trio.CancelScope()

    async def main() -> None:
        with scope:
            await function(*arguments)

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=over.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    cancelled: asyncio.CancelledError | None = None
    while not over.done():
        try:
            await asyncio.shield(over)
        except asyncio.CancelledError as exc:
            cancelled = exc
            scope.cancel()
    over.result().unwrap()
    if cancelled is not None:
        raise cancelled
