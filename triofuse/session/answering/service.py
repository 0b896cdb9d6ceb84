"""Answers one request, from its message to its reply.

The law: whatever happens, the kernel gets exactly one reply.  If the kernel refuses the
reply, what the filesystem did is undone.
"""

from __future__ import annotations

import errno
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import trio

from triofuse.device.callers import command_of
from triofuse.device.channel import ChannelSender
from triofuse.device.splicer import SPLICED, Splicer
from triofuse.filesystem.described import described, error_name
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import Buffer, FileData
from triofuse.filesystem.requests import Forget, Poll, Release, Request
from triofuse.session.answering.failures import UNANSWERED, FailureLog, errno_of
from triofuse.session.answering.file_buffers import FileBuffers, read_file
from triofuse.session.answering.handles import TRACKED, Handles
from triofuse.session.answering.statistics import Tally
from triofuse.session.answering.unread_files import UnreadFiles
from triofuse.session.in_flight.table import ActiveRequest
from triofuse.session.in_flight.trace_file import TraceFile
from triofuse.wire.decode import Message, operation_name
from triofuse.wire.encode import (
    StillInFile,
    encode_error,
    encode_header,
    encode_revents,
)
from triofuse.wire.notifications import encode_notify_poll
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS, Operation

__all__ = ["Service"]

_log = logging.getLogger("triofuse")

#: One line for each request and each reply, at DEBUG.
_trace = logging.getLogger("triofuse.trace")

#: Bytes up to which a body is copied behind its header: a copy is cheaper than to have
#: the kernel pin the pages of two buffers.
_IN_ONE_PIECE = 1024

#: Allowed for every user, as in libfuse: operations on open files.  The user was
#: checked at open, which `Handles` makes the kernel send each time.
_ALWAYS_ADMITTED = frozenset(
    {
        Opcode.READ,
        Opcode.WRITE,
        Opcode.FLUSH,
        Opcode.FSYNC,
        Opcode.RELEASE,
        Opcode.READDIR,
        Opcode.READDIRPLUS,
        Opcode.FSYNCDIR,
        Opcode.RELEASEDIR,
    }
)

#: An operation with its bound method: decode, method, encode, tally, operation.
_Bound = tuple[
    Callable[[Message], Request],
    Callable[[Any], Awaitable[Any]],
    Callable[[Any, Any], Buffer],
    Tally,
    Operation,
]


