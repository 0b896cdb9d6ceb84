"""A mount in a thread of its own, for programs and tests that are not trio's.

The law: the thread runs a trio loop for one mount and nothing else.  It ends when the
mount ends, and whoever starts it sees every error: at the start, or at `stop`.

The loop needs Python's global lock to answer.  Code that holds the lock while it waits
for the mount blocks both for ever: C code that maps files, for munmap(2) waits until
dirty pages are written.  So open SQLite in WAL mode, LMDB and the like in another
process than the one that serves.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import attrs
import trio

from triofuse.device.options import MountOptions
from triofuse.filesystem.filesystem import Filesystem
from triofuse.running.mounting import mount
from triofuse.session.inspection.report import InFlight
from triofuse.session.session import Session, SessionOptions

__all__ = ["BackgroundMount"]

_T = TypeVar("_T")

#: Seconds to wait for the thread; an unmount takes ten at most.
_TIMEOUT = 20.0


@attrs.define(eq=False, repr=False, init=False)
class BackgroundMount:
    """Mounts a filesystem, and serves it from a thread.

    ``with BackgroundMount(MyFS(), "/mnt/x") as mount: ...`` mounts for the length of
    the block.  It can be started again after it was stopped.  The block may use the
    mount freely, for it runs in another thread.

    Args:
      filesystem, path, options, session_options: As for `triofuse.mount`.

    Attributes:
      filesystem: The filesystem.
      path: Where it is mounted.
      thread: The thread that serves, None while nothing is mounted.
      session: The session; the latest one, when it is not mounted.
    """

    filesystem: Filesystem
    path: str
    thread: threading.Thread | None
    session: Session
    _options: MountOptions | None
    _session_options: SessionOptions
    _token: trio.lowlevel.TrioToken
    _leave: trio.Event
    _error: BaseException | None

    def __init__(
        self,
        filesystem: Filesystem,
        path: str | os.PathLike[str],
        options: MountOptions | None = None,
        **session_options: Unpack[SessionOptions],
    ) -> None:
        self.filesystem = filesystem
        self.path = os.path.abspath(path)
        self.thread = None
        self._options = options
        self._session_options = session_options
        self._error = None

    def start(self) -> None:
        """Mount; the mount can be used when this returns.

        Raises:
          MountError: The mount failed, and what else `triofuse.mount` raises.
          RuntimeError: It is mounted already.
        """
        if self.thread is not None:
            message = f"{self.path} is mounted already"
            raise RuntimeError(message)
        begun = threading.Event()
        name = f"triofuse {self.path}"
        # A daemon: an interpreter that exits unmounts, and does not wait for the loop.
        self.thread = threading.Thread(
            target=self._run, args=(begun,), name=name, daemon=True
        )
        self.thread.start()
        begun.wait()
        if self._error is not None:
            self.stop()

    def stop(self, *, abort: bool = False) -> None:
        """Unmount; does nothing if it is not mounted.

        Args:
          abort: Drop the connection first, as if the machine had lost it.  Callers get
            ECONNABORTED, and what the kernel has not written back is lost.

        Raises:
          Exception: What ended the session: a bug of the filesystem, with ``strict``.
          TimeoutError: The filesystem blocks its thread.
        """
        thread = self.thread
        if thread is None:
            return
        # It was never mounted, or has failed.
        with contextlib.suppress(AttributeError, trio.RunFinishedError):
            self._token.run_sync_soon(self._end, abort)
        thread.join(_TIMEOUT)
        if thread.is_alive():
            message = f"the filesystem at {self.path} blocks its thread"
            raise TimeoutError(message)
        self.thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        state = "not mounted" if self.thread is None else "mounted"
        return f"<{type(self).__name__} at {self.path}, {state}>"

    def run(self, function: Callable[..., Awaitable[_T]], *args: object) -> _T:
        """Call an async function in the loop that serves, and wait for its result."""
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def run_sync(self, function: Callable[..., _T], *args: object) -> _T:
        """Call a function in the loop that serves, and wait for its result."""
        return trio.from_thread.run_sync(function, *args, trio_token=self._token)

    def in_flight(self, timeout: float = 1.0) -> list[InFlight] | None:
        """Return the requests that are not answered yet, the oldest first.

        Args:
          timeout: Seconds to wait for the loop.

        Returns:
          The requests; None if the loop is blocked.
        """
        found: list[list[InFlight]] = []
        done = threading.Event()

        def look() -> None:
            found.append(self.session.in_flight())
            done.set()

        try:
            self._token.run_sync_soon(look)
        except (AttributeError, trio.RunFinishedError):
            return []
        done.wait(timeout)
        return found[0] if found else None

    def _run(self, begun: threading.Event) -> None:
        try:
            trio.run(self._serve, begun)
        except BaseException as exc:  # noqa: BLE001  (raised by stop())
            self._error = exc
        finally:
            begun.set()

    async def _serve(self, begun: threading.Event) -> None:
        self._leave = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        arguments: Any = self._session_options
        async with mount(
            self.filesystem, self.path, self._options, **arguments
        ) as self.session:
            begun.set()
            await self._leave.wait()

    def _end(self, abort: bool) -> None:
        if abort:
            self.session.finish(0)
        self._leave.set()
