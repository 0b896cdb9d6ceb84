"""Requests that wait for their answer."""

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
    """Return the builtin exception of an errno: FileNotFoundError and its kin."""
    text = os.strerror(error)
    return OSError(error, f"{text} ({reason})" if reason else text)


@attrs.define(eq=False)
class AwaitedReply:
    """A request that was sent and is not answered.

    Attributes:
      opcode: What it asks.
      nodeid: What it is about.
      unique: Its number.
      message: All of it.
      expected: How the reply is read.
      room: How much data may be in the reply, bytes.
      interrupted: Whether an INTERRUPT went after it; there is one at most.
      killed: Whether its caller has got a fatal signal.
      error: What became of it, if not ``value``.
      value: What was answered.
      answered: Set when there is one of them.
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
        """Take a reply as the kernel does.

        Raises:
          ReplyRefusedError: It has the wrong size, or says what cannot be; the
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
        """Let the caller go with an error."""
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