@attrs.define(eq=False, repr=False)
class Service:
    """Decodes a request, calls the filesystem, encodes and sends the reply.

    Attributes:
      strict: Whether a bug of the filesystem ends the session.
      tallies: Counters by opcode.
    """

    _filesystem: Filesystem
    _handles: Handles
    _sender: ChannelSender
    _operations: dict[int, Operation]
    _allowed_uids: frozenset[int] | None
    strict: bool
    _measure: bool
    #: The new ``unique`` of requests that were resent.
    _renumbered: dict[int, int]
    _trace_file: TraceFile
    tallies: defaultdict[int, Tally] = attrs.field(init=False)
    _bound: dict[int, _Bound] = attrs.field(init=False)
    _tracing: bool = attrs.field(default=False, init=False)
    #: Whether each request is traced or its caller checked before the method is called.
    _inspecting: bool = attrs.field(default=True, init=False)
    _buffers: FileBuffers = attrs.field(factory=FileBuffers, init=False)
    _splicer: Splicer = attrs.field(init=False)
    _now: Callable[[], float] = attrs.field(init=False)
    _failures: FailureLog = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._now = trio.lowlevel.current_clock().current_time
        self._splicer = self._sender.splicer()
        self._failures = FailureLog(self._filesystem, self.strict)
        self.tallies = defaultdict(Tally)
        self._bound = {
            opcode: (
                operation.decode,
                self._method(operation),
                operation.encode,
                self.tallies[opcode],
                operation,
            )
            for opcode, operation in self._operations.items()
        }

    def notice_tracing(self) -> None:
        """Note whether tracing is switched on; too slow per request."""
        self._tracing = _trace.isEnabledFor(logging.DEBUG)
        self._inspecting = self._tracing or self._allowed_uids is not None

    def _method(self, operation: Operation) -> Callable[[Any], Awaitable[Any]]:
        """Return the method of an operation: the one of `Handles` if that wraps it."""
        owner = self._handles if operation.method in TRACKED else self._filesystem
        method: Callable[[Any], Awaitable[Any]] = getattr(owner, operation.method)
        if operation.opcode == Opcode.RELEASE and UnreadFiles.apply_to(
            self._filesystem
        ):
            reads = self.tallies[Opcode.READ]
            method = UnreadFiles(self._filesystem, method, reads).release
        return self._trace_file.around_method(operation.opcode, method)

    async def serve(self, active: ActiveRequest) -> None:
        """Serve the active request of a handler, and send its reply."""
        opcode, unique, message, since = active.received
        bound = self._bound.get(opcode)
        if bound is None:
            _log.debug("%s is unknown here", operation_name(opcode))
            await self.answer(unique, errno.ENOSYS)
            self._count_failed(self.tallies[opcode], active, errno.ENOSYS)
            return
        decode, method, encode, tally, operation = bound
        request: Request | None = None
        value: Any = UNANSWERED
        try:
            request = decode(message)
            if self._inspecting:
                self._inspect(opcode, request)
            value = await method(request)
            try:
                body = encode(value, request)
            except StillInFile:
                await self._reply_from_file(active, tally, value)
                return
        except BaseException as exc:  # noqa: BLE001  (the one place that answers EIO)
            error = errno_of(exc, active)
            if active.answered:
                pass
            elif error == errno.EINTR:
                await self.answer_interrupted(opcode, unique, message)
            else:
                await self.answer(unique, error)
            self._count_failed(tally, active, error)
            await self._undo_unsent(operation, request, value)
            self._failures.log_or_raise(operation, request, exc, value)
            return
        if self._tracing:
            _trace.debug("%d <- OK, %d bytes", unique, len(body))
        if self._renumbered:
            unique = self._renumbered.pop(unique, unique)
        header = encode_header(unique, len(body))
        try:
            if active.answered:
                raise FileNotFoundError  # as the kernel would say
            try:
                if len(body) <= _IN_ONE_PIECE:
                    self._sender.send_nowait((header + body,))
                else:
                    self._sender.send_nowait((header, body))
            except BlockingIOError:
                await self._sender.send((header, body))
        except (OSError, trio.EndOfChannel, trio.ClosedResourceError) as exc:
            if isinstance(exc, OSError) and not isinstance(exc, FileNotFoundError):
                _log.error("the reply to %r is refused: %s", request, exc)
            await self._undo_unsent(operation, request, value)
        tally.handled += 1
        if self._measure:
            tally.measure(self._now() - since, len(message), len(body))

    async def _reply_from_file(
        self, active: ActiveRequest, tally: Tally, data: FileData
    ) -> None:
        """Send a reply whose body is in an open file.

        Raises:
          OSError: The file cannot be read; the request is not answered yet.
        """
        _, unique, _, _ = active.received
        if data.size >= SPLICED and not active.answered and self._splice(unique, data):
            self._count(tally, active, data.size)
            return
        buffer = self._buffers.lend(data.size)
        try:
            size = await read_file(data, buffer, self._buffers.readers)
            if self._tracing:
                _trace.debug("%d <- OK, %d bytes", unique, size)
            unique = self._renumbered.pop(unique, unique)
            if not active.answered:
                await self._send((encode_header(unique, size), buffer[:size]), unique)
        finally:
            self._buffers.take_back(buffer)
        self._count(tally, active, size)

    def _splice(self, unique: int, data: FileData) -> bool:
        """Splice the reply from the page cache; False if the file must be read."""
        number = self._renumbered.get(unique, unique)
        if not self._splicer.send(encode_header(number, data.size), data):
            return False
        if self._tracing:
            _trace.debug("%d <- OK, %d bytes", unique, data.size)
        self._renumbered.pop(unique, None)
        return True

    def close(self) -> None:
        """Close the splicer's pipe."""
        self._splicer.close()

    def _count_failed(self, tally: Tally, active: ActiveRequest, error: int) -> None:
        """Count a request that was answered with an error."""
        tally.failed[error] += 1
        self._count(tally, active, 0)

    def _count(self, tally: Tally, active: ActiveRequest, sent: int) -> None:
        """Count a request that was answered; serve() does the same inline."""
        tally.handled += 1
        if self._measure:
            _, _, message, since = active.received
            tally.measure(self._now() - since, len(message), sent)

    def _inspect(self, opcode: int, request: Request) -> None:
        """Trace a request, and refuse users that are not allowed."""
        if self._tracing:
            _trace.debug("%d -> %s", request.unique, _line(opcode, request))
        uids = self._allowed_uids
        if uids is None or opcode in _ALWAYS_ADMITTED or request.uid in uids:
            return
        raise FuseError(errno.EACCES)

    def requeue_interrupt(self, unique: int) -> bool:
        """Have an INTERRUPT resent (EAGAIN); False if its request is answered."""
        try:
            self._sender.send_nowait((encode_error(unique, errno.EAGAIN),))
        except (OSError, trio.EndOfChannel, trio.ClosedResourceError):
            return False
        return True

    async def answer(self, unique: int, error: int) -> None:
        """Send a reply without a body: an errno, or 0 for success."""
        if self._tracing:
            _trace.debug("%d <- %s", unique, error_name(error))
        unique = self._renumbered.pop(unique, unique)
        await self._send((encode_error(unique, error),), unique)

    async def answer_interrupted(
        self, opcode: int, unique: int, message: Message
    ) -> None:
        """Answer for a request that a signal has ended: EINTR, but for POLL.

        The kernel makes POLLERR of any error of a POLL.  So nothing is ready yet: then
        poll(2) sees the signal itself, and epoll(7) is woken to ask again.
        """
        if opcode != Opcode.POLL:
            return await self.answer(unique, errno.EINTR)
        poll = OPERATIONS[Opcode.POLL].decode(message)
        assert isinstance(poll, Poll)
        unique = self._renumbered.pop(unique, unique)
        body = encode_revents(0, poll)
        await self._send((encode_header(unique, len(body)), body), unique)
        return await self._send(encode_notify_poll(poll.kh), unique)

    async def _send(self, buffers: Sequence[Buffer], unique: int) -> None:
        """Send a reply that needs no undo if the kernel refuses it."""
        try:
            await self._sender.send(buffers)
        except FileNotFoundError:
            pass  # the caller is gone (ENOENT)
        except (OSError, trio.EndOfChannel, trio.ClosedResourceError) as exc:
            _log.debug("%d: the kernel takes no reply: %s", unique, exc)

    async def _undo_unsent(
        self, operation: Operation, request: Request | None, value: Any
    ) -> None:
        """Undo a success whose reply was not sent.

        This is normal if the caller was killed meanwhile (ENOENT on the reply).
        """
        if value is None or value is UNANSWERED:
            return
        try:
            undoing = operation.undo(value, request)
        except Exception:  # noqa: BLE001  (the value has the wrong type)
            return
        with trio.CancelScope(shield=True):
            for action in undoing:
                await self._undo(action)

    async def _undo(self, request: Request) -> None:
        if isinstance(request, Forget):
            self._handles.forget(request)
        elif isinstance(request, Release):
            await self._handles.release_quietly(request)


def _line(opcode: int, request: Request) -> str:
    """Return a request in one line: operation, arguments, and who calls."""
    words = [f"{name}={value}" for name, value in described(request).items()]
    caller = f"uid {request.uid}"
    if request.pid:
        caller += f", pid {request.pid} {command_of(request.pid)}".rstrip()
    return " ".join([operation_name(opcode), *words, f"({caller})"])
