"""The life of one mount: handshake, nursery, end.

The session owns the channel and the nursery in which everything runs; what it
opens it closes.  However it ends, the filesystem's handles are released, its
``destroy`` runs once, and the device is closed, which lets every caller go.  Where tasks
are started Ctrl-C is held back, or one might be neither running nor over.
"""

from __future__ import annotations

import logging
import math
import stat
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Self, TypedDict, Unpack

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.device.dev_fuse import DevFuse
from triofuse.device.mount_error import MountError
from triofuse.filesystem.checks import awaited, check_filesystem, doubts_about
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import InitFlags
from triofuse.filesystem.replies import look_up_owner_anew
from triofuse.filesystem.words import shown
from triofuse.session.answering.backings import Backings
from triofuse.session.answering.handles import Handles
from triofuse.session.answering.service import Service
from triofuse.session.answering.statistics import SessionStatistics
from triofuse.session.control.deadlines import Deadlines, limits_of
from triofuse.session.control.requests import Control
from triofuse.session.control.signals import FindStanding, Signals, thread_standing
from triofuse.session.in_flight.table import InFlightTable, requests_inherited
from triofuse.session.inspection.report import InFlight, in_flight, statistics
from triofuse.session.inspection.watchdog import Watchdog
from triofuse.session.notifications.notifier import SessionNotifier
from triofuse.session.scheduling.handlers import Handlers
from triofuse.session.scheduling.receiver import Receiver
from triofuse.session.startup.arguments import check_settings
from triofuse.session.startup.negotiation import receive_offer
from triofuse.session.startup.root import check_root
from triofuse.wire.handshake import Agreement
from triofuse.wire.operations import operations_for

__all__ = ["GRACE", "Session", "SessionOptions", "check_options"]

_log = logging.getLogger("triofuse")

#: Seconds for which handlers may go on when the mount is over.
GRACE = 0.5

#: Seconds for which the filesystem may clean up: ``release`` and ``destroy``.
_CLEANUP = 10.0

#: Bytes of WRITE payloads that are held at a time.
_MAX_PAYLOAD = 64 << 20

#: Seconds; a client on another CPU takes 15 to 40 us from one reply to its next request.
_BUSY_POLL = 50e-6


class SessionOptions(TypedDict, total=False):
    """The keyword arguments of `Session` that `mount` and its kin pass on."""

    max_handlers: int
    max_payload: int
    timeout: float | Mapping[str, float]
    strict: bool
    measure: bool
    busy_poll: float


