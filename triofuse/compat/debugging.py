"""What ``debug`` of the options shows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TextIO

__all__ = ["log_requests"]


def log_requests(open_stream: Callable[[], TextIO | None] = lambda: None) -> None:
    """Log each request and reply, as libfuse does with ``-d``.

    Args:
      open_stream: Returns where to; called if nobody handles the log yet.  By default
        it is standard error.
    """
    logger = logging.getLogger("triofuse.trace")
    logger.setLevel(logging.DEBUG)
    if not logger.hasHandlers():
        logger.addHandler(logging.StreamHandler(open_stream()))
