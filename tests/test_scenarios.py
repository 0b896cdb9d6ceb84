"""Scenarios that pass on the real kernel and on the fake one alike."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

import triofuse
from memfs import MemFS
from passthrough import Passthrough
from tests.clients import Client, Status, fake_kernel, real_kernel

Kernel = Callable[[triofuse.Filesystem, str], AbstractAsyncContextManager[Client]]
Make = Callable[[], triofuse.Filesystem]


@pytest.fixture(
    params=[pytest.param(real_kernel, marks=pytest.mark.mount), fake_kernel],
    ids=["real", "fake"],
)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    chosen: Kernel = request.param
    return chosen


@pytest.fixture(params=["memfs", "passthrough"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memfs":
        return MemFS
    source = tmp_path / "source"
    source.mkdir()
    return lambda: Passthrough(str(source))


async def fails(error: int, call: Callable[..., object], *args: object) -> None:
    """Make a call that must fail with an errno."""
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        await call(*args)  # type: ignore[misc]
    assert caught.value.errno == error


async def files(client: Client) -> None:
    data = os.urandom(300_001)
    await client.write("file", data)
    assert await client.read("file") == data
    assert await client.stat("file") == Status(stat.S_IFREG, len(data), 1)
    await client.write("file", b"shorter")
    assert await client.read("file") == b"shorter"
    await client.truncate("file", 10)
    assert await client.read("file") == b"shorter\0\0\0"
    await client.truncate("file", 0)
    assert await client.read("file") == b""
    await client.unlink("file")
    await fails(errno.ENOENT, client.read, "file")
    await fails(errno.ENOENT, client.unlink, "file")


async def directories(client: Client) -> None:
    await client.mkdir("a")
    await client.mkdir("a/b")
    await fails(errno.EEXIST, client.mkdir, "a")
    await fails(errno.ENOENT, client.mkdir, "x/y")
    assert await client.names("") == ["a"]
    assert await client.names("a") == ["b"]
    assert await client.names("a/b") == []
    assert (await client.stat("a")).kind == stat.S_IFDIR
    await fails(errno.ENOTEMPTY, client.rmdir, "a")
    await client.rmdir("a/b")
    await client.rmdir("a")
    assert await client.names("") == []


async def many_names(client: Client) -> None:
    wanted = sorted(f"{number:04}-{'x' * (number % 200)}" for number in range(1200))
    for name in wanted:
        await client.write(name, b"")
    assert await client.names("") == wanted
    for name in wanted:
        await client.unlink(name)
    assert await client.names("") == []


async def strange_names(client: Client) -> None:
    wanted = ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "new\nline", "\udcff\udcfe"]
    wanted += ["-rf", "a b", "x" * 255]
    for name in wanted:
        await client.write(name, name.encode("utf-8", "surrogateescape"))
    assert await client.names("") == sorted(wanted)
    assert await client.read("\udcff\udcfe") == b"\xff\xfe"
    await fails(errno.ENAMETOOLONG, client.write, "x" * 256, b"")


async def renaming(client: Client) -> None:
    await client.mkdir("from")
    await client.mkdir("to")
    await client.write("from/one", b"1")
    await client.write("to/two", b"2")
    await client.rename("from/one", "to/two")
    assert await client.names("from") == []
    assert await client.read("to/two") == b"1"
    await client.rename("to", "from")
    assert await client.names("") == ["from"]
    await fails(errno.ENOENT, client.rename, "nothing", "x")
    await client.mkdir("empty")
    await fails(errno.ENOTEMPTY, client.rename, "empty", "from")


async def hard_links(client: Client) -> None:
    await client.write("one", b"same")
    await client.link("one", "two")
    assert (await client.stat("two")).nlink == 2
    await client.write("two", b"changed")
    assert await client.read("one") == b"changed"
    await client.unlink("one")
    assert await client.stat("two") == Status(stat.S_IFREG, 7, 1)
    await fails(errno.EEXIST, client.link, "two", "two")


async def symbolic_links(client: Client) -> None:
    target = "../anywhere/" + "y" * 1000
    await client.symlink(target, "link")
    assert await client.readlink("link") == target
    assert await client.stat("link") == Status(stat.S_IFLNK, len(target), 1)
    await fails(errno.EEXIST, client.symlink, "x", "link")


async def extended_attributes(client: Client) -> None:
    await client.write("file", b"")
    await client.setxattr("file", "user.one", b"\0 any bytes \xff")
    await client.setxattr("file", "user.large", b"x" * 3000)
    await client.setxattr("file", "user.empty", b"")
    assert await client.getxattr("file", "user.one") == b"\0 any bytes \xff"
    assert await client.getxattr("file", "user.large") == b"x" * 3000
    assert await client.getxattr("file", "user.empty") == b""
    found = [n for n in await client.listxattr("file") if n.startswith("user.")]
    assert found == ["user.empty", "user.large", "user.one"]
    await fails(errno.ENODATA, client.getxattr, "file", "user.absent")


SCENARIOS = [
    files,
    directories,
    many_names,
    strange_names,
    renaming,
    hard_links,
    symbolic_links,
    extended_attributes,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda case: case.__name__)
async def test_scenario(
    scenario: Callable[[Client], object], kernel: Kernel, make: Make, mountpoint: str
) -> None:
    with trio.fail_after(60):
        async with kernel(make(), mountpoint) as client:
            await scenario(client)  # type: ignore[misc]
