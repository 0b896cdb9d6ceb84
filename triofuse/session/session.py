"""The life of one mount: handshake, nursery, end.

The session owns the channel and the nursery in which everything runs; what it
opens it closes.  However it ends, the filesystem's handles are released, its
``destroy`` runs once, and the device is closed, which lets every caller go.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Self

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.device.dev_fuse import DevFuse
from triofuse.filesystem.filesystem import Filesystem
from triofuse.session.control import Control
from triofuse.session.handlers import Handlers
from triofuse.session.handles import Handles
from triofuse.session.handshake import receive_offer
from triofuse.session.intake import Intake
from triofuse.session.pending import Pending, SessionStatistics
from triofuse.session.service import Service
from triofuse.wire.handshake import Agreement
from triofuse.wire.operations import operations_for

__all__ = ["GRACE", "Session"]

_log = logging.getLogger("triofuse")

#: Seconds for which handlers may go on when the mount is over.
GRACE = 0.5

#: Seconds for which the filesystem may clean up: ``release`` and ``destroy``.
_CLEANUP = 10.0

#: Requests that the reader takes before it lets other tasks run.
_BUDGET = 64


@attrs.define(eq=False)
class Session:
    """Serves a filesystem on a channel; `triofuse.mount` makes one.

    Attributes:
      filesystem: Whom to ask.
      channel: Where the kernel is; the session closes it.
      mountpoint: Where the filesystem is mounted, for logs and errors; empty where
        somebody else has mounted it.
      allowed_uids: Who may use it, None for whomever the kernel lets in.  The kernel
        knows no allow_root: it lets all in, and others get EACCES here.
      max_handlers: Requests that are served at a time.  Those past it wait, while
        INTERRUPT and FORGET still pass.
      strict: Whether a bug of the filesystem ends the session, for tests.  Without
        it the caller gets EIO and the log the traceback.
      agreement: What was agreed on with the kernel; None until it was.
    """

    filesystem: Filesystem
    channel: Channel
    mountpoint: str = attrs.field(default="", kw_only=True)
    allowed_uids: frozenset[int] | None = attrs.field(default=None, kw_only=True)
    max_handlers: int = attrs.field(
        default=1000, kw_only=True, validator=attrs.validators.ge(1)
    )
    strict: bool = attrs.field(default=False, kw_only=True)
    agreement: Agreement | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _pending: Pending = attrs.field(factory=Pending, init=False, repr=False)
    _handlers: Handlers | None = attrs.field(default=None, init=False, repr=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    @classmethod
    def from_fd(
        cls,
        filesystem: Filesystem,
        fd: int,
        *,
        max_handlers: int = 1000,
        strict: bool = False,
    ) -> Self:
        """Adopt a descriptor of /dev/fuse that is mounted, and not yet answered.

        The session closes it.  Who has mounted it unmounts it.
        """
        channel = Channel(DevFuse(fd))
        return cls(filesystem, channel, max_handlers=max_handlers, strict=strict)

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until the filesystem is unmounted or `finish` is called.

        ``task_status`` is started when INIT has been answered: from then on the
        mount can be used.

        Raises:
          TypeError: ``Filesystem.forget`` is async; nobody would await it.
          HandshakeError: The kernel is too old, or has unmounted already.
          Exception: What ``Filesystem.init`` raised, and in strict mode what any
            other method did.
        """
        try:
            if inspect.iscoroutinefunction(self.filesystem.forget):
                message = f"{type(self.filesystem).__name__}.forget() must not be async"
                raise TypeError(message)
            with self._scope:
                offer = await receive_offer(self.channel, self.filesystem)
                try:
                    await self.filesystem.init(offer.config)
                except BaseException:
                    await offer.refuse()
                    raise
                try:
                    self.agreement = await offer.accept()
                    await self._serve(self.agreement, task_status)
                finally:
                    await self._destroy()
        finally:
            self.channel.close()
            self._ended.set()

    def finish(self, grace: float = GRACE) -> None:
        """End the session in at most ``grace`` seconds: what still runs is cancelled."""
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + grace)

    def statistics(self) -> SessionStatistics:
        """Return what the session is doing at this moment."""
        queued = len(self._pending.waiting)
        in_flight = len(self._pending.running) + queued
        handlers = self._handlers.running if self._handlers else 0
        return SessionStatistics(in_flight, queued, handlers)

    def shield(self) -> None:
        """Go on serving when cancelled from outside; only `finish` ends it now.

        For an owner that unmounts first: the kernel then writes back what it holds,
        which takes a filesystem that still answers.
        """
        self._scope.shield = True

    async def wait_unmounted(self) -> None:
        """Wait until the session has ended: unmounted here or from outside."""
        await self._ended.wait()

    async def _serve(
        self, agreement: Agreement, task_status: trio.TaskStatus[Session]
    ) -> None:
        handles = Handles(self.filesystem, self.strict)
        service = Service(
            self.filesystem,
            handles,
            self.channel.sender(),
            operations_for(agreement.minor, agreement.flags),
            self.allowed_uids,
            self.strict,
        )
        try:
            async with trio.open_nursery() as outer:
                outer.start_soon(self._cut_off)
                async with trio.open_nursery() as nursery:
                    control = Control(nursery, handles, service, self._pending)
                    intake = Intake(
                        self.channel,
                        agreement.receive_size,
                        control.table(),
                        control.reject,
                    )
                    self._handlers = Handlers(
                        nursery, intake, service, self._pending, self.max_handlers
                    )
                    nursery.start_soon(self._read, intake, self._handlers)
                    task_status.started(self)
                outer.cancel_scope.cancel()
        finally:
            await self._clean_up("release", handles.release_all)

    async def _cut_off(self) -> None:
        """Close the device when the grace is over.

        A handler that does not give way then keeps its own task, but no caller.
        """
        try:
            await trio.sleep_forever()
        finally:
            self.channel.close()
            if self._handlers is not None:
                self._handlers.hurry(_CLEANUP)

    async def _read(self, intake: Intake, handlers: Handlers) -> None:
        """Hand requests to handlers until the connection is over.

        The reader never waits for a handler, or it could not see the INTERRUPT
        that frees one.
        """
        budget = _BUDGET
        try:
            while True:
                try:
                    arrival = intake.receive_nowait()
                except BlockingIOError:
                    await self.channel.wait_readable()
                    budget = _BUDGET
                    continue
                if arrival is not None:
                    handlers.queue(arrival)
                budget -= 1
                if budget == 0:
                    await trio.lowlevel.checkpoint()
                    budget = _BUDGET
        except (trio.EndOfChannel, trio.ClosedResourceError):
            _log.debug("%s: the connection is over", self.mountpoint)
        self.finish()
        handlers.close()

    async def _destroy(self) -> None:
        try:
            await self._clean_up("destroy", self.filesystem.destroy)
        except Exception:
            _log.exception("%s.destroy() failed", type(self.filesystem).__name__)
            if self.strict:
                raise

    async def _clean_up(self, what: str, clean: Callable[[], Awaitable[None]]) -> None:
        """Do what must be done whatever has happened, in bounded time."""
        with trio.move_on_after(_CLEANUP, shield=True) as scope:
            await clean()
        if scope.cancelled_caught:
            name = type(self.filesystem).__name__
            _log.error("%s.%s() was cut off after %g s", name, what, _CLEANUP)
