"""What every server is told on its command line: how its filesystem is to be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import attrs

__all__ = ["DATA", "MEBIBYTE", "Shape", "file_name"]

MEBIBYTE = 1 << 20

#: The one large file, for reads and writes.
DATA = "data"


@attrs.frozen(kw_only=True)
class Shape:
    """How a filesystem is to be.

    Attributes:
      io: ``direct`` (FOPEN_DIRECT_IO), ``cached`` (through the page cache), or
        ``writeback`` (FUSE_WRITEBACK_CACHE as well).
      files: Small files in the root, beside the large one.
      size: Bytes in the large file.
      valid: Seconds for which the kernel may use names and attributes unasked.
      plus: Whether a listing comes with attributes (FUSE_READDIRPLUS).
      pause: What each READ awaits: nothing, ``checkpoint`` (``trio.sleep(0)``),
        ``millisecond`` or ``thread``.
      source: A directory whose files are served in place of those in memory.
    """

    io: str = "direct"
    files: int = 1
    size: int = 64 * MEBIBYTE
    valid: int = 0
    plus: bool = False
    pause: str = ""
    source: str = ""

    def words(self) -> list[str]:
        """Return the command line that says this."""
        fields = attrs.asdict(self)
        return [f"--{name}={_word(value)}" for name, value in fields.items()]

    @classmethod
    def read(cls, arguments: Sequence[str] | None = None) -> tuple[str, Shape]:
        """Read a command line, return the mountpoint and the shape."""
        parser = argparse.ArgumentParser()
        parser.add_argument("mountpoint")
        for field in attrs.fields(cls):
            kind = str if isinstance(field.default, str) else int
            parser.add_argument(f"--{field.name}", type=kind, default=field.default)
        fields = vars(parser.parse_args(arguments))
        return fields.pop("mountpoint"), cls(**fields | {"plus": bool(fields["plus"])})


def _word(value: object) -> str:
    return str(int(value) if isinstance(value, bool) else value)


def file_name(number: int) -> str:
    """Return the name of a small file, which is also what is in it."""
    return f"f{number:07}"
