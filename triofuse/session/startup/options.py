"""The keyword arguments of a session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypedDict

from triofuse.session.startup.arguments import check_settings

__all__ = ["BUSY_POLL", "MAX_PAYLOAD", "SessionOptions", "check_options"]

#: Bytes of WRITE payloads that are held at one time.
MAX_PAYLOAD = 64 << 20

#: Seconds; a client on another CPU takes 15 to 40 us from a reply to its next request.
BUSY_POLL = 50e-6


class SessionOptions(TypedDict, total=False):
    """The keyword arguments that `mount`, `run` and others pass to `Session`."""

    max_handlers: int
    max_payload: int
    timeout: float | Mapping[str, float]
    strict: bool
    measure: bool
    busy_poll: float
    trace: str | os.PathLike[str] | None


def check_options(options: SessionOptions) -> None:
    """Check the keyword arguments of a session.

    Raises:
      TypeError: An argument is unknown, or of the wrong type.
      ValueError: A value is out of range, or names an unknown operation.
    """
    check_settings(options, SessionOptions.__annotations__)
