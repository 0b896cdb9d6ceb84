"""Path filesystems on the real kernel: what programs do with files."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.paths.stores import Mirror, Shelf
from triofuse import MountOptions, PathFilesystem, Stat, mount

pytestmark = pytest.mark.mount

SECONDS = 20


async def client(function: Callable[..., Any], *arguments: Any) -> Any:
    """Do something with the mount in a thread."""
    with trio.fail_after(SECONDS):
        return await trio.to_thread.run_sync(
            function, *arguments, abandon_on_cancel=True
        )


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A directory to mirror."""
    path = tmp_path / "disk"
    path.mkdir()
    return path


@asynccontextmanager
async def mirrored(disk: Path, mountpoint: str, **options: Any) -> AsyncIterator[Path]:
    filesystem = PathFilesystem(Mirror(disk), **options)
    async with mount(filesystem, mountpoint, strict=True):
        yield Path(mountpoint)


def every_operation(root: Path) -> None:
    """Do each operation once, and check what it did."""
    (root / "dir").mkdir(mode=0o750)
    file = root / "dir" / "file"
    file.write_bytes(b"hello")
    assert file.read_bytes() == b"hello"
    file.write_bytes(b"hi")
    assert file.stat().st_size == 2
    with file.open("ab") as stream:
        stream.write(b" there")
        stream.flush()
        os.fsync(stream.fileno())
    assert file.read_bytes() == b"hi there"
    os.truncate(file, 4)
    file.chmod(0o640)
    os.chown(file, 12, 34)
    os.utime(file, ns=(10**18 + 1, 10**18 + 2))
    status = file.stat()
    assert (status.st_size, status.st_mode) == (4, stat.S_IFREG | 0o640)
    assert (status.st_uid, status.st_gid) == (12, 34)
    assert (status.st_atime_ns, status.st_mtime_ns) == (10**18 + 1, 10**18 + 2)
    (root / "link").symlink_to("dir/file")
    assert os.readlink(root / "link") == "dir/file"
    os.link(file, root / "hard")
    assert (root / "hard").stat().st_nlink == 2
    os.mkfifo(root / "pipe")
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    os.setxattr(file, "user.x", b"1")
    assert (os.getxattr(file, "user.x"), os.listxattr(file)) == (b"1", ["user.x"])
    os.removexattr(file, "user.x")
    assert sorted(os.listdir(root)) == ["dir", "hard", "link", "pipe"]
    os.rename(root / "dir", root / "moved")
    assert (root / "moved" / "file").read_bytes() == b"hi t"
    for name in "hard", "link", "pipe", "moved/file":
        (root / name).unlink()
    (root / "moved").rmdir()
    assert os.listdir(root) == []
    assert os.statvfs(root).f_blocks > 0


@pytest.mark.parametrize("threads", [0, 1, 4])
async def test_every_operation_reaches_the_store(
    disk: Path, mountpoint: str, threads: int
) -> None:
    async with mirrored(disk, mountpoint, threads=threads) as root:
        await client(every_operation, root)

    assert os.listdir(disk) == []


async def test_a_rename_moves_what_is_open_below(disk: Path, mountpoint: str) -> None:
    def rename_below_an_open_file(root: Path) -> tuple[bytes, int]:
        (root / "a" / "b").mkdir(parents=True)
        with (root / "a" / "b" / "f").open("w+b") as file:
            file.write(b"before ")
            file.flush()
            os.rename(root / "a", root / "c")
            file.write(b"after")
            file.flush()
            size = os.fstat(file.fileno()).st_size
        return (root / "c" / "b" / "f").read_bytes(), size

    async with mirrored(disk, mountpoint) as root:
        assert await client(rename_below_an_open_file, root) == (b"before after", 12)


async def test_a_file_that_is_removed_while_open_is_usable_until_closed(
    mountpoint: str,
) -> None:
    shelf = Shelf()

    def remove_an_open_file(root: Path) -> tuple[list[str], bytes, int]:
        with (root / "f").open("w+b") as file:
            (root / "f").unlink()
            names = os.listdir(root)
            file.write(b"still here")
            file.flush()
            file.seek(0)
            return names, file.read(), os.fstat(file.fileno()).st_size

    async with mount(PathFilesystem(shelf), mountpoint, strict=True):
        seen = await client(remove_an_open_file, Path(mountpoint))

    assert seen == ([], b"still here", 10)
    assert list(shelf.files) == ["/"]


