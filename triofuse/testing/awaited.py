"""AwaitedReply: a request in flight that waits for its reply."""

from __future__ import annotations

import errno
import os
from typing import Any

import attrs
import trio

from triofuse.testing.negotiation import Negotiated
from triofuse.testing.replies import ReplyFormat, ReplyRefusedError
from triofuse.wire.decode import operation_name

__all__ = ["AwaitedReply", "os_error"]


def os_error(error: int, reason: str = "") -> OSError:
    """Return the builtin exception of an errno, such as FileNotFoundError."""
    text = os.strerror(error)
    return OSError(error, f"{text} ({reason})" if reason else text)


@attrs.define(eq=False)
class AwaitedReply:
    """A request that was sent and is not yet answered.

    Attributes:
      opcode: The opcode of the request.
      nodeid: The nodeid of the request.
      unique: The number of the request.
      message: The whole message.
      expected: The format of the reply.
      room: The most bytes of data in the reply.
      interrupted: Whether an INTERRUPT was sent for it; at most one is.
      killed: Whether its caller has received a fatal signal.
      error: The error that the caller gets; None on success.
      value: The value that the caller gets.
      answered: Set when ``error`` or ``value`` is.
    """

    opcode: int
    nodeid: int
    unique: int
    message: bytes = attrs.field(repr=False)
    expected: ReplyFormat[Any] = attrs.field(repr=False)
    room: int = attrs.field(repr=False)
    interrupted: bool = attrs.field(default=False, init=False)
    killed: bool = attrs.field(default=False, init=False)
    error: OSError | None = attrs.field(default=None, init=False, repr=False)
    value: Any = attrs.field(default=None, init=False, repr=False)
    answered: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    def answer(self, error: int, body: bytes, negotiated: Negotiated) -> None:
        """Check and decode a reply as the kernel does, and wake the caller.

        Raises:
          ReplyRefusedError: The reply has the wrong size or an invalid value; the
            caller gets EIO.

        Source: ``fuse_copy_out_args()`` in fs/fuse/dev.c.
        """
        try:
            if error:
                _check_size(body, 0, 0)
                self.fail(os_error(error))
            else:
                self.value = self.expected.decode(self._whole(body, negotiated))
                self.answered.set()
        except ReplyRefusedError as exc:
            name = operation_name(self.opcode)
            self.fail(os_error(errno.EIO, f"the reply to {name} is refused: {exc}"))
            raise

    def fail(self, error: OSError) -> None:
        """Wake the caller with an error."""
        self.error = error
        self.answered.set()

    def _whole(self, body: bytes, negotiated: Negotiated) -> bytes:
        """Return the body in the layouts of the newest protocol."""
        sizes = [negotiated.layout(struct).size for struct in self.expected.structs]
        least = sum(sizes)
        _check_size(body, least, least + self.room * self.expected.data)
        whole = b""
        for struct, size in zip(self.expected.structs, sizes, strict=True):
            whole += body[:size].ljust(struct.size, b"\0")
            body = body[size:]
        return whole + body


def _check_size(body: bytes, least: int, most: int) -> None:
    if not least <= len(body) <= most:
        wanted = str(most) if least == most else f"{least} to {most}"
        reason = f"{len(body)} bytes behind the header where {wanted} are expected"
        raise ReplyRefusedError(reason, errno.EINVAL)
