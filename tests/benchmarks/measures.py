"""What a client does: each measure is one small function.

A measure prepares, yields a step that does the work once and returns how many units
that was (requests, MiB, entries, runs), and tidies up.  The step is what is timed.
"""

from __future__ import annotations

import itertools
import mmap
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.shape import DATA, MEBIBYTE, file_name

__all__ = ["MEASURES", "Step"]

Step = Callable[[], int]
Measure = Callable[[str], Iterator[Step]]

BLOCK = 4096

#: How much of the large file one pass through the page cache takes.
PASS_BLOCKS = 1024
PASS_MEBIBYTES = 8

#: How many small files `stat_many` goes through.
MANY = 1000


def stat(directory: str) -> Iterator[Step]:
    """A stat(2) of a file: LOOKUP and GETATTR, where nothing may be cached."""
    path = os.path.join(directory, file_name(0))

    def step() -> int:
        os.stat(path)
        return 1

    yield step


def stat_many(directory: str) -> Iterator[Step]:
    """The same, of a thousand files spread over the directory."""
    names = sorted(set(os.listdir(directory)) - {DATA})
    some = names[:: max(1, len(names) // MANY)][:MANY]
    paths = itertools.cycle([os.path.join(directory, name) for name in some])

    def step() -> int:
        os.stat(next(paths))
        return 1

    yield step


def open_close(directory: str) -> Iterator[Step]:
    """An open(2) and close(2): LOOKUP, OPEN, RELEASE."""
    path = os.path.join(directory, file_name(0))

    def step() -> int:
        os.close(os.open(path, os.O_RDONLY))
        return 1

    yield step


def create_unlink(directory: str) -> Iterator[Step]:
    """Make a file and remove it: LOOKUP, CREATE, RELEASE, UNLINK, FORGET."""
    path = os.path.join(directory, f"new-{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL

    def step() -> int:
        os.close(os.open(path, flags, 0o644))
        os.unlink(path)
        return 1

    yield step


def list_names(directory: str) -> Iterator[Step]:
    """List the root: names only."""

    def step() -> int:
        return len(os.listdir(directory))

    yield step


def list_attributes(directory: str) -> Iterator[Step]:
    """List the root and stat(2) each entry, as ``ls -l`` does."""

    def step() -> int:
        count = 0
        with os.scandir(directory) as entries:
            for entry in entries:
                entry.stat()
                count += 1
        return count

    yield step


def _data(directory: str, flags: int) -> tuple[int, int]:
    fd = os.open(os.path.join(directory, DATA), flags)
    return fd, os.fstat(fd).st_size


def read_block(directory: str) -> Iterator[Step]:
    """Read 4 KiB from anywhere."""
    fd, size = _data(directory, os.O_RDONLY)
    offsets = _offsets(size)

    def step() -> int:
        os.pread(fd, BLOCK, next(offsets))
        return 1

    yield step
    os.close(fd)


def write_block(directory: str) -> Iterator[Step]:
    """Write 4 KiB to anywhere."""
    fd, size = _data(directory, os.O_WRONLY)
    offsets, block = _offsets(size), b"w" * BLOCK

    def step() -> int:
        os.pwrite(fd, block, next(offsets))
        return 1

    yield step
    os.close(fd)


def _offsets(size: int) -> Iterator[int]:
    """Return block offsets in random order, the same in each run, for ever."""
    blocks = [number * BLOCK for number in range(size // BLOCK)]
    random.Random(size).shuffle(blocks)
    return itertools.cycle(blocks)


def _mebibyte() -> mmap.mmap:
    """Return a buffer that begins with a page, as those of cp(1), dd(1) and fio(1).

    Of any other the kernel makes two requests, for a request has 256 pages at most.
    """
    buffer = mmap.mmap(-1, MEBIBYTE)
    buffer.write(b"W" * MEBIBYTE)
    return buffer


def read_mebibyte(directory: str) -> Iterator[Step]:
    """Read the file from end to end, 1 MiB at a time."""
    fd, size = _data(directory, os.O_RDONLY)
    offsets = itertools.cycle(range(0, size - MEBIBYTE + 1, MEBIBYTE))
    buffer = _mebibyte()

    def step() -> int:
        os.preadv(fd, (buffer,), next(offsets))
        return 1

    yield step
    os.close(fd)


def write_mebibyte(directory: str) -> Iterator[Step]:
    """Write the file from end to end, 1 MiB at a time."""
    fd, size = _data(directory, os.O_WRONLY)
    offsets = itertools.cycle(range(0, size - MEBIBYTE + 1, MEBIBYTE))
    buffer = _mebibyte()

    def step() -> int:
        os.pwrite(fd, buffer, next(offsets))
        return 1

    yield step
    os.close(fd)


def read_blocks_afresh(directory: str) -> Iterator[Step]:
    """Open, read blocks of 4 KiB from anywhere, close: open(2) empties the cache."""

    def step() -> int:
        fd, size = _data(directory, os.O_RDONLY)
        count = min(PASS_BLOCKS, size // BLOCK)
        for offset in itertools.islice(_offsets(size), count):
            os.pread(fd, BLOCK, offset)
        os.close(fd)
        return count

    yield step


def write_blocks_through(directory: str) -> Iterator[Step]:
    """Open, write blocks of 4 KiB to anywhere, close, which writes back."""
    block = b"w" * BLOCK

    def step() -> int:
        fd, size = _data(directory, os.O_WRONLY)
        count = min(PASS_BLOCKS, size // BLOCK)
        for offset in itertools.islice(_offsets(size), count):
            os.pwrite(fd, block, offset)
        os.close(fd)
        return count

    yield step


def read_mebibytes_afresh(directory: str) -> Iterator[Step]:
    """Open, read 1 MiB at a time from the start, close: open(2) empties the cache."""
    buffer = _mebibyte()

    def step() -> int:
        fd, size = _data(directory, os.O_RDONLY)
        count = min(PASS_MEBIBYTES, size // MEBIBYTE)
        for number in range(count):
            os.preadv(fd, (buffer,), number * MEBIBYTE)
        os.close(fd)
        return count

    yield step


def write_mebibytes_through(directory: str) -> Iterator[Step]:
    """Open, write 1 MiB at a time from the start, close, which writes back."""
    buffer = _mebibyte()

    def step() -> int:
        fd, size = _data(directory, os.O_WRONLY)
        count = min(PASS_MEBIBYTES, size // MEBIBYTE)
        for number in range(count):
            os.pwrite(fd, buffer, number * MEBIBYTE)
        os.close(fd)
        return count

    yield step


def copy_tree(directory: str) -> Iterator[Step]:
    """Copy Python's asyncio and email packages with ``cp -a``."""
    with _tree() as tree:
        yield from _run(directory, ["cp", "-a", tree])


def clone(directory: str) -> Iterator[Step]:
    """Clone a repository of the same with ``git clone``."""
    git = ["git", "-c", "user.name=b", "-c", "user.email=b", "-c", "gc.auto=0"]
    with _tree() as tree:
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "tree"]):
            subprocess.run([*git, *words], cwd=tree, check=True)
        yield from _run(directory, [*git, "clone", "-q", "--no-local", tree])


@contextmanager
def _tree() -> Iterator[str]:
    """Make a tree of real files outside of the mount."""
    library = Path(os.__file__).parent
    with tempfile.TemporaryDirectory() as tree:
        for package in ("asyncio", "email"):
            shutil.copytree(
                library / package,
                Path(tree, package),
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        yield tree


def _run(directory: str, command: list[str]) -> Iterator[Step]:
    """Run a command with a new directory as its last word, each time."""
    copies = [os.path.join(directory, f"copy-{os.getpid()}-{n}") for n in range(100)]
    left = iter(copies)

    def step() -> int:
        subprocess.run([*command, next(left)], check=True)
        return 1

    yield step
    for copy in copies:
        shutil.rmtree(copy, ignore_errors=True)


_ALL: list[Measure] = [
    clone,
    copy_tree,
    create_unlink,
    list_attributes,
    list_names,
    open_close,
    read_block,
    read_blocks_afresh,
    read_mebibyte,
    read_mebibytes_afresh,
    stat,
    stat_many,
    write_block,
    write_blocks_through,
    write_mebibyte,
    write_mebibytes_through,
]

#: By name; each is entered with the directory to work in.
MEASURES = {measure.__name__: contextmanager(measure) for measure in _ALL}
