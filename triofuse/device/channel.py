"""The channel to the kernel: one read is one request, one write is one reply.

Three errors end a channel.  ``trio.ClosedResourceError``: we closed it.
``trio.EndOfChannel``: the kernel ended it (unmounted or aborted).
``trio.BrokenResourceError``: it does not work; the cause says why.
"""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import select
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from triofuse.device.backing import BackingId, open_backing
from triofuse.device.dev_fuse import DevFuse, DeviceError
from triofuse.device.splicer import Splicer
from triofuse.filesystem.replies import Buffer

__all__ = ["Channel", "ChannelSender"]

#: FUSE_DEV_IOC_CLONE of linux/fuse.h: _IOR(229, 0, uint32_t).
_IOC_CLONE: Final = 0x8004E500

#: The errors of a read when the connection is over: unmounted, aborted, timed out
#: (fuse_dev_do_read() in fs/fuse/dev.c).  A socket in its place returns ECONNRESET.
_OVER = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ECONNRESET})

#: The errors of a write when the connection is over, including those of a socket.
_OVER_WRITING = _OVER | {errno.EPIPE, errno.ENOTCONN}


@attrs.define(eq=False)
class Channel:
    """The raw channel to the kernel driver.

    Attributes:
      device: The device; the channel owns and closes it.
    """

    device: DevFuse
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)

    def fileno(self) -> int:
        """Return the file descriptor, -1 once it is closed."""
        return self.device.fd

    def receive(self, buffer: bytearray | mmap.mmap) -> int:
        """Read one request, without blocking.

        Args:
          buffer: Receives the request: at least 8192 bytes, and max_write + 80.

        Returns:
          The length of the request, bytes.

        Raises:
          BlockingIOError: No request is queued (EAGAIN).
          FileNotFoundError: The request was aborted while it was copied (ENOENT).
          InterruptedError: A signal came first (EINTR).
          trio.EndOfChannel: The filesystem is unmounted or aborted.
          trio.ClosedResourceError: The channel is closed.
          trio.BrokenResourceError: The buffer is too small, or nothing is mounted.

        Source: ``fuse_dev_do_read()`` in fs/fuse/dev.c.
        """
        try:
            size = os.readv(self.device.fd, (buffer,))
        except (BlockingIOError, FileNotFoundError, InterruptedError):
            raise
        except OSError as exc:
            raise _translated(exc, _OVER) from exc
        if size == 0:  # never on a device: a socket whose other end is closed
            raise trio.EndOfChannel
        return size

    async def receive_retrying(self, buffer: bytearray) -> int:
        """Read one request; blocks until there is one, and retries after an abort.

        Yields to the event loop only when no request is queued, or to retry.

        Raises:
          As ``receive``, without the three errors that are retried.
        """
        while True:
            try:
                return self.receive(buffer)
            except BlockingIOError:
                await self.wait_readable()
            except (FileNotFoundError, InterruptedError):
                await trio.lowlevel.checkpoint()

    async def wait_readable(self) -> None:
        """Wait for a request, or for the end of the connection.

        Raises:
          trio.ClosedResourceError: The channel is closed, or was closed meanwhile.
          trio.BusyResourceError: Another task waits already.
        """
        if self.device.fd == -1:
            raise trio.ClosedResourceError("this channel was closed")
        await trio.lowlevel.wait_readable(self.device.fd)

    def is_readable(self) -> bool:
        """Return whether a request is queued; callable from any thread."""
        if self.device.fd == -1:
            return False
        poll = select.poll()
        poll.register(self.device.fd, select.POLLIN)
        try:
            return bool(poll.poll(0))
        except OSError:  # EINVAL: RLIMIT_NOFILE is 0
            return False

    def sender(self) -> ChannelSender:
        """Return a sender; any number of them share the device."""
        return ChannelSender(self.device, self._turn)

    def clone_fd(self) -> Channel:
        """Open a second channel of the same connection.

        A request belongs to the channel that has read it: send its reply there.

        Raises:
          DeviceError: Nothing is mounted, or the device cannot be opened.
          trio.ClosedResourceError: The channel is closed.

        Source: ``fuse_dev_ioctl_clone()`` in fs/fuse/dev.c.
        """
        if self.device.fd == -1:
            raise trio.ClosedResourceError("this channel was closed")
        clone = DevFuse.open(self.device.path)
        try:
            fcntl.ioctl(clone.fd, _IOC_CLONE, array.array("I", [self.device.fd]))
        except OSError as exc:
            clone.close()
            error = exc.errno or errno.EIO
            raise DeviceError(error, self.device.path, "clone its connection") from None
        return Channel(clone)

    def close(self) -> None:
        """Close the device; may be called again."""
        self.device.close()


