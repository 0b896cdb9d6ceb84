"""Breaks the deadlock of a program that blocks in its own mount.

A synchronous call into the mount from the thread that serves it waits for an answer
that only this thread can give.  The watchdog, in another thread, answers EDEADLK.  It
does the same for a child process between fork and exec, for which Python blocks the
thread as well.  It cannot help in a page fault of a mapped file, which holds the GIL.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.in_flight.table import UNINTERRUPTED
from triofuse.session.inspection.blocked_loop import BlockedLoopDetector
from triofuse.session.scheduling.receiver import Receiver
from triofuse.wire.decode import Message, operation_name, peek_caller
from triofuse.wire.encode import encode_error
from triofuse.wire.errors import ProtocolError
from triofuse.wire.opcodes import Opcode

__all__ = ["Watchdog"]

_log = logging.getLogger("triofuse")

#: Seconds between two checks; it acts when two in a row find the same instruction.
_PERIOD: Final = 0.25

#: Where in the kernel a thread waits for a FUSE answer (/proc/PID/wchan).
_WAITS_FOR_ANSWER: Final = ("request_wait_answer", "folio_wait", "fuse")

#: Where in the kernel a thread waits for its child's exec().
_WAITS_FOR_CHILD: Final = ("kernel_clone", "wait_for_vfork_done")

#: No caller waits for these.
_NO_CALLER: Final = UNINTERRUPTED | {
    Opcode.FORGET,
    Opcode.BATCH_FORGET,
    Opcode.INTERRUPT,
    Opcode.NOTIFY_REPLY,
}


@attrs.define(eq=False, repr=False)
class Watchdog:
    """Watches the event loop of one session from a thread.

    It reads the device only while the loop is blocked in its own mount.  Requests that
    are not the cause are handed over to the loop.  Code that blocks the loop for long
    is logged.
    """

    _channel: Channel
    _receiver: Receiver
    _queue: Callable[[ReceivedRequest], None]
    _over: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(init=False)
    _detector: BlockedLoopDetector = attrs.field(
        factory=BlockedLoopDetector, init=False
    )
    _loop: threading.Thread = attrs.field(factory=threading.current_thread, init=False)

    def __attrs_post_init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        name = "triofuse watchdog"
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread that watches the event loop."""
        try:
            self._thread.start()
        except RuntimeError as exc:  # RLIMIT_NPROC, pids.max
            _log.warning("no watchdog thread, a deadlock is not broken: %s", exc)

    def stop(self) -> None:
        """Stop the thread; the channel may be closed afterwards."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        stood: object = None
        while not self._over.wait(_PERIOD):
            self._detector.check(self._frame())
            if not self._channel.is_readable():
                stood = None
                continue
            stands = self._stands()
            if stands == stood and (waits := self._waits()):
                self._drain(waits)
            stood = stands

    def _stands(self) -> tuple[object, int] | None:
        """Return the instruction at which the loop stands."""
        frame = self._frame()
        return (frame.f_code, frame.f_lasti) if frame else None

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._loop.ident or 0)  # noqa: SLF001

    def _waits(self) -> str:
        """Return the kernel function in which the loop waits, if it may be for FUSE.

        Without wchan (no /proc, no names in it) no request is ever refused.
        """
        try:
            with open(f"/proc/self/task/{self._loop.native_id}/wchan") as wchan:
                place = wchan.read()
        except OSError:
            return ""
        return (
            place if place.startswith((*_WAITS_FOR_ANSWER, *_WAITS_FOR_CHILD)) else ""
        )

    def _drain(self, waits: str) -> None:
        """Read the device; refuse what blocks the loop, hand over the others."""
        buffer = bytearray(self._receiver.size)
        while not self._over.is_set():
            try:
                message = bytes(memoryview(buffer)[: self._channel.receive(buffer)])
            except (FileNotFoundError, InterruptedError):
                continue
            except (BlockingIOError, trio.EndOfChannel, trio.ClosedResourceError):
                return
            if not self._refuse(message, waits):
                self._token.run_sync_soon(self._hand_over, message)

    def _hand_over(self, message: Message) -> None:
        """Sort a message as if the loop had read it; runs in the loop."""
        if self._over.is_set():  # the session has ended: all callers are gone
            return
        received = self._receiver.sort(message)
        if received is not None:
            self._queue(received)

    def _refuse(self, message: Message, waits: str) -> bool:
        """Answer EDEADLK if the loop waits for this request."""
        try:
            opcode, unique, pid = peek_caller(message)
        except ProtocolError:
            return False
        if opcode in _NO_CALLER:
            return False
        if pid != self._loop.native_id and not (
            waits.startswith(_WAITS_FOR_CHILD) and _is_child(pid)
        ):
            return False
        self._log(operation_name(opcode), pid)
        try:
            self._channel.sender().send_nowait((encode_error(unique, errno.EDEADLK),))
        except (OSError, trio.EndOfChannel, trio.ClosedResourceError) as exc:
            _log.debug("%d: the kernel takes no reply: %s", unique, exc)
        return True

    def _log(self, operation: str, pid: int) -> None:
        frame = self._frame()
        stack = "".join(traceback.format_stack(frame)) if frame else "nowhere\n"
        _log.error(
            "%s of process %d gets EDEADLK: the thread that serves this mount waits for "
            "it.  Call into your own mount from another thread: "
            "trio.to_thread.run_sync().  The thread stands here:\n%s",
            operation,
            pid,
            stack.rstrip(),
        )


def _is_child(pid: int) -> bool:
    """Whether a process is a child of this one."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as status:
            return int(status.read().rpartition(b")")[2].split()[1]) == os.getpid()
    except (OSError, ValueError, IndexError):
        return False
