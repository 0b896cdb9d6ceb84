"""FakeKernel: the kernel's end of a channel, in the process of the test."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self, Unpack

import attrs
import trio

from triofuse.filesystem.checks import check_filesystem
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import InitFlags
from triofuse.session.answering.exceptions import unwrapped
from triofuse.session.session import (
    Session,
    SessionOptions,
    check_options,
)
from triofuse.testing.calls import SystemCalls
from triofuse.testing.messages import Caller
from triofuse.testing.negotiation import LINUX_6_18, Offer
from triofuse.testing.paths import KernelPath
from triofuse.testing.walk import parts_of

__all__ = ["FakeKernel", "open_kernel"]

#: Bytes of a socket's send buffer; the largest message must fit.
_SOCKET_BUFFER = 2 << 20


@attrs.define(eq=False)
class FakeKernel(SystemCalls):
    """Sends a filesystem the requests that Linux would, without mount and root.

    Each method is one system call.  It sends a request and checks the reply as strictly
    as the kernel does.  It returns what the filesystem returned, or raises the
    ``OSError`` that the caller would get.  `path` has the same by path.

    A task that is cancelled while it waits sends an INTERRUPT and continues to wait for
    the reply, like a process that is killed: if the filesystem never answers, it blocks
    for ever.  ``interrupt(unique, fatal=False)`` is a signal that the caller survives.

    Differences from Linux: a write of the server cannot fail (see ``refusals``),
    nothing is answered from a cache, and ``release`` waits for the reply.

    Attributes:
      session: The session that serves, set by `open_kernel`.
    """

    session: Session = attrs.field(init=False, repr=False)

    @classmethod
    def pair(cls, offer: Offer | None = None) -> tuple[Self, int]:
        """Return a kernel and a descriptor in place of its /dev/fuse.

        Start the kernel's ``run`` in a nursery; it ends when the descriptor is closed.
        Await ``wait_ready`` before the first call, and ``close`` the kernel at the end.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        kernel = cls(trio.socket.from_stdlib_socket(ours), offer or Offer())
        return kernel, theirs.detach()

    def path(self, path: str, **caller: Unpack[Caller]) -> KernelPath:
        """Return a path of the filesystem, with the methods of `trio.Path`.

        ``await kernel.path("/a/b").read_bytes()``

        Args:
          path: From the root of the filesystem.
          caller: The ``uid``, ``gid`` and ``pid`` of all calls.
        """
        return KernelPath(self, caller, tuple(parts_of(path)))


@asynccontextmanager
async def open_kernel(
    filesystem: Filesystem,
    *,
    minor: int = 45,
    flags: InitFlags = LINUX_6_18,
    max_readahead: int = 131072,
    **session_options: Unpack[SessionOptions],
) -> AsyncIterator[FakeKernel]:
    """Serve a filesystem to a kernel of its own for the length of a block.

    ``async with open_kernel(MyFS()) as kernel: await kernel.lookup(1, "hello")``.
    On entry INIT has been answered; on exit the filesystem is unmounted and
    ``destroy`` has run.

    Args:
      filesystem: The filesystem to serve.
      minor: The kernel speaks protocol 7.minor.
      flags: The flags that it offers in INIT; by default those of Linux 6.18.
      max_readahead: The most bytes that it reads ahead.
      session_options: As for `triofuse.mount`, except that ``strict`` is the default: a
        bug of the filesystem ends the block.

    Raises:
      TypeError: An argument has the wrong type.
      MountError: The root of the filesystem is no directory and no regular file.
      ConnectionRefusedError: The reply to INIT was invalid.
      Exception: What the session raised: an error of ``Filesystem.init``, or a bug
        in strict mode.
    """
    check_filesystem(filesystem)
    check_options(session_options)
    offer = Offer(minor=minor, max_readahead=max_readahead, flags=flags)
    kernel, fd = FakeKernel.pair(offer)
    session_options.setdefault("strict", True)
    try:
        session = Session.from_fd(filesystem, fd, **session_options)
    except BaseException:
        kernel.close()
        os.close(fd)
        raise
    session.look = kernel.look
    left_by: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.run)
            try:
                kernel.session = await nursery.start(session.run)
                await kernel.wait_ready()
                yield kernel
            except BaseException as exc:  # noqa: BLE001  (raised again below)
                left_by = exc
                nursery.cancel_scope.cancel()
            kernel.unmount()
            session.finish()
    except BaseExceptionGroup as group:
        cancelled = isinstance(left_by, trio.Cancelled)  # caused by the group's error
        raise unwrapped(group) from (None if cancelled else left_by)
    finally:
        session.channel.close()
        kernel.close()
    if left_by is not None:
        raise left_by
