"""Filesystems around filesystems: what is not overridden goes to the inner one."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable

import pytest

import triofuse
from triofuse import Directory, Filesystem, Layer, ReadOnly, Tree
from triofuse.filesystem.filesystem import implements
from triofuse.testing import open_kernel


class Log(Layer):
    """Notes what is removed."""

    def __init__(self, inner: Filesystem) -> None:
        super().__init__(inner)
        self.removed: list[str] = []

    async def unlink(self, request: triofuse.Unlink) -> None:
        self.removed.append(request.name)
        await super().unlink(request)


class Missing(Filesystem):
    """Has one method, and no more."""

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        raise triofuse.FuseError(errno.ENOENT)


def test_a_layer_has_the_methods_of_the_inner_filesystem_and_its_own() -> None:
    layer = Log(Missing())

    assert implements(layer, "lookup")
    assert implements(layer, "unlink")
    assert not implements(layer, "read")


def test_what_is_not_overridden_is_the_inner_method_itself() -> None:
    inner = Missing()

    assert Log(inner).lookup == inner.lookup


def test_a_layer_is_put_around_an_instance() -> None:
    with pytest.raises(TypeError, match=r"use Missing\(\.\.\.\)"):
        Log(Missing)  # type: ignore[arg-type]


async def test_an_overridden_method_asks_the_inner_one() -> None:
    tree = Tree(Directory({"a": "x"}, writable=True))
    layer = Log(Log(tree))

    async with open_kernel(layer) as kernel:
        await kernel.lookup(1, "a")
        await kernel.unlink(1, "a")

    assert layer.removed == ["a"]
    assert list(tree.root) == []  # type: ignore[call-overload]


async def test_the_inner_filesystem_tells_the_kernel_of_changes() -> None:
    tree = Tree(Directory({"a": "x"}))

    async with open_kernel(Log(tree)) as kernel:
        entry = await kernel.lookup(1, "a")
        await tree.notifier.inval_inode(entry.nodeid, -1)

        notification = await kernel.notifications.receive()

    assert notification.fields["ino"] == entry.nodeid


@pytest.mark.parametrize("change", ["mkdir", "unlink", "rename", "setattr", "link"])
async def test_a_read_only_layer_refuses_every_change(change: str) -> None:
    tree = Tree(Directory({"a": "x"}, writable=True))

    async with open_kernel(ReadOnly(tree)) as kernel:
        entry = await kernel.lookup(1, "a")
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "mkdir": lambda: kernel.mkdir(1, "d", 0o755),
            "unlink": lambda: kernel.unlink(1, "a"),
            "rename": lambda: kernel.rename(1, "a", 1, "b"),
            "setattr": lambda: kernel.setattr(entry.nodeid, mode=0o600),
            "link": lambda: kernel.link(entry.nodeid, 1, "b"),
        }
        with pytest.raises(OSError) as raised:
            await calls[change]()

    assert raised.value.errno == errno.EROFS


async def test_a_read_only_layer_opens_files_for_reading_only() -> None:
    tree = Tree(Directory({"a": "x"}, writable=True))

    async with open_kernel(ReadOnly(tree)) as kernel:
        entry = await kernel.lookup(1, "a")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        assert await kernel.read(entry.nodeid, opened.fh, 0, 10) == b"x"
        with pytest.raises(OSError) as raised:
            await kernel.open(entry.nodeid, os.O_RDWR)

    assert raised.value.errno == errno.EROFS
