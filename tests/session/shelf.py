"""A filesystem whose READs are answered with an open file."""

from __future__ import annotations

import mmap
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

import triofuse as t
from tests.session.probe import FILES, Probe
from triofuse.testing import FakeKernel, open_kernel

__all__ = ["CONTENTS", "PAGE", "PLAIN", "Shelf", "drop", "fake"]

PAGE = mmap.PAGESIZE
CONTENTS = os.urandom((1 << 20) + 5)
PLAIN = FILES["plain"]


class Shelf(Probe):
    """Answers every READ with the same open file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.file = path.open("rb")
        self.change: Callable[[t.FileData], t.FileData] = lambda data: data

    def attr(self, nodeid: int) -> t.FileAttr:
        return attrs.evolve(super().attr(nodeid), size=len(CONTENTS))

    async def read(self, request: t.Read) -> t.Buffer | t.FileData:
        self.calls["read"] += 1
        fd = self.file.fileno()
        return self.change(t.FileData(fd, request.offset, request.size))


@asynccontextmanager
async def fake(shelf: Shelf) -> AsyncIterator[FakeKernel]:
    with trio.fail_after(10):
        async with open_kernel(shelf, strict=True) as kernel:
            yield kernel


def drop(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
