"""The thread that makes one mount and undoes it; it is started before the mount.

The law: this thread can unmount whatever the program does later.  It exists even when no
new thread can be started.  It has a current directory and a root of its own, so chdir(2)
and chroot(2) of other threads do not affect it, and it stays in the mount namespace of
the mount after unshare(2) elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs
import trio

from triofuse.device.libc import unshare_directory

__all__ = ["MountThread", "namespace"]

_T = TypeVar("_T")

#: Seconds to wait for the thread; it starts in less than a millisecond.
_TIMEOUT: Final = 10.0


@attrs.define(eq=False, repr=False)
class _Job:
    """A function to call in the thread, and its result."""

    function: Callable[[], object]
    ended: Callable[[], None]
    value: Any = None
    error: BaseException | None = None

    def do(self) -> None:
        """Call the function, in the thread."""
        try:
            self.value = self.function()
        except BaseException as exc:  # noqa: BLE001  (raised by result())
            self.error = exc
        self.ended()

    def result(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.value


_Jobs = queue.SimpleQueue[_Job | None]


@attrs.define(eq=False, repr=False)
class MountThread:
    """A thread that runs jobs one by one; it ends when this object is collected.

    Attributes:
      namespace: The mount namespace of the thread, as ``namespace()`` returns it.
    """

    _jobs: _Jobs
    _thread: threading.Thread
    namespace: str

    @classmethod
    def start(cls) -> MountThread:
        """Start the thread.

        Raises:
          RuntimeError: No more threads can be started.
          OSError: A security policy forbids unshare(2).
        """
        jobs: _Jobs = queue.SimpleQueue()
        name = "triofuse mount"
        thread = threading.Thread(target=_work, args=(jobs,), name=name, daemon=True)
        thread.start()
        started = cls(jobs, thread, namespace())
        weakref.finalize(started, jobs.put, None).atexit = False
        started.run_sync(_set_up)
        return started

    async def run(self, function: Callable[[], _T], *, abandon: bool) -> _T:
        """Call a function in the thread, and wait for it.

        Args:
          function: The function; it always runs to its end.
          abandon: Whether a cancellation or KeyboardInterrupt ends the wait.
            Otherwise it is raised at the next checkpoint.

        Raises:
          Exception: What the function raised.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        token = trio.lowlevel.current_trio_token()
        waiting: list[trio.lowlevel.Task] = [trio.lowlevel.current_task()]

        def wake() -> None:
            if waiting:
                trio.lowlevel.reschedule(waiting.pop())

        def ended() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(wake)

        def abort(_: object) -> trio.lowlevel.Abort:
            if not abandon:
                return trio.lowlevel.Abort.FAILED
            waiting.clear()
            return trio.lowlevel.Abort.SUCCEEDED

        job = _Job(function, ended)
        self._jobs.put(job)
        await trio.lowlevel.wait_task_rescheduled(abort)
        result: _T = job.result()
        return result

    def run_sync(
        self, function: Callable[[], _T], timeout: float | None = _TIMEOUT
    ) -> _T:
        """Do as ``run`` outside of trio, but wait at most ten seconds, or ``timeout``.

        Raises:
          TimeoutError: The function still runs, and continues in the thread.
        """
        over = threading.Event()
        job = _Job(function, over.set)
        self._jobs.put(job)
        if not over.wait(timeout):
            raise TimeoutError
        result: _T = job.result()
        return result

    def close(self) -> None:
        """End the thread after its queued jobs, and wait at most ten seconds for it."""
        self._jobs.put(None)
        self._thread.join(_TIMEOUT)

    def submit(self, function: Callable[[], object]) -> None:
        """Queue a function for the thread; its result is dropped."""
        self._jobs.put(_Job(function, _ignore))


def namespace() -> str:
    """Return the name of the mount namespace of this thread; empty without /proc."""
    try:
        return os.readlink("/proc/thread-self/ns/mnt")
    except OSError:
        return ""


def _ignore() -> None:
    pass


def _work(jobs: _Jobs) -> None:
    while (job := jobs.get()) is not None:
        with contextlib.suppress(BaseException):  # MemoryError
            job.do()
        del job


def _set_up() -> None:
    unshare_directory()
    os.chdir("/")