async def test_a_file_that_is_replaced_while_open_is_usable_until_closed(
    mountpoint: str,
) -> None:
    shelf = Shelf.of({"/old": b"old", "/new": b"new"})

    def replace_an_open_file(root: Path) -> tuple[bytes, bytes]:
        with (root / "old").open("rb") as file:
            os.rename(root / "new", root / "old")
            return file.read(), (root / "old").read_bytes()

    async with mount(PathFilesystem(shelf), mountpoint, strict=True):
        seen = await client(replace_an_open_file, Path(mountpoint))

    assert seen == (b"old", b"new")
    assert sorted(shelf.files) == ["/", "/old"]


async def test_hard_links_are_one_inode_where_numbers_are_given(
    disk: Path, mountpoint: str
) -> None:
    (disk / "a").write_bytes(b"one")
    os.link(disk / "a", disk / "b")

    def write_by_one_name(root: Path) -> tuple[bytes, int, bool]:
        (root / "b").stat()
        with (root / "a").open("ab") as file:
            file.write(b" and two")
        size = (root / "b").stat().st_size  # not a minute old
        same = os.path.samefile(root / "a", root / "b")
        return (root / "b").read_bytes(), size, same

    async with mirrored(disk, mountpoint, valid=60) as root:
        assert await client(write_by_one_name, root) == (b"one and two", 11, True)


async def test_a_listing_with_attributes_asks_nothing_more(mountpoint: str) -> None:
    shelf = Shelf.of({f"/{n}": b"x" * n for n in range(300)})

    def list_all(root: Path) -> int:
        with os.scandir(root) as entries:
            return sum(entry.stat().st_size for entry in entries)

    async with mount(PathFilesystem(shelf, valid=60), mountpoint, strict=True):
        await client(os.stat, mountpoint)
        before = shelf.calls["getattr"]
        total = await client(list_all, Path(mountpoint))
        with pytest.raises(FileNotFoundError):
            await client(os.stat, f"{mountpoint}/absent")

        assert total == sum(range(300))
        assert shelf.calls["getattr"] == before
        assert shelf.calls["readdir"] == 1


async def test_a_file_of_unknown_size_is_read_to_its_end(mountpoint: str) -> None:
    class Endless(Shelf):
        def _stat(self, path: str) -> Stat:
            return attrs.evolve(super()._stat(path), size=None)

    shelf = Endless.of({"/f": b"z" * 300_000})

    async with mount(PathFilesystem(shelf), mountpoint, strict=True):
        data = await client((Path(mountpoint) / "f").read_bytes)

    assert data == b"z" * 300_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_modes_are_checked_unless_the_store_does_it(
    disk: Path, mountpoint: str
) -> None:
    (disk / "secret").write_bytes(b"x")
    (disk / "secret").chmod(0o600)

    class Checking(Mirror):
        def access(self, path: str, mask: int) -> None:
            pass

    def read_as_somebody() -> int:
        command = ["cat", "secret"]
        done = subprocess.run(command, cwd=mountpoint, user=12, capture_output=True)
        return done.returncode

    codes = []
    for kind in Mirror, Checking:
        filesystem = PathFilesystem(kind(disk))
        options = MountOptions(allow_other=True)
        async with mount(filesystem, mountpoint, options, strict=True):
            codes.append(await client(read_as_somebody))

    assert codes == [1, 0]


async def test_a_store_that_only_reads_is_a_read_only_filesystem(
    mountpoint: str,
) -> None:
    class Reader:
        def getattr(self, path: str) -> os.stat_result:
            return os.lstat(f"/usr{path}")

        def readdir(self, path: str) -> list[str]:
            return os.listdir(f"/usr{path}")

    def try_to_write(root: Path) -> set[int | None]:
        errors = set()
        for change in (
            lambda: (root / "x").write_bytes(b""),
            (root / "x").mkdir,
            (root / "bin").rmdir,
            lambda: (root / "bin").chmod(0),
            lambda: os.rename(root / "bin", root / "x"),
            lambda: os.symlink("a", root / "x"),
        ):
            try:
                change()
            except OSError as exc:
                errors.add(exc.errno)
        return errors

    async with mount(PathFilesystem(Reader()), mountpoint, strict=True):
        assert await client(try_to_write, Path(mountpoint)) == {errno.EROFS}
        assert "bin" in await client(os.listdir, mountpoint)
