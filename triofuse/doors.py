"""The three front doors: `mount`, `serve` and `run`."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import trio

from triofuse.device.channel import Channel
from triofuse.device.dev_fuse import DevFuse
from triofuse.device.mount import Mount, mount_filesystem
from triofuse.device.options import MountOptions
from triofuse.filesystem.filesystem import Filesystem
from triofuse.session.arguments import check_arguments
from triofuse.session.exceptions import unwrapped
from triofuse.session.session import GRACE, Session, SessionOptions, check_options
from triofuse.session.signals import interruptible_opcodes

__all__ = ["mount", "run", "serve"]

_log = logging.getLogger("triofuse")

#: Seconds that a clean unmount may take, to write back what the kernel caches.
_UNMOUNT_TIMEOUT = 10.0


@asynccontextmanager
async def mount(
    filesystem: Filesystem,
    mountpoint: str | os.PathLike[str],
    options: MountOptions | None = None,
    **session_options: Unpack[SessionOptions],
) -> AsyncIterator[Session]:
    """Mount a filesystem for the length of a block.

    On entry the mount is usable.  On exit it is unmounted, handlers have ended,
    ``destroy`` has run and everything is closed, however the block is left.  An
    unmount from outside ends the session, not the block: see
    ``Session.wait_unmounted``.

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
    options = options or MountOptions()
    mounted = await mount_filesystem(mountpoint, options)
    inherited = mounted.path.startswith("/dev/fd/")  # by whom, with which options?
    session = Session(
        filesystem,
        Channel(DevFuse(mounted.fd)),
        mountpoint=mounted.path,
        allowed_uids=frozenset({0, os.getuid()}) if options.allow_root else None,
        default_permissions=None if inherited else options.default_permissions,
        root_type=mounted.root_type,
        **session_options,
    )
    left_by: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(session.run)
                session.shield()
                yield session
            except BaseException as exc:  # noqa: BLE001  (raised again below)
                left_by = exc
            await _unmount(session, mounted)
    except BaseExceptionGroup as group:
        raise _combined(group, left_by) from None
    finally:
        session.channel.close()  # where run() has not come to it
    if left_by is not None:
        raise left_by


async def _unmount(session: Session, mounted: Mount) -> None:
    """Unmount while the session still serves, then end it: in bounded time.

    A filesystem that does not answer keeps its unmounting waiting until the device
    is closed; the thread that waits then finishes by itself.
    """
    try:
        with trio.move_on_after(_UNMOUNT_TIMEOUT, shield=True) as scope:
            await mounted.unmount()
        if scope.cancelled_caught:
            _log.error("%s: unmounting takes its time; goes on alone", mounted.path)
    except Exception as exc:  # noqa: BLE001  (whatever it is, the session must end)
        _log.error("%s cannot be unmounted: %s", mounted.path, exc)
    finally:
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

    Returns when the filesystem is unmounted, or on SIGINT or SIGTERM, which unmount
    it.  Arguments and errors are those of `mount`.
    """

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as serving:
                    nursery.start_soon(_cancel_on_signal, signals, serving)
                    await serve(filesystem, mountpoint, options, **session_options)
                nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise unwrapped(group) from None


async def _cancel_on_signal(
    signals: AsyncIterator[int], scope: trio.CancelScope
) -> None:
    async for _ in signals:  # also the second one, of an impatient user
        scope.cancel()
