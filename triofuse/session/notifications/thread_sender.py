"""Sends from worker threads, whose writes may block in the kernel.

The law: a thread that is blocked in the kernel keeps the device open, and so the
connection alive.  Then callers and the thread would wait for ever, SIGKILL or not.  So
at the end all callers are answered until no thread is blocked.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.device.dev_fuse import DevFuse
from triofuse.filesystem.replies import Buffer
from triofuse.wire.decode import peek_unique
from triofuse.wire.encode import encode_error

__all__ = ["ThreadSender"]


@attrs.define(eq=False, repr=False)
class ThreadSender:
    """Sends from threads, on a descriptor that stays open until they are done.

    Attributes:
      writing: Threads that are sending, or blocked in the kernel.
    """

    _channel: Channel
    _token: trio.lowlevel.TrioToken
    writing: int = attrs.field(default=0, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _idle: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    @classmethod
    def beside(cls, channel: Channel, token: trio.lowlevel.TrioToken) -> ThreadSender:
        """Return a sender with its own descriptor of the channel's device.

        Raises:
          trio.ClosedResourceError: The channel is closed.
        """
        if channel.fileno() == -1:
            raise trio.ClosedResourceError("this channel was closed")
        return cls(Channel(DevFuse.duplicate(channel.device)), token)

    def is_in_loop(self) -> bool:
        """Whether the calling thread is the one of the session's event loop."""
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send one message, in a thread.

        Raises:
          As ``ChannelSender.send_nowait``.
        """
        with self._lock:
            if self._closed:
                raise trio.ClosedResourceError("this channel was closed")
            self.writing += 1
        try:
            self._channel.sender().send_nowait(buffers)
        finally:
            self._sent()

    def _sent(self) -> None:
        with self._lock:
            self.writing -= 1
            if not self._closed or self.writing:
                return
            self._channel.close()
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._idle.cancel)

    def close(self) -> None:
        """Close the descriptor now, or when the last thread is done."""
        with self._lock:
            if not self._closed and not self.writing:
                self._channel.close()
                self._idle.cancel()
            self._closed = True

    async def unblock(self, unanswered: Iterable[int], size: int) -> None:
        """After ``close``, unblock the threads: fail what they may wait for.

        Args:
          unanswered: ``unique`` of each request that no handler will answer.
          size: Bytes in the largest request.
        """
        if not self.writing or self._channel.fileno() == -1:  # closed: a forked child
            return
        # The last thread may close its descriptor at any time.
        rest = Channel(DevFuse.duplicate(self._channel.device))
        try:
            with self._idle, suppress(trio.EndOfChannel, trio.BrokenResourceError):
                for unique in unanswered:
                    _abort(rest, unique)
                buffer = bytearray(size)
                while True:
                    length = await rest.receive_retrying(buffer)
                    _abort(rest, peek_unique(memoryview(buffer)[:length]))
        finally:
            rest.close()


def _abort(channel: Channel, unique: int) -> None:
    """Answer ECONNABORTED, as at the end of the connection; ignore refusals."""
    with suppress(OSError):
        channel.sender().send_nowait((encode_error(unique, errno.ECONNABORTED),))
