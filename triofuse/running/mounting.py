"""The ways to start a session in a trio program: `mount` and `serve`."""

from __future__ import annotations

import logging
import os
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
from triofuse.session.answering.exceptions import unwrapped
from triofuse.session.control.signals import interruptible_opcodes
from triofuse.session.session import Session, SessionOptions, check_options
from triofuse.session.startup.arguments import check_arguments, options_for

__all__ = ["mount", "serve", "session_of"]

_log = logging.getLogger("triofuse")

#: Seconds that a clean unmount may take.  The kernel writes back its cache meanwhile.
_UNMOUNT_TIMEOUT = 10.0


def mount(
    filesystem: Filesystem,
    mountpoint: str | os.PathLike[str] | Mount,
    options: MountOptions | None = None,
    **session_options: Unpack[SessionOptions],
) -> AbstractAsyncContextManager[Session]:
    """Mount a filesystem for the length of a block.

    On entry the mount is usable.  On exit it is unmounted, handlers have ended,
    ``destroy`` has run and everything is closed, however the block is left.  An
    unmount from outside ends the session, not the block: see
    ``Session.wait_unmounted``.

    Ctrl-C, cancellation and any exception unmount as well.  A signal whose default
    action kills the process does not unmount (SIGTERM, the SIGHUP of a closed
    terminal), unless the program handles it as `run` does.  Set
    ``MountOptions.auto_unmount`` to unmount after such a signal, after SIGKILL, or when
    the server gives up the right to unmount.

    Mounts on directories of the filesystem are unmounted with it; the log names them.
    A child that is forked in the block owns nothing of the mount, and leaves the block
    without unmounting.  End the child by os._exit(): it cannot leave trio's run.

    Args:
      filesystem: The filesystem to serve.
      mountpoint: An existing directory (or file, for a filesystem whose root is
        one), or ``/dev/fd/N``: a descriptor of /dev/fuse that is mounted already.
        Or what `mount_sync` returned.
      options: The mount options; those of ``Filesystem.mount_options`` are taken where
        these say nothing.  What `mount_sync` returned has its own.
      session_options: ``max_handlers``, ``max_payload``, ``timeout``, ``strict``,
        ``measure`` and ``trace``: see `Session`.

    Raises:
      MountError: The mount failed; the error names the step and the remedy.
      TypeError: An argument has the wrong type or an unknown name; nothing was
        mounted.
      ValueError: An operation to limit does not exist, or a number is out of range.
      HandshakeError: The kernel is too old.

    Source: mount(2), fuse(4), fusermount3(1).
    """
    check_arguments(filesystem, mountpoint, options)
    check_options(session_options)
    interruptible_opcodes(filesystem)
    wanted = options_for(filesystem, options)
    mounted = _mounted(filesystem, mountpoint, wanted, session_options)
    return _Uninterrupted(mounted)


@attrs.frozen(eq=False, repr=False)
class _Uninterrupted(AbstractAsyncContextManager[Session]):
    """Raises KeyboardInterrupt at a checkpoint or in the block, and nowhere else.

    A forked child leaves it at once: parent and child share the epoll descriptor, so
    the child must not run its copy of the trio loop.
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
    mountpoint: str | os.PathLike[str] | Mount,
    options: MountOptions,
    session_options: SessionOptions,
) -> AsyncIterator[Session]:
    if isinstance(mountpoint, Mount):
        mounted = mountpoint
    else:
        mounted = await mount_filesystem(mountpoint, options)
    # From here on the mount is undone whatever happens; no checkpoint in between.
    left_by: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            session = None
            try:
                mounted.claim()
                session = session_of(filesystem, mounted, **session_options)
                await nursery.start(session.run)
                session.shield()
                _read_ahead(mounted, session)
                yield session
            except BaseException as exc:  # noqa: BLE001  (raised again below)
                left_by = exc
            # Shields do not keep KeyboardInterrupt from the main task.  So another
            # task unmounts, and the nursery waits for it.
            nursery.start_soon(_end, session, mounted)
    except BaseExceptionGroup as group:
        raise _combined(group, left_by) from None
    finally:
        mounted.abandon()  # in case the unmount above did not finish
    if left_by is not None:
        raise left_by


def session_of(
    filesystem: Filesystem, mounted: Mount, **session_options: Unpack[SessionOptions]
) -> Session:
    """Return the session for a mount; it does not unmount.

    Args:
      filesystem: The filesystem to serve.
      mounted: The mount; claim it first.
      session_options: As for `mount`.
    """
    options = mounted.options
    inherited = mounted.path.startswith("/dev/fd/")  # its options are not known
    return Session(
        filesystem,
        Channel(mounted.device),
        mountpoint=mounted.path,
        allowed_uids=frozenset({0, os.getuid()}) if options.allow_root else None,
        default_permissions=None if inherited else options.default_permissions,
        root_type=mounted.root_type,
        max_readahead=options.max_readahead,
        **session_options,
    )


def _read_ahead(mounted: Mount, session: Session) -> None:
    """Have the kernel read ahead as far as was agreed, if that may be raised here."""
    assert session.agreement is not None
    size = session.agreement.max_readahead
    try:
        mounted.set_readahead(size)
    except OSError as exc:
        level = (
            logging.DEBUG if mounted.options.max_readahead is None else logging.WARNING
        )
        message = "%s: the kernel reads ahead 128 KiB at most, not %d bytes: %s"
        _log.log(level, message, shown(mounted.path), size, exc)


@trio.lowlevel.enable_ki_protection
async def _end(session: Session | None, mounted: Mount) -> None:
    """Unmount while the session still serves, then end the session, in bounded time.

    If the filesystem does not answer, the unmount blocks until the device is closed;
    then the thread that unmounts finishes by itself.
    """
    place = shown(mounted.path)
    try:
        with trio.move_on_after(_UNMOUNT_TIMEOUT, shield=True) as scope:
            await mounted.unmount()
        if scope.cancelled_caught:
            message = "%s: not unmounted within %g s; a thread continues to unmount it"
            _log.error(message, place, _UNMOUNT_TIMEOUT)
    except Exception as exc:  # noqa: BLE001  (the session must end in any case)
        _log.error("%s cannot be unmounted: %s", place, exc)
    finally:
        if session is not None:
            session.finish()


def _combined(
    group: BaseExceptionGroup[BaseException], left_by: BaseException | None
) -> BaseException:
    """Return the exception to raise when the session failed, and perhaps the block too.

    The cancellation of the block after the session failed is left out.
    """
    if isinstance(left_by, BaseExceptionGroup):
        _, left_by = left_by.split(trio.Cancelled)
    exc = unwrapped(group)
    if left_by is None or isinstance(left_by, trio.Cancelled):
        return exc
    if isinstance(left_by, KeyboardInterrupt) and isinstance(exc, KeyboardInterrupt):
        return left_by  # Ctrl-C was pressed twice
    return BaseExceptionGroup("both the mount and its block failed", [exc, left_by])


async def serve(
    filesystem: Filesystem,
    mountpoint: str | os.PathLike[str] | Mount,
    options: MountOptions | None = None,
    *,
    task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
    **session_options: Unpack[SessionOptions],
) -> None:
    """Mount a filesystem and serve it until it is unmounted from outside.

    Use it as ``session = await nursery.start(serve, filesystem, mountpoint)``, which
    returns when the mount is usable.  Cancel the task to unmount.  Arguments and errors
    are those of `mount`.
    """
    async with mount(filesystem, mountpoint, options, **session_options) as session:
        task_status.started(session)
        await session.wait_unmounted()
