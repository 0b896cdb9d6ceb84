"""The thread that makes one mount and undoes it: it is there before the mount is.

The law: nothing that a program does to itself takes from this thread what unmounting
needs.  It is no new thread when none can be had; it has a current directory and a root
of its own, whatever chdir(2) and chroot(2) do to the others; it stays in the mount
namespace of the mount, whatever unshare(2) does.
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

#: Seconds; a thread starts in less than a millisecond.
_PATIENCE: Final = 10.0


@attrs.define(eq=False, repr=False)
class _Job:
    """A call, and what came of it."""

    function: Callable[[], object]
    ended: Callable[[], None]
    value: Any = None
    error: BaseException | None = None

    def do(self) -> None:
        """Call it, in the thread."""
        try:
            self.value = self.function()
        except BaseException as exc:  # noqa: BLE001  (raised where it is waited for)
            self.error = exc
        self.ended()

    def result(self) -> Any:
        """Return or raise what came of it."""
        if self.error is not None:
            raise self.error
        return self.value


_Jobs = queue.SimpleQueue[_Job | None]


@attrs.define(eq=False, repr=False)
class MountThread:
    """Does one job after the other; ends with this object.

    Attributes:
      namespace: The mount namespace in which it is, as ``namespace`` names it.
    """

    _jobs: _Jobs
    _thread: threading.Thread
    namespace: str

    @classmethod
    def start(cls) -> MountThread:
        """Start the thread.

        Raises:
          RuntimeError: There can be no more threads.
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
        """Have the thread call a function.

        Args:
          function: What to call; it runs to its end in any case.
          abandon: Whether to stop waiting for it when cancelled or interrupted.
            Otherwise that is noticed at the next checkpoint.

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

    def run_sync(self, function: Callable[[], _T]) -> _T:
        """As ``run`` outside of trio; gives up waiting after ten seconds.

        Raises:
          TimeoutError: It goes on alone.
        """
        over = threading.Event()
        job = _Job(function, over.set)
        self._jobs.put(job)
        if not over.wait(_PATIENCE):
            raise TimeoutError
        result: _T = job.result()
        return result

    def close(self) -> None:
        """End the thread, which has nothing left to do, and wait for that."""
        self._jobs.put(None)
        self._thread.join(_PATIENCE)

    def submit(self, function: Callable[[], object]) -> None:
        """Have the thread call a function, and never hear of it."""
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
        with contextlib.suppress(BaseException):  # of memory that is short
            job.do()
        del job


def _set_up() -> None:
    unshare_directory()
    os.chdir("/")
