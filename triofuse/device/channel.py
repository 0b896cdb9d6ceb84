"""The channel to the kernel: one read is one request, one write is one reply.

Every error says which of three things happened: ``trio.ClosedResourceError``, we
closed it; ``trio.EndOfChannel``, the kernel did (unmounted or aborted);
``trio.BrokenResourceError``, it does not work, and why is in the cause.
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

#: What a read says when the connection is over: unmounted, aborted, timed out
#: (fuse_dev_do_read() in fs/fuse/dev.c); a socket in its place says ECONNRESET.
_OVER = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ECONNRESET})

#: What a write says when the connection is over and the descriptor a socket.
_OVER_WRITING = _OVER | {errno.EPIPE, errno.ENOTCONN}


@attrs.define(eq=False)
class Channel:
    """The raw channel to the kernel driver.

    Attributes:
      device: The device, which the channel closes.
    """

    device: DevFuse
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)

    def fileno(self) -> int:
        """Return the file descriptor, -1 once it is closed."""
        return self.device.fd

    def receive(self, buffer: bytearray | mmap.mmap) -> int:
        """Read one request, without waiting.

        Args:
          buffer: Where it goes: at least 8192 bytes, and max_write + 80.

        Returns:
          The length of the request, bytes.

        Raises:
          BlockingIOError: There is none (EAGAIN).
          FileNotFoundError: It was aborted while it was copied (ENOENT).
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
        """Read one request; wait for it, and go on where one was aborted.

        Yields to the trio loop only where there is nothing to read.

        Raises:
          As ``receive``, but for the three that are retried.
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
          trio.ClosedResourceError: The channel is closed, or was meanwhile.
          trio.BusyResourceError: Another task waits already.
        """
        if self.device.fd == -1:
            raise trio.ClosedResourceError("this channel was closed")
        await trio.lowlevel.wait_readable(self.device.fd)

    def is_readable(self) -> bool:
        """Whether there is something to read, from any thread."""
        if self.device.fd == -1:
            return False
        poll = select.poll()
        poll.register(self.device.fd, select.POLLIN)
        try:
            return bool(poll.poll(0))
        except OSError:  # EINVAL: fewer descriptors are allowed than that
            return False

    def sender(self) -> ChannelSender:
        """Return a sender; any number of them share the device."""
        return ChannelSender(self.device, self._turn)

    def clone_fd(self) -> Channel:
        """Open a second reader of the same connection.

        A request belongs to the channel that has read it: reply there.

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
        """Close the device; once is enough."""
        self.device.close()


@attrs.define(eq=False)
class ChannelSender:
    """Sends replies and notifications: one ``writev`` is one message."""

    _device: DevFuse
    _turn: trio.Lock

    def send_nowait(self, buffers: Sequence[Buffer]) -> None:
        """Send one message, from any thread; a notification may block in the kernel.

        Raises:
          BlockingIOError: The device takes nothing now; /dev/fuse always does.
          FileNotFoundError: Nobody waits for this reply any more (ENOENT).
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
        """Send one message, waiting where the device would block.

        Senders that must wait take turns, for trio admits one waiter a descriptor.
        A message that goes out at once is no checkpoint: a handler that has
        replied goes straight on to its next request.  One that waits is not
        cancelled, for it is owed to somebody: closing the channel ends the wait.

        Raises:
          As ``send_nowait``, but for BlockingIOError.
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
        """Return what sends bytes of files without reading them; the caller closes it."""
        return Splicer(self._device)

    def open_backing(self, fd: int) -> BackingId:
        """Register a file whose data the kernel may read and write by itself.

        Args:
          fd: An open regular file, O_PATH will do.

        Raises:
          DeviceError: EPERM: needs CAP_SYS_ADMIN, or PASSTHROUGH was not
            negotiated.  ELOOP: its filesystem is stacked too deep.  EBADF,
            EISDIR, EINVAL: not a regular file.

        Source: ``fuse_backing_open()`` in fs/fuse/backing.c.
        """
        return open_backing(self._device, fd)

    def wrap_backing(self, number: int) -> BackingId:
        """Own a backing id that was opened elsewhere, on the same connection."""
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
