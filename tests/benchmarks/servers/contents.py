"""What the three Python servers do alike: bytes in memory, and ways to wait."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from tests.benchmarks.shape import DATA, Shape, file_name

__all__ = ["DIRECTORY", "FILE", "LINK", "PAUSES", "contents", "resize", "store"]

FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755
LINK = stat.S_IFLNK | 0o777

#: What a READ may await, see `Shape`.
PAUSES: dict[str, Callable[[], Awaitable[object]]] = {
    "checkpoint": partial(trio.sleep, 0),
    "millisecond": partial(trio.sleep, 0.001),
    "thread": partial(trio.to_thread.run_sync, int),
}


def contents(shape: Shape) -> dict[str, bytearray]:
    """Return the files that are there in the beginning."""
    files = {DATA: bytearray(b"triofuse") * (shape.size // 8)}
    for number in range(shape.files):
        name = file_name(number)
        files[name] = bytearray(name.encode())
    return files


def store(data: bytearray, offset: int, piece: bytes | memoryview) -> None:
    """Write, with no copy more than needed: ``data[...] = piece`` makes two."""
    end = offset + len(piece)
    if end > len(data):
        resize(data, end)
    with memoryview(data) as view:
        view[offset:end] = piece


def resize(data: bytearray, size: int) -> None:
    """Cut off, or fill up with zeros."""
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))
