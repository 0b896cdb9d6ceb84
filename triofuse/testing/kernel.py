"""A kernel in the process of the test: the other end of a filesystem's channel."""

from __future__ import annotations

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
    GRACE,
    Session,
    SessionOptions,
    check_options,
)
from triofuse.testing.controls import ControlCalls
from triofuse.testing.directories import DirectoryCalls
from triofuse.testing.files import FileCalls
from triofuse.testing.names import NameCalls
from triofuse.testing.negotiation import LINUX_6_18, Offer

__all__ = ["FakeKernel", "open_kernel"]

#: Of a socket, so that the largest message fits: as much as it may have.
_SOCKET_BUFFER = 2 << 20


@attrs.define(eq=False)
class FakeKernel(NameCalls, DirectoryCalls, FileCalls, ControlCalls):
    """Does to a filesystem what Linux would do, without mount and without root.

    Each method is one system call: it sends a request, reads the reply as
    strictly as the kernel does, and returns what the filesystem had returned, or
    raises the ``OSError`` that the caller would get.  A task that is cancelled
    while it waits sends an INTERRUPT and goes on waiting for the answer, like a
    process that is killed: a filesystem that never answers holds it for ever.  A
    signal that the caller survives is ``interrupt(unique, fatal=False)``.

    Where it differs: a write of the server cannot fail (see ``refusals``), what it
    writes is never answered by the cache, and RELEASE is waited for.

    Attributes:
      session: Who serves, after `open_kernel`.
    """

    session: Session = attrs.field(init=False, repr=False)

    @classmethod
    def pair(cls, offer: Offer | None = None) -> tuple[Self, int]:
        """Return a kernel and a descriptor that stands for its /dev/fuse.

        Start the kernel's ``run`` in a nursery, which ends when the descriptor is
        closed, and ``wait_ready`` before the first call; in the end, ``close`` it.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        kernel = cls(trio.socket.from_stdlib_socket(ours), offer or Offer())
        return kernel, theirs.detach()


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
      filesystem: Whom to ask.
      minor: The kernel speaks protocol 7.minor.
      flags: What it offers; Linux 6.18's by default.
      max_readahead: The most that it reads ahead, bytes.
      session_options: As for `triofuse.mount`, but that ``strict`` is the default: a
        bug of the filesystem ends the block.

    Raises:
      TypeError: An argument is something else than it should be.
      MountError: The root of the filesystem is no directory and no regular file.
      ConnectionRefusedError: INIT was answered with nonsense.
      Exception: What the session raised: an error of ``Filesystem.init``, or a bug
        in strict mode.
    """
    check_filesystem(filesystem)
    check_options(session_options)
    offer = Offer(minor=minor, max_readahead=max_readahead, flags=flags)
    kernel, fd = FakeKernel.pair(offer)
    session_options.setdefault("strict", True)
    session = Session.from_fd(filesystem, fd, **session_options)
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
            session.finish(GRACE)
    except BaseExceptionGroup as group:
        cancelled = isinstance(left_by, trio.Cancelled)  # by what is in the group
        raise unwrapped(group) from (None if cancelled else left_by)
    finally:
        session.channel.close()
        kernel.close()
    if left_by is not None:
        raise left_by
