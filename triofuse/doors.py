"""The three front doors: `mount`, `serve` and `run`."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import NoReturn, Unpack

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.device.mount import Mount, mount_filesystem
from triofuse.device.options import MountOptions
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.words import shown
from triofuse.session.arguments import check_arguments
from triofuse.session.exceptions import unwrapped
from triofuse.session.session import GRACE, Session, SessionOptions, check_options
from triofuse.session.signals import interruptible_opcodes

__all__ = ["mount", "run", "serve"]

_log = logging.getLogger("triofuse")

#: Seconds that a clean unmount may take, to write back what the kernel caches.
_UNMOUNT_TIMEOUT = 10.0


#: The signals that end `run`; libfuse's set_signal_handlers() has the same.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def mount(
    filesystem: Filesystem,
    mountpoint: str | os.PathLike[str],
    options: MountOptions | None = None,
    **session_options: Unpack[SessionOptions],
) -> AbstractAsyncContextManager[Session]:
    """Mount a filesystem for the length of a block.

    On entry the mount is usable.  On exit it is unmounted, handlers have ended,
    ``destroy`` has run and everything is closed, however the block is left.  An
    unmount from outside ends the session, not the block: see
    ``Session.wait_unmounted``.

    Ctrl-C, cancellation and any exception unmount as well.  A signal whose default
    action kills the process does not, unless the program handles it as `run` does:
    SIGTERM, and the SIGHUP of a closed terminal.  ``MountOptions.auto_unmount`` is for
    that, for SIGKILL, and for a server that gives up the right to unmount.

    What others have mounted on directories of the filesystem is unmounted with it, and
    the log says so.  A child that is forked in the block owns nothing of the mount, and
    leaves the block without a trace; end it by os._exit(), for trio cannot be left there.

    Args:
      filesystem: Whom to ask.
      mountpoint: An existing directory (or file, for a filesystem whose root is
        one), or ``/dev/fd/N``: a descriptor of /dev/fuse that is mounted already.
      options: How to mount.
      session_options: ``max_handlers``, ``max_payload``, ``timeout``, ``strict`` and
        ``measure``:
        see `Session`.

    Raises:
      MountError: It cannot be mounted; says at which step, and the remedy.
      TypeError: An argument is something else than it should be, or there is none of
        that name; nothing was mounted.
      ValueError: There is no such operation to limit, or a number is out of range.
      HandshakeError: The kernel is too old.

    Source: mount(2), fuse(4), fusermount3(1).
    """
    check_arguments(filesystem, mountpoint, options)
    check_options(session_options)
    interruptible_opcodes(filesystem)
    mounted = _mounted(filesystem, mountpoint, options, session_options)
    return _Uninterrupted(mounted)


@attrs.frozen(eq=False, repr=False)
class _Uninterrupted(AbstractAsyncContextManager[Session]):
    """Raises KeyboardInterrupt at a checkpoint or in the block, and nowhere else.

    A forked child leaves it at once: its trio loop is one with its parent's, for they
    share the epoll descriptor, and must not be run.
    """

    _context: AbstractAsyncContextManager[Session]
    _pid: int = attrs.field(factory=os.getpid, init=False)

    def __enter__(self) -> NoReturn:
        """Say what to write, as trio's nurseries do."""
        raise RuntimeError("write 'async with triofuse.mount(...)', not 'with'")

    def __exit__(self, *_: object) -> None:
        """Nothing: it is never entered so."""

    def __await__(self) -> NoReturn:
        """Say likewise what to write."""
        raise RuntimeError("write 'async with triofuse.mount(...)', not 'await'")

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Session:
        return await self._context.__aenter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if os.getpid() != self._pid:
            return None
        return await self._context.__aexit__(kind, exc, traceback)


@asynccontextmanager
async def _mounted(
    filesystem: Filesystem,
    mountpoint: str | os.PathLike[str],
    options: MountOptions | None,
    session_options: SessionOptions,
) -> AsyncIterator[Session]:
    options = options or MountOptions()
    mounted = await mount_filesystem(mountpoint, options)
    # From here to its end the mount is undone whatever happens; no checkpoint between.
    left_by: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            session = None
            try:
                session = _session(filesystem, mounted, options, session_options)
                await nursery.start(session.run)
                session.shield()
                yield session
            except BaseException as exc:  # noqa: BLE001  (raised again below)
                left_by = exc
            # KeyboardInterrupt comes to the main task in spite of shields: so another
            # one unmounts, for which the nursery waits.
            nursery.start_soon(_end, session, mounted)
    except BaseExceptionGroup as group:
        raise _combined(group, left_by) from None
    finally:
        mounted.abandon()  # where nobody has come to it
    if left_by is not None:
        raise left_by


