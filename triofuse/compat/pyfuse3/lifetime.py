"""The life of pyfuse3's one mount: init, main, terminate, close.

The law: at most one filesystem is mounted at a time, as in pyfuse3, whose functions name
none.  Whoever needs two uses `triofuse.mount`.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Set as AbstractSet
from contextlib import suppress
from typing import Any, Final

import attrs
import trio

from triofuse.compat.pyfuse3.bridge import Bridge, bridge_for
from triofuse.compat.pyfuse3.guest import AsyncioOperations, is_enabled, run_as_guest
from triofuse.compat.pyfuse3.options import read_options
from triofuse.device.mount import Mount
from triofuse.device.mount_error import MountError
from triofuse.device.mount_sync import mount_sync
from triofuse.running.mounting import session_of
from triofuse.session.answering.exceptions import unwrapped
from triofuse.session.session import Session

__all__ = ["close", "current", "default_options", "init", "serve", "terminate"]

_log = logging.getLogger("triofuse.compat.pyfuse3")

default_options: Final = frozenset({"default_permissions"})

#: Seconds that an unmount may take while the filesystem still answers.
_UNMOUNT_TIMEOUT = 10.0

#: Seconds in which requests are answered before that.
_QUIET_TIMEOUT = 1.0


@attrs.define(eq=False)
class Life:
    """What `init` has mounted, until `close`.

    Attributes:
      operations: The program's object with the handlers.
      bridge: The filesystem that calls them.
      mount: The mount.
      session: The session, while `main` runs and afterwards.
      terminated: Set by `terminate`.
      token: The event loop, while `main` runs.
    """

    operations: Any
    bridge: Bridge
    mount: Mount
    session: Session | None = None
    terminated: bool = False
    token: trio.lowlevel.TrioToken | None = None
    _must_end: trio.Event = attrs.field(factory=trio.Event)
    _pid: int = attrs.field(factory=os.getpid)

    @property
    def is_of_parent(self) -> bool:
        """Whether it is the parent's, which serves it, and not this forked child's."""
        return self._pid != os.getpid() and self.mount.device.fd == -1

    def terminate(self) -> None:
        """Have `main` return; in any thread, and in a signal handler."""
        self.terminated = True
        if self.token is not None:
            with suppress(trio.RunFinishedError):
                self.token.run_sync_soon(self._must_end.set)

    async def serve(self, max_tasks: int, publish: Callable[[Any], None]) -> None:
        """Serve until the filesystem is unmounted, or `terminate` is called."""
        self.mount.claim()
        self.session = session_of(self.bridge, self.mount, max_handlers=max_tasks)
        self.token = trio.lowlevel.current_trio_token()
        publish(self.token)
        if self.terminated:
            self._must_end.set()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.bridge.report_forgotten)
                nursery.start_soon(self._end_when_terminated, self.session)
                await self.session.run()
                nursery.cancel_scope.cancel()
            await self.bridge.report_once()
        except BaseExceptionGroup as group:
            raise unwrapped(group) from None
        finally:
            self.token = None
            publish(None)

    async def _end_when_terminated(self, session: Session) -> None:
        await self._must_end.wait()
        if getattr(self.operations, "enable_writeback_cache", False):
            await self._unmount_while_served(session)
        session.finish(math.inf)

    async def _unmount_while_served(self, session: Session) -> None:
        """Unmount first: only then the kernel writes back what it holds."""
        with trio.move_on_after(_QUIET_TIMEOUT):  # else its users are logged
            while session.in_flight():  # noqa: ASYNC110  (nothing tells of its end)
                await trio.sleep(0.01)
        with trio.move_on_after(_UNMOUNT_TIMEOUT):
            try:
                await self.mount.unmount()
            except MountError as exc:
                _log.error("%s cannot be unmounted: %s", self.mount.path, exc)


_life: Life | None = None


def current(function: str) -> Life:
    """Return what is mounted.

    Raises:
      RuntimeError: Nothing is.
    """
    if _life is None or _life.is_of_parent:
        message = f"Need to call init() before {function}()"
        raise RuntimeError(message)
    return _life


def init(
    ops: Any, mountpoint: str, options: AbstractSet[str] = default_options
) -> None:
    """Mount a filesystem; `main` serves it.

    The program may fork before it calls `main`, as daemons do.

    Args:
      ops: `Operations`, or an object with the same methods.
      mountpoint: An existing directory.
      options: Words of ``-o``: ``fsname=...``, ``allow_other``, ``ro``.

    Raises:
      TypeError: The mountpoint is not a str, or the options are no set of str.
      RuntimeError: It cannot be mounted; or something is mounted already.
    """
    global _life
    given: object = mountpoint
    if not isinstance(given, str):
        message = f"mountpoint must be a str, not {type(given).__name__}"
        raise TypeError(message)
    if _life is not None and not _life.is_of_parent:
        message = (
            f"pyfuse3 serves one filesystem, and {_life.mount.path} is mounted: "
            "call close() first, or use triofuse.mount(), which serves any number"
        )
        raise RuntimeError(message)
    try:
        mount_options, settings = read_options(options)
        mount = mount_sync(os.path.abspath(mountpoint), mount_options)
    except (MountError, ValueError) as exc:
        raise RuntimeError(str(exc)) from exc
    handlers = AsyncioOperations(ops) if is_enabled() else ops
    bridge = bridge_for(handlers, settings)
    _life = Life(ops, bridge, mount)


async def serve(max_tasks: int, publish: Callable[[Any], None]) -> None:
    """Serve what `init` has mounted, in trio or in asyncio."""
    life = current("main")
    if life.session is not None:
        raise RuntimeError("main() was called already; call close(), then init() anew")
    if is_enabled():
        await run_as_guest(life.serve, max_tasks, publish)
    else:
        await life.serve(max_tasks, publish)


def terminate() -> None:
    """Have `main` return once the running handlers are done; in any thread."""
    current("terminate").terminate()


def close(unmount: bool = True) -> None:
    """Unmount, after `main`.

    Args:
      unmount: If false, the mount stays, and fails every access (ENOTCONN).

    Raises:
      RuntimeError: `main` still runs.
      MountError: It cannot be unmounted.
    """
    global _life
    life = _life
    if life is None or life.is_of_parent:
        return
    if life.token is not None:
        raise RuntimeError("main() still runs: call terminate(), and wait for it")
    _life = None
    if unmount:
        life.mount.unmount_sync()
    else:
        life.mount.leave_mounted()
