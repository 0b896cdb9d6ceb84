"""Quoting of text from others, for logs and errors."""

from __future__ import annotations

__all__ = ["shown"]


def shown(text: str) -> str:
    """Return a text without control characters or line breaks.

    Any user can choose the names of processes, mounts and files.  A printable text is
    returned unchanged, any other as its ``repr()``.
    """
    return text if text.isprintable() else repr(text)