def check_options(options: SessionOptions) -> None:
    """See whether a session can be made with these.

    Raises:
      TypeError: There is no such argument, or it is of another type.
      ValueError: One of them is out of range, or there is no operation of that name.
    """
    check_settings(options, SessionOptions.__annotations__)


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
      default_permissions: Whether it is mounted with that option, on which
        ``InitFlags.ALLOW_IDMAP`` depends; None where somebody else has mounted it.
      root_type: ``stat.S_IFDIR`` or ``S_IFREG``, which the root must be; None where
        somebody else has mounted it.
      max_handlers: Requests that may be blocked at a time, those that wait for a lock
        not counted.  Others wait, while INTERRUPT and FORGET still pass.  One user
        (``uid``) has at most 8/9 of them: the rest is kept for others.
      max_payload: Bytes of large requests, that is of WRITEs, that are held at a
        time, shared out likewise.  What a user sends beyond that stays with the
        kernel, and others are served meanwhile; before protocol 7.40 all wait.
      timeout: Seconds that a request may take, or that by the name of its method:
        ``{"read": 5, "setlkw": 60}``.  Then its handler is cancelled and the caller
        gets ETIMEDOUT.  A number is not for SETLKW, which is there to wait.  Where
        the kernel has a request timeout of its own, everything ends before that.
      strict: Whether a bug of the filesystem ends the session, for tests.  Without
        it the caller gets EIO and the log the traceback.
      measure: Whether latencies and bytes are taken for `statistics`; costs 3 %.
      busy_poll: Seconds for which a handler that idles waits for the next request
        awake, having made way for others on its CPU, as long as that has lately paid
        off; 0 is for sleeping at once.
      agreement: What was offered, wanted, granted and refused, and why; None until
        INIT has been answered.  ``print(session.agreement)`` tells it all.
      notifier: Tells the kernel what has changed; also ``filesystem.notifier``.
      look: Tells whether a caller lives on after its signal; by /proc, but for
        `triofuse.testing`.
    """

    filesystem: Filesystem
    channel: Channel
    mountpoint: str = attrs.field(default="", kw_only=True)
    allowed_uids: frozenset[int] | None = attrs.field(default=None, kw_only=True)
    default_permissions: bool | None = attrs.field(default=None, kw_only=True)
    root_type: int | None = attrs.field(default=None, kw_only=True)
    max_handlers: int = attrs.field(default=1000, kw_only=True)
    max_payload: int = attrs.field(default=_MAX_PAYLOAD, kw_only=True)
    timeout: float | Mapping[str, float] = attrs.field(default=math.inf, kw_only=True)
    strict: bool = attrs.field(default=False, kw_only=True)
    measure: bool = attrs.field(default=False, kw_only=True)
    busy_poll: float = attrs.field(default=_BUSY_POLL, kw_only=True)
    agreement: Agreement | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    notifier: SessionNotifier = attrs.field(init=False, repr=False)
    look: FindStanding = attrs.field(default=thread_standing, init=False, repr=False)
    _table: InFlightTable = attrs.field(init=False, repr=False)
    _handlers: Handlers | None = attrs.field(default=None, init=False, repr=False)
    _service: Service | None = attrs.field(default=None, init=False, repr=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        check_filesystem(self.filesystem)
        names = SessionOptions.__annotations__
        check_settings({name: getattr(self, name) for name in names}, names)
        self._table = InFlightTable(self.max_handlers)
        self.notifier = SessionNotifier(self.channel, self._table)

    @classmethod
    def from_fd(
        cls, filesystem: Filesystem, fd: int, **options: Unpack[SessionOptions]
    ) -> Self:
        """Adopt a descriptor of /dev/fuse that is mounted, and not yet answered.

        The session closes it.  Who has mounted it unmounts it.
        """
        check_options(options)
        return cls(filesystem, Channel(DevFuse(fd)), **options)

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until the filesystem is unmounted or `finish` is called.

        ``task_status`` is started when INIT has been answered: from then on the
        mount can be used.

        Raises:
          MountError: The root of the filesystem is not what it is mounted on.
          HandshakeError: The kernel is too old, or has unmounted already.
          Exception: What ``Filesystem.init`` raised, and in strict mode what any
            other method did.
        """
        look_up_owner_anew()
        try:
            for doubt in doubts_about(
                self.filesystem, is_directory=self.root_type != stat.S_IFREG
            ):
                _log.warning("%s", doubt)
            with self._scope:
                offer = await receive_offer(
                    self.channel,
                    self.filesystem,
                    default_permissions=self.default_permissions,
                    allow_root=self.allowed_uids is not None,
                )
                object.__setattr__(
                    self.filesystem, "notifier", self.notifier
                )  # frozen?
                try:
                    await awaited(self.filesystem, "init", offer.config)
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
        """Return what the session is doing at this moment, and has done."""
        if self._handlers is None or self._service is None:
            return SessionStatistics()
        return statistics(self._table, self._handlers, self._service)

    def in_flight(self) -> list[InFlight]:
        """Return the requests that are not answered yet, the oldest first.

        Each with its arguments, its age and where its task stands: what to look at,
        or to log, when something takes too long.
        """
        return in_flight(self._table)

    def shield(self) -> None:
        """Go on serving when cancelled from outside; only `finish` ends it now.

        For an owner that unmounts first: the kernel then writes back what it holds,
        which takes a filesystem that still answers.
        """
        self._scope.shield = True

    async def wait_unmounted(self) -> None:
        """Wait until the session has ended: unmounted here or from outside."""
        await self._ended.wait()

    @trio.lowlevel.enable_ki_protection
    async def _serve(
        self, agreement: Agreement, task_status: trio.TaskStatus[Session]
    ) -> None:
        sender = self.channel.sender()
        passthrough = InitFlags.PASSTHROUGH in agreement.flags
        backings = Backings(sender.open_backing, passthrough)
        handles = Handles(
            self.filesystem,
            self.strict,
            backings,
            InitFlags.EXPORT_SUPPORT in agreement.flags,
            self.allowed_uids is not None,
        )
        service = self._service = Service(
            self.filesystem,
            handles,
            sender,
            operations_for(agreement.minor, agreement.flags),
            self.allowed_uids,
            self.strict,
            self.measure,
            self._table.renumbered,
        )
        try:
            with requests_inherited():
                async with trio.open_nursery() as outer:
                    outer.start_soon(self._close_after_grace, agreement.receive_size)
                    async with trio.open_nursery() as nursery:
                        self._start(nursery, agreement, handles, service)
                        refusal = await self._refused_root()
                        if refusal is None:
                            task_status.started(self)
                        else:
                            nursery.cancel_scope.cancel()
                    outer.cancel_scope.cancel()
        finally:
            service.close()
            await self._clean_up("release", handles.release_all)
        if refusal is not None:
            raise refusal

    async def _refused_root(self) -> MountError | None:
        """Return why the mount cannot be handed to anybody."""
        try:
            await check_root(self.filesystem, self.root_type, self.mountpoint)
        except MountError as exc:
            return exc
        return None

    @trio.lowlevel.enable_ki_protection
    def _start(
        self,
        nursery: trio.Nursery,
        agreement: Agreement,
        handles: Handles,
        service: Service,
    ) -> None:
        """Start the tasks."""
        signals = Signals(
            self._table,
            handles,
            self.filesystem,
            self.look,
            service.answer_interrupted,
            nursery,
        )
        control = Control(nursery, handles, service, signals, self.notifier)
        receiver = Receiver(
            self.channel,
            agreement.receive_size,
            control.table(),
            control.reject,
            self.max_payload,
        )
        self._table.waiting = receiver.queue
        handlers = self._handlers = Handlers(
            nursery,
            receiver,
            service,
            self._table,
            self.notifier,
            self.max_handlers,
            self.busy_poll,
        )
        self.notifier.start(agreement.minor, nursery, handlers.read_copies)
        if self.notifier.can_resend:
            receiver.request_resend = handlers.request_resend
        guards = trio.CancelScope()
        limits = limits_of(self.timeout, agreement.request_timeout)
        if limits:
            deadlines = Deadlines(self._table, service.answer, limits)
            nursery.start_soon(_within, guards, deadlines.enforce)
        watchdog = Watchdog(self.channel, receiver, handlers.queue)
        watchdog.start()
        nursery.start_soon(self._end, handlers, guards, watchdog)
        handlers.start()

    async def _end(
        self, handlers: Handlers, guards: trio.CancelScope, watchdog: Watchdog
    ) -> None:
        """Wait until the connection is over, and then end the rest."""
        try:
            await handlers.over.wait()
        finally:
            watchdog.stop()
        _log.info("%s is unmounted, or aborted", shown(self.mountpoint))
        self.notifier.end()
        self.finish()
        guards.cancel()

    async def _close_after_grace(self, receive_size: int) -> None:
        """Close the device when the grace is over.

        A handler that does not give way then keeps its own task, but no caller.
        """
        try:
            await trio.sleep_forever()
        finally:
            self.channel.close()
            self.notifier.end()
            unanswered = [*self._table.running, *self._table.waiting]
            if self._handlers is not None:
                self._handlers.limit_releases(_CLEANUP)
            release = partial(self.notifier.unblock_threads, unanswered, receive_size)
            await self._clean_up("notifier", release)

    async def _destroy(self) -> None:
        try:
            await self._clean_up(
                "destroy", partial(awaited, self.filesystem, "destroy")
            )
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


async def _within(
    scope: trio.CancelScope, function: Callable[[], Awaitable[None]]
) -> None:
    with scope:
        await function()
