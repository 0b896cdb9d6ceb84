"""Words of others, as they may be shown in a log or in an error."""

from __future__ import annotations

__all__ = ["shown"]


def shown(text: str) -> str:
    """Return a text in which nothing acts on a terminal or begins a line.

    Names of processes, mounts and files are chosen by whoever makes them.  What can be
    printed is returned as it is; anything else as ``repr()`` writes it.
    """
    return text if text.isprintable() else repr(text)
