"""`run`: a program that serves a filesystem and does nothing else.

The law: the first signal unmounts, and then what the filesystem lives in is left in
order.  A further one cancels that as well.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Unpack

import attrs
import trio

from triofuse.device.options import MountOptions
from triofuse.filesystem.filesystem import Filesystem
from triofuse.running.mounting import mount
from triofuse.session.answering.exceptions import unwrapped
from triofuse.session.session import SessionOptions
from triofuse.session.startup.arguments import options_for

__all__ = ["Living", "Run", "run"]

_log = logging.getLogger("triofuse")

#: A filesystem, or the async context in which it lives.
Living = Filesystem | AbstractAsyncContextManager[Filesystem]

#: The signals that end `run`; libfuse's set_signal_handlers() has the same.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    filesystem: Living,
    mountpoint: str | os.PathLike[str],
    options: MountOptions | None = None,
    **session_options: Unpack[SessionOptions],
) -> None:
    """Mount and serve in a program that does nothing else.

    Returns when the filesystem is unmounted.  SIGINT, SIGTERM and SIGHUP unmount it; the
    log names the signal.  A signal that is ignored stays ignored, as SIGHUP is under
    nohup(1).

    A filesystem that needs something open around it is given as the async context that
    it lives in::

        @asynccontextmanager
        async def remote(url: str) -> AsyncIterator[RemoteFilesystem]:
            async with httpx.AsyncClient(base_url=url) as client:
                yield RemoteFilesystem(client)

        triofuse.run(remote("https://example.org"), "/mnt/remote")

    The context is entered before the mount and left after it, when ``destroy`` has
    run.  A second signal cancels what its exit waits for.

    Args:
      filesystem: The filesystem to serve, or an async context manager of one.
      mountpoint: As of `mount`, like the other arguments.
      options: The mount options.
      session_options: See `Session`.

    Raises:
      Exception: What `mount` or the context raises.
    """
    Run(filesystem, mountpoint, options, session_options).run()


def _do_nothing() -> None:
    pass


@attrs.define(eq=False)
class Run:
    """One call of `run`.

    Attributes:
      filesystem: The filesystem, or its context.
      mountpoint: Where it is mounted.
      options: The options that are given.
      session_options: The keyword arguments of `Session`.
      defaults: The options where neither the caller nor the filesystem says anything.
      ready: Called when the mount can be used.
      stopping: Called when it is about to be unmounted, or was.
    """

    filesystem: Living
    mountpoint: str | os.PathLike[str]
    options: MountOptions | None
    session_options: SessionOptions
    defaults: MountOptions = attrs.field(factory=MountOptions)
    ready: Callable[[], None] = _do_nothing
    stopping: Callable[[], None] = _do_nothing
    #: What the next signal cancels is the last one.
    _scopes: list[trio.CancelScope] = attrs.field(factory=list, init=False)

    def run(self) -> None:
        """Serve until it is unmounted or a signal arrives."""
        try:
            trio.run(self._main)
        except BaseExceptionGroup as group:
            raise unwrapped(group) from None

    # Before the signal receiver exists, Ctrl-C must not be raised while a task is being
    # started: that task would be neither running nor finished.
    @trio.lowlevel.enable_ki_protection
    async def _main(self) -> None:
        signals = [
            one for one in _ENDING if signal.getsignal(one) is not signal.SIG_IGN
        ]
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as everything:
                self._scopes.append(everything)
                if signals:
                    await nursery.start(self._cancel_on, signals)
                async with _context_of(self.filesystem) as filesystem:
                    await self._serve(filesystem)
            nursery.cancel_scope.cancel()

    async def _serve(self, filesystem: Filesystem) -> None:
        with trio.CancelScope() as serving:
            self._scopes.append(serving)
            options = self.options
            if isinstance(filesystem, Filesystem):  # if not, mount() says so
                options = options_for(filesystem, options).over(self.defaults)
            mounted = mount(
                filesystem, self.mountpoint, options, **self.session_options
            )
            async with mounted as session:
                self.ready()
                try:
                    await session.wait_unmounted()
                finally:
                    self.stopping()
        self._scopes.remove(serving)

    async def _cancel_on(
        self, signals: list[signal.Signals], *, task_status: trio.TaskStatus[None]
    ) -> None:
        with trio.open_signal_receiver(*signals) as received:
            task_status.started()
            async for number in received:  # a second signal must not kill the process
                # SIGHUP is often unintended: a level that is shown by default.
                level = logging.WARNING if number == signal.SIGHUP else logging.INFO
                _log.log(level, "ends on %s", signal.Signals(number).name)
                if self._scopes[-1].cancel_called:
                    self._scopes[0].cancel()
                self._scopes[-1].cancel()


@asynccontextmanager
async def _context_of(living: Living) -> AsyncIterator[Filesystem]:
    """Enter the context of a filesystem; a filesystem has none."""
    if isinstance(living, AbstractAsyncContextManager):
        async with living as filesystem:
            yield filesystem
        return
    given: object = living
    if inspect.isasyncgen(given):
        message = (
            f"{given.__name__}() is an async generator: "
            "decorate the function with contextlib.asynccontextmanager"
        )
        raise TypeError(message)
    yield living
