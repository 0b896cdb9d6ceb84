"""The kernel's end of a connection: what is asked, what is answered, who waits."""

from __future__ import annotations

import errno
import math
import os
from collections import Counter
from typing import Any, TypeVar

import attrs
import trio

from triofuse.filesystem.replies import Entry, Opened
from triofuse.testing.absent import DEFAULTS, FAILURES
from triofuse.testing.messages import Caller, encode_request, identity
from triofuse.testing.notifications import Notification, decode_notification
from triofuse.testing.replies import BYTES, NOTHING, ReplyFormat, ReplyRefusedError
from triofuse.testing.terms import Offer, Terms
from triofuse.wire import layouts
from triofuse.wire.decode import operation_name
from triofuse.wire.opcodes import (
    FUSE_KERNEL_VERSION,
    FUSE_UNIQUE_RESEND,
    INTERRUPT_BIT,
    NotifyCode,
    Opcode,
)

__all__ = ["Connection", "Pending", "Refusal"]

T = TypeVar("T")

_HEADER = layouts.OUT_HEADER
_MAX_ERRNO = 511

#: Room for the largest reply, and for a server that sends more than it should.
_RECEIVE_SIZE = 2 << 20


@attrs.frozen
class Refusal:
    """A message of the server that the kernel does not take as it is.

    Attributes:
      errno: What its ``write`` would have failed with: EINVAL, or ENOENT for an
        answer that nobody waits for; 0 where only the caller gets an error.
      reason: What is wrong.
      message: All of it.
    """

    errno: int
    reason: str
    message: bytes


@attrs.define(eq=False)
class Pending:
    """A request that was sent and is not answered.

    Attributes:
      opcode: What it asks.
      nodeid: What it is about.
      unique: Its number.
      interrupted: Whether an INTERRUPT went after it; there is one at most.
    """

    opcode: int
    nodeid: int
    unique: int
    interrupted: bool = attrs.field(default=False, init=False)
    _format: ReplyFormat[Any] = attrs.field(repr=False)
    _room: float = attrs.field(repr=False)
    _message: bytes = attrs.field(repr=False)
    _error: OSError | None = attrs.field(default=None, init=False)
    _value: Any = attrs.field(default=None, init=False, repr=False)
    _answered: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