@attrs.define(eq=False)
class ChannelSender:
    """Sends replies and notifications: one ``writev`` is one message."""

    _device: DevFuse
    _turn: trio.Lock

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        """Send one message, from any thread; a notification may block in the kernel.

        Raises:
          BlockingIOError: The write would block; never on /dev/fuse.
          FileNotFoundError: The caller is gone (ENOENT).
          OSError: EINVAL and the like: the kernel does not accept the message.
          trio.EndOfChannel: The connection is over.
          trio.ClosedResourceError: The channel is closed.

        Source: ``fuse_dev_do_write()`` in fs/fuse/dev.c.
        """
        try:
            os.writev(self._device.fd, buffers)
        except OSError as exc:
            _raise_if_over(exc)
            raise

    async def send(self, buffers: Sequence[Buffer]) -> None:
        """Send one message; waits if the write would block.

        Senders that wait queue for a lock, for trio admits one waiter per descriptor.
        If the message is sent at once there is no checkpoint: a handler that has
        replied continues with its next request.  A sender that waits cannot be
        cancelled, for a caller needs the reply; closing the channel ends the wait.

        Raises:
          As ``send_nowait``, without BlockingIOError.
        """
        try:
            os.writev(self._device.fd, buffers)
        except BlockingIOError:
            with trio.CancelScope(shield=True):
                await self._send_waiting(buffers)
        except OSError as exc:
            _raise_if_over(exc)
            raise

    async def _send_waiting(self, buffers: Sequence[Buffer]) -> None:
        async with self._turn:
            while True:
                if self._device.fd == -1:
                    raise trio.ClosedResourceError("this channel was closed")
                await trio.lowlevel.wait_writable(self._device.fd)
                try:
                    return self.send_nowait(buffers)
                except BlockingIOError:
                    continue

    def splicer(self) -> Splicer:
        """Return a splicer for replies with data of files; the caller closes it."""
        return Splicer(self._device)

    def open_backing(self, fd: int) -> BackingId:
        """Register a file whose data the kernel may read and write by itself.

        Args:
          fd: An open regular file; O_PATH is enough.

        Raises:
          DeviceError: EPERM: needs CAP_SYS_ADMIN, or PASSTHROUGH was not
            negotiated.  ELOOP: its filesystem is stacked too deep.  EBADF,
            EISDIR, EINVAL: not a regular file.

        Source: ``fuse_backing_open()`` in fs/fuse/backing.c.
        """
        return open_backing(self._device, fd)

    def wrap_backing(self, number: int) -> BackingId:
        """Take ownership of a backing id that was opened on the same connection."""
        return BackingId(self._device, number)


def _translated(exc: OSError, over: frozenset[int]) -> Exception:
    if exc.errno == errno.EBADF:
        return trio.ClosedResourceError("this channel was closed")
    if exc.errno in over:
        return trio.EndOfChannel("the filesystem is unmounted")
    return trio.BrokenResourceError(f"the device failed: {exc}")


def _raise_if_over(exc: OSError) -> None:
    if exc.errno == errno.EBADF or exc.errno in _OVER_WRITING:
        raise _translated(exc, _OVER_WRITING) from exc
