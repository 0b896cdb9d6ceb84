"""A file against a model of its bytes: ``python -m tests.examples.fsx FILE``.

Random operations are done to a file and to a ``bytearray``; what the file then holds
must be what the array holds, byte by byte.  The idea is that of fsx, the "filesystem
exerciser" (Avadis Tevanian, 1991).  It finds what no example finds: a page that
survives a truncation, a size of which two caches think differently.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import mmap
import os
import random
import sys
from collections.abc import Callable

import attrs

from tests.examples.model import Done, MismatchError, Model, expect
from tests.examples.posix.tools import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from tests.kernel.operations_syscalls import fallocate

PAGE = mmap.PAGESIZE
#: Operations from one look at all bytes to the next.
CHECK_EVERY = 100
#: Operations that are shown when one fails.
SHOWN = 50


@attrs.define(eq=False)
class Exerciser:
    """A file that is operated on, and the model of it.

    Attributes:
      path: The file; it begins empty.
      random: Where all choices come from: the same seed does the same again.
      size_max: Bytes that the file may have at most, in whole pages.
      mapped: Whether it is also read and written through a shared mapping.
    """

    path: str
    random: random.Random
    size_max: int
    mapped: bool
    model: Model = attrs.field(init=False, factory=Model)
    _fd: int = attrs.field(init=False)
    _appending: int = attrs.field(init=False)
    _uncached: int = attrs.field(init=False)
    _mapping: mmap.mmap | None = attrs.field(init=False, default=None)

    def run(self, operations: int) -> None:
        """Do so many operations, and look at all bytes once more.

        Raises:
          MismatchError: Something was not as it should be.
          OSError: An operation failed.
        """
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        possible = [*OPERATIONS, *(MAPPED_OPERATIONS if self.mapped else ())]
        self._open()
        for number in range(operations):
            operation = self.random.choice(possible)
            self.model.log.append(Done(number, operation.__name__))
            operation(self)
            expect(os.fstat(self._fd).st_size, self.model.size, "size")
            if number % CHECK_EVERY == CHECK_EVERY - 1:
                self._check()
        self.reopen()
        self._check()
        self._close()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDWR)
        self._appending = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._uncached = os.open(self.path, os.O_RDWR | os.O_DIRECT)

    def _close(self) -> None:
        if self._mapping:
            self._mapping.close()
            self._mapping = None
        for fd in (self._fd, self._appending, self._uncached):
            os.close(fd)

    def _check(self) -> None:
        length = self.size_max + 1
        self.model.compare(os.pread(self._fd, length, 0), 0, length)

    # --- Choices

    def length(self, most: int) -> int:
        """Choose a length: each order of magnitude is as likely as another."""
        return min(self.random.randint(1, 1 << self.random.randint(0, 16)), most)

    def anywhere(self) -> tuple[int, int]:
        """Choose offset and length, often from where a page begins or the file ends."""
        offset = self.random.randrange(self.size_max)
        end = min(self.model.size, self.size_max - 1)
        offset = self.random.choice([offset, offset, offset - offset % PAGE, end])
        return offset, self.length(self.size_max - offset)

    def inside(self, size: int) -> tuple[int, int]:
        """Choose offset and length within the first ``size`` bytes."""
        offset = self.random.randrange(size) if size else 0
        return offset, self.length(size - offset)

    def pages(self) -> tuple[int, int]:
        """Choose offset and length of whole pages."""
        offset, length = self.anywhere()
        first = offset // PAGE * PAGE
        return first, -(-(offset + length - first) // PAGE) * PAGE

    # --- Operations

    def read(self) -> None:
        offset, length = self.anywhere()
        self.model.note(offset, length)
        self.model.compare(os.pread(self._fd, length, offset), offset, length)

    def read_uncached(self) -> None:
        offset, length = self.pages()
        self.model.note(offset, length)
        with mmap.mmap(-1, length) as room:  # O_DIRECT wants it aligned
            size = os.preadv(self._uncached, [room], offset)
            self.model.compare(room[:size], offset, length)

    def write(self) -> None:
        offset, length = self.anywhere()
        self.model.note(offset, length)
        data = self.random.randbytes(length)
        expect(os.pwrite(self._fd, data, offset), length, "written")
        self.model.put(offset, data)

    def write_uncached(self) -> None:
        offset, length = self.pages()
        self.model.note(offset, length)
        data = self.random.randbytes(length)
        with mmap.mmap(-1, length) as room:
            room[:] = data
            expect(os.pwrite(self._uncached, room, offset), length, "written")
        self.model.put(offset, data)

    def append(self) -> None:
        offset = self.model.size
        data = self.random.randbytes(self.length(self.size_max - offset))
        self.model.note(offset, len(data))
        expect(os.write(self._appending, data), len(data), "written")
        self.model.put(offset, data)

    def truncate(self) -> None:
        old, new = self.model.size, self.random.randrange(self.size_max + 1)
        self.model.note(min(old, new), abs(old - new), "down" if new < old else "up")
        if self.random.choice([True, False]):
            os.ftruncate(self._fd, new)
        else:
            os.truncate(self.path, new)
        self.model.resize(new)

    def _fallocate(self, mode: int) -> tuple[int, int]:
        """Call fallocate(2), every other time without a change of the size."""
        mode |= self.random.choice([0, KEEP_SIZE])
        offset, length = self.anywhere()
        self.model.note(offset, length, "keeping the size" if mode & KEEP_SIZE else "")
        try:
            fallocate(self._fd, mode, offset, length)
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP:  # tmpfs cannot zero, say
                raise
            return offset, 0
        if not mode & KEEP_SIZE:
            self.model.resize(max(self.model.size, offset + length))
        return offset, length

    def preallocate(self) -> None:
        self._fallocate(0)

    def zero_range(self) -> None:
        self.model.clear(*self._fallocate(ZERO_RANGE))

    def punch_hole(self) -> None:
        self.model.clear(*self._fallocate(PUNCH_HOLE | KEEP_SIZE))

    def copy_range(self) -> None:
        source, length = self.inside(self.model.size)
        target = self.random.randrange(self.size_max)
        length = min(length, self.size_max - target, abs(target - source))
        self.model.note(target, length, f"from {source:#x}")
        data = bytes(self.model.content[source : source + length])
        left = length
        while left:
            at = source + length - left, target + length - left
            copied = os.copy_file_range(self._fd, self._fd, left, *at)
            expect(0 < copied <= left, True, "copied something")
            left -= copied
        self.model.put(target, data)

    def clone(self) -> None:
        """Copy the file and put the copy in its place; the old one stays open."""
        self.model.note(0, self.model.size)
        with open(f"{self.path}.clone", "wb") as clone:
            os.lseek(self._fd, 0, os.SEEK_SET)
            while os.copy_file_range(self._fd, clone.fileno(), self.size_max):
                pass
        os.replace(f"{self.path}.clone", self.path)
        self._check()
        self.reopen()
        self._check()

    def reopen(self) -> None:
        self._close()
        self._open()

    def sync(self) -> None:
        sync = self.random.choice([os.fsync, os.fdatasync])
        sync(self._fd)
        if self.random.choice([True, False]):  # what is read next is not cached
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def seek(self) -> None:
        """See that there is nothing where the filesystem says that there is nothing."""
        os.fsync(self._fd)  # it knows no more than what was written back
        stop, content = 0, self.model.content
        try:
            while True:
                start = os.lseek(self._fd, stop, os.SEEK_DATA)
                expect(any(content[stop:start]), False, f"bytes from {stop:#x} on")
                stop = os.lseek(self._fd, start, os.SEEK_HOLE)
                expect(start < stop <= self.model.size, True, f"a hole at {stop:#x}")
        except OSError as exc:
            expect(exc.errno, errno.ENXIO, "errno behind all data")
        expect(any(content[stop:]), False, f"bytes from {stop:#x} on")

    # --- Operations on a mapping, which is kept while others go on

    def map(self) -> None:
        """Map all that there is; what is cut off later must not be touched."""
        if self._mapping:
            self._mapping.close()
        if self.model.size == 0:
            self.append()
        self._mapping = mmap.mmap(self._fd, self.model.size)

    def _choose_mapped(self) -> tuple[mmap.mmap, int, int]:
        if self._mapping is None:
            self.map()
        assert self._mapping
        offset, length = self.inside(min(len(self._mapping), self.model.size))
        self.model.note(offset, length)
        return self._mapping, offset, length

    def read_mapped(self) -> None:
        mapping, offset, length = self._choose_mapped()
        found = mapping[offset : offset + length]
        self.model.compare(found, offset, length)

    def write_mapped(self) -> None:
        mapping, offset, length = self._choose_mapped()
        data = self.random.randbytes(length)
        mapping[offset : offset + length] = data
        self.model.put(offset, data)

    def sync_mapped(self) -> None:
        mapping, _, _ = self._choose_mapped()
        mapping.flush()


Operation = Callable[[Exerciser], None]

OPERATIONS: list[Operation] = [
    Exerciser.read,
    Exerciser.read_uncached,
    Exerciser.write,
    Exerciser.write_uncached,
    Exerciser.append,
    Exerciser.truncate,
    Exerciser.preallocate,
    Exerciser.zero_range,
    Exerciser.punch_hole,
    Exerciser.copy_range,
    Exerciser.clone,
    Exerciser.reopen,
    Exerciser.sync,
    Exerciser.seek,
]
MAPPED_OPERATIONS: list[Operation] = [
    Exerciser.map,
    Exerciser.read_mapped,
    Exerciser.write_mapped,
    Exerciser.sync_mapped,
]


def main() -> None:
    """Do what the command line says; show the last operations if one fails."""
    parser = argparse.ArgumentParser(description="Try a file against a model of it.")
    parser.add_argument("path", metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=64, help="the file's most")
    parser.add_argument("--no-mmap", action="store_true", help="do not map it")
    args = parser.parse_args()
    faulthandler.enable()  # a mapping that cannot be read ends with SIGBUS
    choices, size_max = random.Random(args.seed), args.pages * PAGE
    exerciser = Exerciser(args.path, choices, size_max, mapped=not args.no_mmap)
    try:
        exerciser.run(args.operations)
    except (MismatchError, OSError) as exc:
        log = "\n".join(map(str, exerciser.model.log[-SHOWN:]))
        sys.exit(f"{log}\nseed {args.seed}: {exc}")
    print(f"seed {args.seed}: {args.operations} operations")


if __name__ == "__main__":
    main()
