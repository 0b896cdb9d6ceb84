"""The life of one mount: handshake, nursery, end.

The law: the session owns the channel and the nursery in which everything runs.  However
it ends, the open handles are released, ``destroy`` runs once, and the device is closed,
which wakes every caller.  Ctrl-C is blocked (KI protection) while tasks are started:
else a task could be lost between its creation and its start.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from functools import partial
from typing import Self, Unpack

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.device.dev_fuse import DevFuse
from triofuse.filesystem.checks import awaited, check_filesystem
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import InitFlags
from triofuse.filesystem.replies import look_up_owner_anew
from triofuse.filesystem.words import shown
from triofuse.session.answering.backings import Backings
from triofuse.session.answering.exceptions import unwrapped
from triofuse.session.answering.handles import Handles
from triofuse.session.answering.service import Service
from triofuse.session.answering.statistics import SessionStatistics
from triofuse.session.control.cleanup import clean_up, close_when_cancelled, destroy
from triofuse.session.control.deadlines import Deadlines, limits_of
from triofuse.session.control.ending import Ending, end_after
from triofuse.session.control.life import start_life
from triofuse.session.control.requests import Control
from triofuse.session.control.signals import FindStanding, Signals, thread_standing
from triofuse.session.in_flight.table import InFlightTable, requests_inherited
from triofuse.session.in_flight.trace_file import TraceFile
from triofuse.session.inspection.report import InFlight, in_flight, statistics
from triofuse.session.inspection.watchdog import Watchdog
from triofuse.session.notifications.notifier import SessionNotifier
from triofuse.session.notifications.traced import notifier_of
from triofuse.session.scheduling.handlers import Handlers
from triofuse.session.scheduling.receiver import Receiver
from triofuse.session.startup.arguments import check_settings, log_doubts
from triofuse.session.startup.negotiation import receive_offer
from triofuse.session.startup.options import (
    BUSY_POLL,
    MAX_PAYLOAD,
    SessionOptions,
    check_options,
)
from triofuse.session.startup.root import refused_root
from triofuse.wire.handshake import Agreement
from triofuse.wire.operations import operations_for

__all__ = ["Session", "SessionOptions", "check_options"]

_log = logging.getLogger("triofuse")


@attrs.define(eq=False)
class Session:
    """Serves a filesystem on a channel; `triofuse.mount` makes one.

    Attributes:
      filesystem: The filesystem to serve.
      channel: The connection to the kernel; the session closes it.
      mountpoint: Where the filesystem is mounted, for logs and errors; empty if
        another program has mounted it.
      allowed_uids: The users that may use it; None for no check.  The kernel has no
        allow_root: it is mounted with allow_other, and other users get EACCES here.
      default_permissions: Whether it is mounted with that option, on which
        ``InitFlags.ALLOW_IDMAP`` depends; None if another program has mounted it.
      root_type: The required type of the root, ``stat.S_IFDIR`` or ``S_IFREG``; None
        if another program has mounted it.
      max_readahead: ``MountOptions.max_readahead``.
      max_handlers: Requests that may be blocked at one time.  SETLKW is not counted.
        Further requests are queued; INTERRUPT and FORGET are not.  One user
        (``uid``) has at most 8/9 of the handlers; the rest is kept for others.
      max_payload: Bytes of large requests (WRITEs) that are held at one time, with the
        same shares.  What a user sends beyond its share stays with the kernel, and
        others are still served; before protocol 7.40 all users wait.
      timeout: Seconds that a request may take, for all or by the method's name:
        ``{"read": 5, "setlkw": 60}``.  Then its handler is cancelled and the caller
        gets ETIMEDOUT.  A single number does not apply to SETLKW, which may wait for
        ever.  If the kernel has a request timeout, all limits are below it.
      strict: Whether a bug of the filesystem ends the session, for tests.  If not,
        the caller gets EIO and the traceback is logged.
      measure: Whether `statistics` has latencies and bytes; costs 3 %.
      trace: A file for Trace Events, which Perfetto shows: each request, method,
        interrupt and notification.  None for none, which costs nothing.
      busy_poll: Seconds for which an idle handler polls for the next request, after it
        has yielded the CPU (sched_yield); it backs off after misses.  0 disables
        both: the handler sleeps at once.
      agreement: What was offered, wanted, granted and refused, and why; None until
        INIT has been answered.  ``print(session.agreement)`` shows all of it.
      notifier: Sends notifications to the kernel; also ``filesystem.notifier``.
      look: Finds out whether a caller survives its signal: from /proc, except in
        `triofuse.testing`.
    """

    filesystem: Filesystem
    channel: Channel
    mountpoint: str = attrs.field(default="", kw_only=True)
    allowed_uids: frozenset[int] | None = attrs.field(default=None, kw_only=True)
    default_permissions: bool | None = attrs.field(default=None, kw_only=True)
    root_type: int | None = attrs.field(default=None, kw_only=True)
    max_readahead: int | None = attrs.field(default=None, kw_only=True)
    max_handlers: int = attrs.field(default=1000, kw_only=True)
    max_payload: int = attrs.field(default=MAX_PAYLOAD, kw_only=True)
    timeout: float | Mapping[str, float] = attrs.field(default=math.inf, kw_only=True)
    strict: bool = attrs.field(default=False, kw_only=True)
    measure: bool = attrs.field(default=False, kw_only=True)
    trace: str | os.PathLike[str] | None = attrs.field(default=None, kw_only=True)
    busy_poll: float = attrs.field(default=BUSY_POLL, kw_only=True)
    agreement: Agreement | None = attrs.field(default=None, init=False)
    _ending: Ending = attrs.field(init=False, repr=False)
    notifier: SessionNotifier = attrs.field(init=False, repr=False)
    look: FindStanding = attrs.field(default=thread_standing, init=False, repr=False)
    _table: InFlightTable = attrs.field(init=False, repr=False)
    _handlers: Handlers | None = attrs.field(default=None, init=False, repr=False)
    _service: Service | None = attrs.field(default=None, init=False, repr=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _trace: TraceFile = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_filesystem(self.filesystem)
        names = SessionOptions.__annotations__
        check_settings({name: getattr(self, name) for name in names}, names)
        self._ending = Ending(self.filesystem.shielded)
        self._table = InFlightTable(self.max_handlers, self.filesystem.shielded)
        self._trace = TraceFile.open(self.trace, self.mountpoint)
        self.notifier = notifier_of(self.channel, self._table, self._trace)

    @classmethod
    def from_fd(
        cls,
        filesystem: Filesystem,
        fd: int,
        *,
        allowed_uids: frozenset[int] | None = None,
        **options: Unpack[SessionOptions],
    ) -> Self:
        """Adopt a descriptor of /dev/fuse that is mounted and whose INIT is unanswered.

        The session closes the descriptor.  The program that mounted it unmounts it.

        ``allowed_uids`` and the options are those of `Session`.
        """
        check_options(options)
        channel = Channel(DevFuse(fd))
        return cls(filesystem, channel, allowed_uids=allowed_uids, **options)

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until the filesystem is unmounted or `finish` is called.

        ``task_status`` is started when INIT has been answered and the root is checked:
        from then on the mount can be used.

        Raises:
          MountError: The root is not of the mountpoint's type.
          HandshakeError: The kernel is too old, or it is unmounted already.
          Exception: What ``Filesystem.init`` or ``run`` raised; in strict mode, also
            what any other method raised.
        """
        look_up_owner_anew()
        self._ending.start()
        try:
            log_doubts(self.filesystem, self.root_type)
            with self._ending.scope:
                offer = await receive_offer(
                    self.channel,
                    self.filesystem,
                    default_permissions=self.default_permissions,
                    allow_root=self.allowed_uids is not None,
                    max_readahead=self.max_readahead,
                )
                # The class may be frozen.
                object.__setattr__(self.filesystem, "notifier", self.notifier)
                try:
                    await awaited(self.filesystem, "init", offer.config)
                except BaseException:
                    await offer.refuse()
                    raise
                try:
                    self.agreement = await offer.accept()
                    await self._serve(self.agreement, task_status)
                except BaseExceptionGroup as group:
                    raise unwrapped(group) from None
                finally:
                    await destroy(self.filesystem, strict=self.strict)
        finally:
            self.channel.close()
            self._trace.close()
            self._ended.set()

    def finish(self, grace: float | None = None) -> None:
        """End the session; callable from any thread, and from a signal handler.

        ``grace`` is the time after which running requests are cancelled, by default 0.5
        seconds.  With ``math.inf``, the default of a ``shielded`` filesystem, no more
        requests are read, and the session ends when the running ones are done.
        """
        self._ending.finish(grace)

    def statistics(self) -> SessionStatistics:
        """Return the session's counters as they are now."""
        if self._handlers is None or self._service is None:
            return SessionStatistics()
        return statistics(self._table, self._handlers, self._service)

    def in_flight(self) -> list[InFlight]:
        """Return the requests that are not answered yet, the oldest first.

        Each has its arguments, its age and the stack of its task.  Log them when
        something takes too long.
        """
        return in_flight(self._table)

    def shield(self) -> None:
        """Shield the session from cancellation; from now on only `finish` ends it.

        For an owner that unmounts first: at unmount the kernel writes back dirty pages,
        and the filesystem must still answer.
        """
        self._ending.scope.shield = True

    async def wait_unmounted(self) -> None:
        """Wait until the session has ended, however it was unmounted."""
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
            self._trace,
        )
        try:
            with requests_inherited():
                async with trio.open_nursery() as outer:
                    outer.start_soon(
                        close_when_cancelled,
                        self.filesystem,
                        self.channel,
                        self.notifier,
                        self._table,
                        self._limit_releases,
                        agreement.receive_size,
                    )
                    async with trio.open_nursery() as nursery:
                        life = self._start(nursery, agreement, handles, service)
                        refusal = await refused_root(
                            self.filesystem, self.root_type, self.mountpoint
                        )
                        if refusal is None:
                            await start_life(nursery, self.filesystem, life)
                            task_status.started(self)
                        else:
                            nursery.cancel_scope.cancel()
                    outer.cancel_scope.cancel()
        finally:
            service.close()
            await clean_up(self.filesystem, "release", handles.release_all)
        if refusal is not None:
            raise refusal

    @trio.lowlevel.enable_ki_protection
    def _start(
        self,
        nursery: trio.Nursery,
        agreement: Agreement,
        handles: Handles,
        service: Service,
    ) -> trio.CancelScope:
        """Build the parts, start their tasks, return a scope that ends with them."""
        signals = Signals(
            self._table,
            handles,
            self.filesystem,
            self.look,
            service.answer_interrupted,
            nursery,
        )
        control = Control(
            nursery, handles, service, signals, self.notifier, self._table.abandoned
        )
        receiver = Receiver(
            self.channel,
            agreement.receive_size,
            self._trace.around_control(control.table()),
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
        ending, place = self._ending, shown(self.mountpoint)
        ending.drain = handlers.drain
        self.notifier.start(agreement.minor, nursery, handlers.read_copies)
        if self.notifier.can_resend:
            receiver.request_resend = handlers.request_resend
        life = trio.CancelScope()
        limits = limits_of(self.timeout, agreement.request_timeout)
        deadlines = Deadlines(self._table, service.answer, limits)
        if limits:
            nursery.start_soon(deadlines.enforce)
        watchdog = Watchdog(self.channel, receiver, handlers.queue)
        watchdog.start()
        say = partial(_log.info, "the connection of %s has ended", place)
        ends = (say, self.notifier.end, ending.unmounted, deadlines.stop, life.cancel)
        nursery.start_soon(end_after, handlers.over, watchdog.stop, ends)
        handlers.start()
        return life

    def _limit_releases(self, seconds: float) -> None:
        if self._handlers is not None:
            self._handlers.limit_releases(seconds)
