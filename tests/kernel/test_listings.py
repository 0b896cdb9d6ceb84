"""Directories that change while they are read, on a real mount."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator

import pytest

import triofuse as t
from tests.kernel.recorder import mounted, off_thread
from tests.kernel.store import Store

pytestmark = pytest.mark.mount

COUNT = 300


class Changing(Store):
    """A root with many files, some of which go when it is listed.

    Attributes:
      readings: How often the directory was read.
      opened: What an OPENDIR is answered with; None is ENOSYS.
      lazy: Whether entries with attributes are made one by one.
      change: What happens when it is read for the second time.
    """

    def __init__(self, *, lazy: bool = False, opened: t.Opened | None = None) -> None:
        super().__init__(valid=60)
        for number in range(COUNT):
            self.put(f"file{number:04}")
        self.lazy, self.opened = lazy, opened
        self.readings = 0
        self.change: Callable[[], None] = lambda: None

    async def opendir(self, request: t.Opendir) -> t.Opened:
        if self.opened is None:
            raise t.FuseError(errno.ENOSYS)
        return self.opened

    async def readdir(self, request: t.Readdir) -> list[t.DirEntry]:
        self._read()
        return await super().readdir(request)

    async def readdirplus(self, request: t.Readdirplus) -> Iterable[t.DirEntry]:
        self._read()
        entries = await super().readdirplus(request)
        return entries if self.lazy else list(entries)

    def _read(self) -> None:
        self.readings += 1
        if self.readings == 2:
            self.change()

    def lose(self, start: int, end: int) -> None:
        for number in range(start, end):
            del self.nodes[1].names[f"file{number:04}"]


def pages(fd: int, size: int) -> Iterator[list[tuple[str, int]]]:
    """Yield names and cookies, as many as one getdents64(2) brings."""
    buffer = ctypes.create_string_buffer(size)
    libc = ctypes.CDLL(None, use_errno=True)
    while (length := libc.getdents64(fd, buffer, size)) > 0:
        raw, page = buffer.raw[:length], []
        while raw:
            cookie = int.from_bytes(raw[8:16], "little")
            end = int.from_bytes(raw[16:18], "little")
            page.append((raw[19:end].split(b"\0")[0].decode(), cookie))
            raw = raw[end:]
        yield page
    assert length == 0, os.strerror(ctypes.get_errno())


def names(fd: int, size: int = 4096) -> list[str]:
    return [name for page in pages(fd, size) for name, _ in page]


def opened(path: object) -> int:
    return os.open(str(path), os.O_RDONLY | os.O_DIRECTORY)


HANDLES = [t.Opened(fh=7), None]


@pytest.mark.parametrize("handle", HANDLES)
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("size", [300, 2048, 5000])
async def test_what_is_deleted_page_by_page_is_all_deleted(
    mountpoint: str, size: int, lazy: bool, handle: t.Opened | None
) -> None:
    """``rm -rf`` with the buffer of musl, and with smaller ones."""
    changing = Changing(lazy=lazy, opened=handle)

    def remove() -> None:
        fd = opened(mountpoint)
        for page in pages(fd, size):
            for name, _ in page:
                if name not in (".", ".."):
                    os.unlink(name, dir_fd=fd)
        os.close(fd)

    async with mounted(changing, mountpoint):
        await off_thread(remove)

    assert changing.nodes[1].names == {}


@pytest.mark.parametrize("handle", HANDLES)
@pytest.mark.parametrize("lazy", [False, True])
async def test_who_goes_over_to_names_misses_nothing_that_stays(
    mountpoint: str, lazy: bool, handle: t.Opened | None
) -> None:
    """Without a look at the entries the kernel asks for attributes only once."""
    changing = Changing(lazy=lazy, opened=handle)
    changing.change = lambda: changing.lose(0, 50)

    async with mounted(changing, mountpoint) as root:
        seen = await off_thread(os.listdir, root)

    assert len(set(seen)) == len(seen)
    assert {f"file{number:04}" for number in range(50, COUNT)} <= set(seen)
    assert changing.readings == (2 if lazy and handle else 1)
    assert all(count >= 0 for count in changing.lookups.values())


@pytest.mark.parametrize("handle", HANDLES)
async def test_every_cookie_can_be_sought_whatever_goes(
    mountpoint: str, handle: t.Opened | None
) -> None:
    changing = Changing(lazy=True, opened=handle)

    def seek() -> None:
        fd = opened(mountpoint)
        seen = [entry for page in pages(fd, 4096) for entry in page]
        order = [name for name, _ in seen]
        changing.lose(0, 100)
        for index in (200, 5, 301, 50, 0):
            os.lseek(fd, seen[index][1], os.SEEK_SET)
            assert names(fd) == order[index + 1 :]
        os.lseek(fd, 0, os.SEEK_SET)
        if handle:  # else the kernel keeps the listing itself
            assert len(names(fd)) == COUNT - 100 + 2, "this is rewinddir(3)"
        os.close(fd)

    async with mounted(changing, mountpoint):
        await off_thread(seek)


@pytest.mark.parametrize("handle", HANDLES)
async def test_who_rewinds_moves_nobody_else_with_the_same_handle(
    mountpoint: str, handle: t.Opened | None
) -> None:
    changing = Changing(opened=handle)

    def interleave() -> list[str]:
        first, second = opened(mountpoint), opened(mountpoint)
        reading = pages(first, 2048)
        seen = next(reading) + next(reading)
        names(second)
        changing.lose(0, 60)
        os.lseek(second, 0, os.SEEK_SET)
        names(second)
        seen += [entry for page in reading for entry in page]
        os.close(first)
        os.close(second)
        return [name for name, _ in seen]

    async with mounted(changing, mountpoint):
        seen = await off_thread(interleave)

    assert len(set(seen)) == len(seen)
    assert {f"file{number:04}" for number in range(60, COUNT)} <= set(seen)


async def test_a_server_of_nfs_may_open_the_directory_for_each_page(
    mountpoint: str,
) -> None:
    """It opens without O_DIRECTORY, and seeks to the cookie of another opening."""

    class Exported(Changing):
        async def init(self, config: t.KernelConfig) -> None:
            config.want(t.InitFlags.EXPORT_SUPPORT)

    exported = Exported(opened=t.Opened(fh=7))

    def read() -> list[str]:
        seen: list[str] = []
        cookie, gone = 0, iter(range(0, 60, 10))
        while True:
            fd = os.open(mountpoint, os.O_RDONLY)
            os.lseek(fd, cookie, os.SEEK_SET)
            page = next(pages(fd, 2048), [])
            os.close(fd)
            if not page:
                return seen
            seen += [name for name, _ in page]
            cookie = page[-1][1]
            start = next(gone, None)
            if start is not None:
                exported.lose(start, start + 10)

    async with mounted(exported, mountpoint):
        seen = await off_thread(read)

    assert len(set(seen)) == len(seen)
    assert {f"file{number:04}" for number in range(60, COUNT)} <= set(seen)


async def test_an_entry_of_a_lazy_listing_is_made_when_it_is_wanted(
    mountpoint: str,
) -> None:
    class Endless(Changing):
        made = 0

        async def readdirplus(self, request: t.Readdirplus) -> Iterator[t.DirEntry]:
            return self._endless()

        def _endless(self) -> Iterator[t.DirEntry]:
            while True:
                self.made += 1
                yield t.DirEntry(f"{self.made}", 5, stat.S_IFREG)

    endless = Endless(opened=t.Opened(fh=7))

    def look() -> None:
        with os.scandir(mountpoint) as entries:
            assert next(entries).name == "1"

    async with mounted(endless, mountpoint):
        await off_thread(look)

    assert endless.made < 1000
