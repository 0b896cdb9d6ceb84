"""What clients see of a tree that nobody changes."""

from __future__ import annotations

import os
import stat

import pytest

from triofuse import (
    Directory,
    DiskFile,
    File,
    Generated,
    OpenFlags,
    Special,
    Stat,
    SymbolicLink,
    Tree,
)
from triofuse.testing import FakeKernel, open_kernel


async def read(kernel: FakeKernel, name: str, size: int = 100) -> bytes:
    """Open, read and close a file in the root."""
    entry = await kernel.lookup(1, name)
    opened = await kernel.open(entry.nodeid, os.O_RDONLY)
    data = await kernel.read(entry.nodeid, opened.fh, 0, size)
    await kernel.release(entry.nodeid, opened.fh)
    return data


async def test_text_and_bytes_are_files() -> None:
    async with open_kernel(Tree({"text": "Hé\n", "bytes": b"\0"})) as kernel:
        assert await read(kernel, "text") == b"H\xc3\xa9\n"
        assert await read(kernel, "bytes") == b"\0"


async def test_a_mapping_is_a_directory() -> None:
    async with open_kernel(Tree({"d": {"e": {"f": "x"}}})) as kernel:
        directory = await kernel.lookup(1, "d")
        inner = await kernel.lookup(directory.nodeid, "e")
        file = await kernel.lookup(inner.nodeid, "f")

    assert file.attr.size == 1


async def test_attributes_are_what_people_expect() -> None:
    tree = Tree({"file": "12345", "dir": {"sub": {}}})

    async with open_kernel(tree) as kernel:
        file = (await kernel.lookup(1, "file")).attr
        directory = (await kernel.lookup(1, "dir")).attr

    assert (stat.filemode(file.mode), file.nlink) == ("-r--r--r--", 1)
    assert (file.size, file.blocks) == (5, 1)
    assert (file.uid, file.gid) == (os.getuid(), os.getgid())
    assert file.mtime_ns > 10**18
    assert (stat.filemode(directory.mode), directory.nlink) == ("drwxr-xr-x", 3)


async def test_a_stat_says_what_is_otherwise() -> None:
    tree = Tree({"x": File("abc", stat=Stat(mode=0o600, uid=7, mtime_ns=5))})

    async with open_kernel(tree) as kernel:
        attr = (await kernel.lookup(1, "x")).attr

    assert (attr.mode, attr.uid, attr.size) == (stat.S_IFREG | 0o600, 7, 3)
    assert (attr.mtime_ns, attr.ctime_ns >= 5) == (5, True)


async def test_every_kind_of_node_is_listed_once_with_its_type() -> None:
    root = Directory(
        {
            "file": "x",
            "dir": {},
            "link": SymbolicLink("file"),
            "pipe": Special(stat.S_IFIFO | 0o600),
            "null": Special(stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        }
    )

    async with open_kernel(Tree(root)) as kernel:
        opened = await kernel.opendir(1)
        entries = await kernel.readdirplus(1, opened.fh)

    kinds = {entry.name: stat.S_IFMT(entry.mode) for entry in entries}
    assert kinds == {
        ".": stat.S_IFDIR,
        "..": stat.S_IFDIR,
        "file": stat.S_IFREG,
        "dir": stat.S_IFDIR,
        "link": stat.S_IFLNK,
        "pipe": stat.S_IFIFO,
        "null": stat.S_IFCHR,
    }


async def test_a_link_has_its_target() -> None:
    async with open_kernel(Tree({"l": SymbolicLink("a/b")})) as kernel:
        entry = await kernel.lookup(1, "l")
        assert await kernel.readlink(entry.nodeid) == "a/b"
        assert entry.attr.size == 3


async def test_the_same_node_under_two_names_is_one_inode() -> None:
    file = File("x")

    async with open_kernel(Tree({"a": file, "d": Directory({"b": file})})) as kernel:
        one = await kernel.lookup(1, "a")
        directory = await kernel.lookup(1, "d")
        other = await kernel.lookup(directory.nodeid, "b")

    assert one.nodeid == other.nodeid
    assert other.attr.nlink == 2


async def test_generated_contents_are_made_anew_at_each_open() -> None:
    made: list[int] = []

    def count() -> str:
        made.append(1)
        return f"{len(made)}"

    async with open_kernel(Tree({"n": Generated(count)})) as kernel:
        assert await read(kernel, "n") == b"1"
        assert await read(kernel, "n") == b"2"


async def test_a_size_that_nobody_knows_is_read_until_the_end() -> None:
    async def make() -> bytes:
        return b"x" * 10

    async with open_kernel(Tree({"n": Generated(make)})) as kernel:
        entry = await kernel.lookup(1, "n")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)

    assert entry.attr.size == 0
    assert opened.flags & OpenFlags.DIRECT_IO


async def test_sized_contents_are_made_at_stat_for_the_next_open() -> None:
    made: list[int] = []

    def count() -> str:
        made.append(1)
        return "x" * len(made)

    async with open_kernel(Tree({"n": Generated(count, sized=True)})) as kernel:
        entry = await kernel.lookup(1, "n")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        data = await kernel.read(entry.nodeid, opened.fh, 0, 100)

    assert (entry.attr.size, data) == (1, b"x")


async def test_what_is_written_to_a_generated_file_is_accepted_at_close() -> None:
    accepted: list[bytes] = []
    setting = Generated(lambda: "1\n", accept=accepted.append)

    async with open_kernel(Tree({"setting": setting})) as kernel:
        entry = await kernel.lookup(1, "setting")
        opened = await kernel.open(entry.nodeid, os.O_WRONLY | os.O_TRUNC)
        await kernel.write(entry.nodeid, opened.fh, 0, b"2")
        await kernel.write(entry.nodeid, opened.fh, 1, b"3\n")
        assert accepted == []
        await kernel.flush(entry.nodeid, opened.fh)

    assert accepted == [b"23\n"]


async def test_what_accept_raises_is_the_error_of_close() -> None:
    def refuse(data: bytes) -> None:
        raise PermissionError(1, "no")

    async with open_kernel(Tree({"s": Generated(str, accept=refuse)})) as kernel:
        entry = await kernel.lookup(1, "s")
        opened = await kernel.open(entry.nodeid, os.O_WRONLY)
        await kernel.write(entry.nodeid, opened.fh, 0, b"2")
        with pytest.raises(PermissionError):
            await kernel.flush(entry.nodeid, opened.fh)


async def test_a_file_of_the_disk_is_read_as_it_is_there(
    tmp_path: os.PathLike[str],
) -> None:
    path = os.path.join(tmp_path, "x")
    with open(path, "w") as file:
        file.write("from the disk")

    async with open_kernel(Tree({"x": DiskFile(path)})) as kernel:
        assert (await kernel.lookup(1, "x")).attr.size == 13
        assert await read(kernel, "x") == b"from the disk"


async def test_an_empty_directory_is_true() -> None:
    assert Directory()


async def test_nothing_is_left_of_lookups_when_the_kernel_has_forgotten() -> None:
    tree = Tree({"a": "x", "d": {"b": "y"}})

    async with open_kernel(tree) as kernel:
        directory = await kernel.lookup(1, "d")
        await kernel.lookup(directory.nodeid, "b")
        await kernel.lookup(1, "a")
        await kernel.forget_all()
        await kernel.lookup(1, "a")  # the FORGETs have been dealt with

        assert tree._forgetting.known == 1
        assert sum(inode.nlookup for inode in tree._inodes.values()) == 1
