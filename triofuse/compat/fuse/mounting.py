"""`FUSE`: mounts a program's operations, and serves until it is unmounted."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NoReturn

import attrs
import trio

from triofuse import current_request, mount
from triofuse.compat.fuse.filesystem import ProgramFilesystem
from triofuse.compat.fuse.options import Options
from triofuse.compat.fuse.store import Store
from triofuse.session.answering.exceptions import unwrapped

__all__ = ["FUSE", "fuse_exit", "fuse_get_context"]

#: The signals that unmount, as in libfuse's ``fuse_set_signal_handlers()``.
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class FUSE:
    """Mounts ``operations`` on ``mountpoint``; returns when it is unmounted.

    Args:
      operations: The program's object, see `Operations`.
      mountpoint: An existing directory, or a file.
      raw_fi: Give operations a `fuse_file_info` in place of the file handle.
      encoding: The encoding of names.
      errors: What becomes of bytes that are no text in that encoding.
      kwargs: ``foreground``, ``nothreads`` and ``debug``, and the options of libfuse:
        ``ro=True``, ``fsname="x"``, ``attr_timeout=10``.

    Without ``foreground`` the process ends with status 0 when the mount can be used, and
    a child of it serves on.

    Raises:
      RuntimeError: It cannot be mounted; the message says why.
      BaseException: What an operation raised that is no ``Exception``: SystemExit.
    """

    def __init__(
        self,
        operations: Any,
        mountpoint: str | os.PathLike[str],
        raw_fi: bool = False,
        encoding: str = "utf-8",
        errors: str = "surrogateescape",
        **kwargs: Any,
    ) -> None:
        self.operations = operations
        self.raw_fi, self.encoding, self.errors = raw_fi, encoding, errors
        self.use_ns = getattr(operations, "use_ns", False)
        kwargs.setdefault("fsname", type(operations).__name__)
        try:
            options = Options.read(kwargs)
        except (TypeError, ValueError) as exc:
            raise RuntimeError(str(exc)) from exc
        served = _Served(os.path.abspath(mountpoint), options)
        store = Store(
            operations,
            options.config,
            raw_fi,
            self.use_ns,
            encoding,
            errors,
            served.end_with,
        )
        served.serve(store)
        del self.operations  # the program may wait for its destructor


@attrs.define(eq=False)
class _Served:
    """One mount, from its start to its end."""

    mountpoint: str
    options: Options
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _raised: BaseException | None = attrs.field(default=None, init=False)

    def exit(self) -> None:
        """Unmount; from any thread."""
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)

    def end_with(self, exc: BaseException) -> None:
        """Unmount, and raise an exception from `FUSE`."""
        self._raised = exc
        self.exit()

    def serve(self, store: Store) -> None:
        """Serve here, or in a child process."""
        filesystem = ProgramFilesystem(store, self.options)
        if self.options.foreground:
            self._run(filesystem, _do_nothing)
        else:
            self._run_in_background(filesystem)
        if self._raised is not None:
            raise self._raised

    def _run(self, filesystem: ProgramFilesystem, ready: Callable[[], None]) -> None:
        try:
            trio.run(self._main, filesystem, ready)
        except BaseExceptionGroup as group:
            exc = unwrapped(group)
            _raise(exc)
        except (OSError, ValueError) as exc:
            _raise(exc)

    @trio.lowlevel.enable_ki_protection
    async def _main(
        self, filesystem: ProgramFilesystem, ready: Callable[[], None]
    ) -> None:
        _current.set(self)
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            if threading.current_thread() is threading.main_thread():
                await nursery.start(self._cancel_on_signal)
            with self._scope:
                options = self.options.mount
                async with mount(filesystem, self.mountpoint, options) as session:
                    ready()
                    await session.wait_unmounted()
            nursery.cancel_scope.cancel()

    async def _cancel_on_signal(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*_ENDING) as received:
            task_status.started()
            async for _ in received:
                self._scope.cancel()

    def _run_in_background(self, filesystem: ProgramFilesystem) -> None:
        """Serve in a child; this process ends when the mount can be used."""
        sys.stdout.flush()
        sys.stderr.flush()
        reading, writing = os.pipe()
        if os.fork():
            os.close(writing)
            _end_parent(reading)
        os.close(reading)
        os.setsid()
        os.chdir("/")

        def ready() -> None:
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nothing, number)
            os.close(nothing)
            os.write(writing, _READY)
            os.close(writing)

        try:
            self._run(filesystem, ready)
        except RuntimeError as exc:
            with contextlib.suppress(OSError):  # it was ready: nobody reads
                os.write(writing, str(exc).encode(errors="replace"))
            os._exit(1)


#: What the child says when the mount can be used.
_READY = b"\0ready"

#: The mount whose request is being answered.
_current: ContextVar[_Served] = ContextVar("triofuse.compat.fuse")


def _do_nothing() -> None:
    pass


def _raise(exc: BaseException) -> NoReturn:
    """Raise an error as programs expect it."""
    if isinstance(exc, OSError | ValueError):
        raise RuntimeError(str(exc)) from exc
    raise exc


def _end_parent(reading: int) -> NoReturn:
    """End when the child is ready; raise its error otherwise."""
    with open(reading, "rb") as pipe:
        said = pipe.read()
    if said == _READY:
        os._exit(0)
    os.wait()
    raise RuntimeError(said.decode(errors="replace") or "the child process has ended")


def fuse_get_context() -> tuple[int, int, int]:
    """Return uid, gid and pid of who calls; zeros outside of requests."""
    request = current_request()
    return (request.uid, request.gid, request.pid) if request else (0, 0, 0)


def fuse_exit() -> None:
    """Unmount the mount that asks; `FUSE` returns then.

    Raises:
      RuntimeError: The caller belongs to no mount.
    """
    try:
        served = _current.get()
    except LookupError:
        raise RuntimeError("fuse_exit() is called by operations of a mount") from None
    served.exit()