def _session(
    filesystem: Filesystem,
    mounted: Mount,
    options: MountOptions,
    session_options: SessionOptions,
) -> Session:
    inherited = mounted.path.startswith("/dev/fd/")  # by whom, with which options?
    return Session(
        filesystem,
        Channel(mounted.device),
        mountpoint=mounted.path,
        allowed_uids=frozenset({0, os.getuid()}) if options.allow_root else None,
        default_permissions=None if inherited else options.default_permissions,
        root_type=mounted.root_type,
        **session_options,
    )


@trio.lowlevel.enable_ki_protection
async def _end(session: Session | None, mounted: Mount) -> None:
    """Unmount while the session still serves, then end it: in bounded time.

    A filesystem that does not answer keeps its unmounting waiting until the device
    is closed; the thread that waits then finishes by itself.
    """
    place = shown(mounted.path)
    try:
        with trio.move_on_after(_UNMOUNT_TIMEOUT, shield=True) as scope:
            await mounted.unmount()
        if scope.cancelled_caught:
            _log.error("%s: unmounting takes its time; goes on alone", place)
    except Exception as exc:  # noqa: BLE001  (whatever it is, the session must end)
        _log.error("%s cannot be unmounted: %s", place, exc)
    finally:
        if session is not None:
            session.finish(GRACE)


def _combined(
    group: BaseExceptionGroup[BaseException], left_by: BaseException | None
) -> BaseException:
    """Return what to raise where the session failed, and perhaps its block as well.

    A block that was cancelled because its session failed adds nothing.
    """
    if isinstance(left_by, BaseExceptionGroup):
        _, left_by = left_by.split(trio.Cancelled)
    exc = unwrapped(group)
    if left_by is None or isinstance(left_by, trio.Cancelled):
        return exc
    if isinstance(left_by, KeyboardInterrupt) and isinstance(exc, KeyboardInterrupt):
        return left_by  # of an impatient user
    return BaseExceptionGroup("both the mount and its block failed", [exc, left_by])


async def serve(
    filesystem: Filesystem,
    mountpoint: str | os.PathLike[str],
    options: MountOptions | None = None,
    *,
    task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
    **session_options: Unpack[SessionOptions],
) -> None:
    """Mount a filesystem and serve it until it is unmounted from outside.

    For ``session = await nursery.start(serve, filesystem, mountpoint)``: started
    when the mount is usable; cancel it to unmount.  Arguments and errors are those
    of `mount`.
    """
    async with mount(filesystem, mountpoint, options, **session_options) as session:
        task_status.started(session)
        await session.wait_unmounted()


def run(
    filesystem: Filesystem,
    mountpoint: str | os.PathLike[str],
    options: MountOptions | None = None,
    **session_options: Unpack[SessionOptions],
) -> None:
    """Mount and serve in a program that does nothing else.

    Returns when the filesystem is unmounted, or on SIGINT, SIGTERM or SIGHUP, which
    unmount it, and which the log names; one that is ignored, as SIGHUP by nohup(1), stays
    ignored.  Arguments and errors are those of `mount`.
    """
    signals = [one for one in _ENDING if signal.getsignal(one) is not signal.SIG_IGN]

    # Ctrl-C before there is a receiver must not come while a task is being started: that
    # task would be neither running nor over.
    @trio.lowlevel.enable_ki_protection
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as serving:
                if signals:
                    await nursery.start(_cancel_on_signal, signals, serving)
                await serve(filesystem, mountpoint, options, **session_options)
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise unwrapped(group) from None


async def _cancel_on_signal(
    signals: list[signal.Signals],
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    with trio.open_signal_receiver(*signals) as received:
        task_status.started()
        async for number in received:  # also the second one, of an impatient user
            # Nobody may have meant to send SIGHUP: that is told without being asked for.
            level = logging.WARNING if number == signal.SIGHUP else logging.INFO
            _log.log(level, "ends on %s", signal.Signals(number).name)
            scope.cancel()
