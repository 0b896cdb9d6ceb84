"""What the program changes while the tree is mounted."""

from __future__ import annotations

import errno
import os
import threading

import pytest
import trio

from triofuse import Directory, File, Stat, Tree
from triofuse.testing import FakeKernel, Notification, open_kernel
from triofuse.wire.opcodes import NotifyCode


async def said(kernel: FakeKernel) -> list[Notification]:
    """Return what the kernel was told until now."""
    await kernel.getattr(1)  # its answer comes behind the notifications
    notifications = []
    while True:
        try:
            notifications.append(kernel.notifications.receive_nowait())
        except trio.WouldBlock:
            return notifications


def names(notifications: list[Notification]) -> list[str]:
    return [
        os.fsdecode(one.payload.rstrip(b"\0"))
        for one in notifications
        if one.code in (NotifyCode.INVAL_ENTRY, NotifyCode.DELETE)
    ]


async def test_a_name_that_is_added_is_there_at_once() -> None:
    root = Directory()

    async with open_kernel(Tree(root)) as kernel:
        root["late"] = File("x")

        assert (await kernel.lookup(1, "late")).attr.size == 1


async def test_the_kernel_is_told_of_names_that_it_knew() -> None:
    root = Directory({"known": "x", "unknown": "x"})
    tree = Tree(root)

    async with open_kernel(tree) as kernel:
        await kernel.lookup(1, "known")
        assert not (await kernel.lookup(1, "absent")).nodeid
        del root["known"], root["unknown"]
        root["absent"] = File("y")
        root["new"] = File("y")
        await tree.told()

        assert sorted(names(await said(kernel))) == ["absent", "known"]


async def test_who_watches_a_file_hears_of_its_end_but_not_of_a_rename() -> None:
    root = Directory({"a": "x", "b": "y"})
    tree = Tree(root)

    async with open_kernel(tree) as kernel:
        await kernel.lookup(1, "a")
        await kernel.lookup(1, "b")
        del root["a"]
        root.move("b", root, "c")
        await tree.told()

        codes = {
            names([one])[0]: one.code for one in await said(kernel) if names([one])
        }
        assert codes == {"a": NotifyCode.DELETE, "b": NotifyCode.INVAL_ENTRY}


async def test_ten_thousand_names_that_nobody_knows_are_one_notification() -> None:
    root = Directory()
    tree = Tree(root)

    async with open_kernel(tree) as kernel:
        for number in range(10_000):
            root[str(number)] = File()
        await tree.told()

        assert len(await said(kernel)) == 1


async def test_new_contents_drop_the_cached_ones() -> None:
    file = File("old")
    tree = Tree({"x": file})

    async with open_kernel(tree) as kernel:
        entry = await kernel.lookup(1, "x")
        file.content = "newer"
        await tree.told()

        (notification,) = await said(kernel)
        assert notification.code is NotifyCode.INVAL_INODE
        assert (notification.fields["ino"], notification.fields["off"]) == (
            entry.nodeid,
            0,
        )
        assert (await kernel.getattr(entry.nodeid)).size == 5


async def test_new_attributes_leave_the_contents_alone() -> None:
    file = File("x")
    tree = Tree({"x": file})

    async with open_kernel(tree) as kernel:
        entry = await kernel.lookup(1, "x")
        file.set_stat(Stat(mode=0o600))
        await tree.told()

        (notification,) = await said(kernel)
        assert notification.fields["off"] == -1
        assert (await kernel.getattr(entry.nodeid)).mode & 0o777 == 0o600


async def test_a_move_keeps_the_inode() -> None:
    root = Directory({"a": {"x": "1"}, "b": {}})
    a, b = root["a"], root["b"]
    assert isinstance(a, Directory)
    assert isinstance(b, Directory)

    async with open_kernel(Tree(root)) as kernel:
        entry = await kernel.lookup((await kernel.lookup(1, "a")).nodeid, "x")
        a.move("x", b, "y")
        moved = await kernel.lookup((await kernel.lookup(1, "b")).nodeid, "y")

    assert moved.nodeid == entry.nodeid
    assert (b["y"].name, b["y"].parent) == ("y", b)


async def test_pop_and_set_is_a_move() -> None:
    dropped: list[str] = []

    class Noted(File):
        async def drop(self) -> None:
            dropped.append("drop")

    root = Directory({"a": Noted("x")})
    tree = Tree(root)

    async with open_kernel(tree) as kernel:
        root["b"] = root.pop("a")
        await tree.told()
        await kernel.lookup(1, "b")

        assert dropped == []


async def test_what_is_removed_is_dropped_once_when_nobody_uses_it() -> None:
    dropped: list[str] = []

    class Noted(File):
        async def drop(self) -> None:
            dropped.append(self.content.decode())

    root = Directory({"unknown": Noted("unknown"), "open": Noted("open")})
    tree = Tree(root)

    async with open_kernel(tree) as kernel:
        entry = await kernel.lookup(1, "open")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        del root["unknown"], root["open"]
        await tree.told()
        assert dropped == ["unknown"]

        await kernel.release(entry.nodeid, opened.fh)
        await kernel.forget_all()
        await tree.told()
        assert not (await kernel.lookup(1, "open")).nodeid
        assert dropped == ["unknown", "open"]


async def test_a_dropped_node_cannot_come_back() -> None:
    class Noted(File):
        async def drop(self) -> None: ...

    root = Directory({"a": Noted("x")})
    tree = Tree(root)

    async with open_kernel(tree):
        node = root.pop("a")
        await tree.told()

        with pytest.raises(ValueError, match="was dropped"):
            root["b"] = node


async def test_another_thread_is_told_how_to_change_the_tree() -> None:
    root = Directory()
    raised: list[RuntimeError] = []

    def change() -> None:
        try:
            root["x"] = File()
        except RuntimeError as exc:
            raised.append(exc)

    async with open_kernel(Tree(root)):
        thread = threading.Thread(target=change)
        thread.start()
        await trio.to_thread.run_sync(thread.join)

    assert "trio.from_thread.run_sync" in str(raised[0])


async def test_a_tree_is_mounted_once_at_a_time() -> None:
    tree = Tree({})

    async with open_kernel(tree):
        with pytest.raises(RuntimeError, match="mounted already"):
            async with open_kernel(tree):
                pass


async def test_mounting_again_keeps_inode_numbers() -> None:
    tree = Tree({"a": "x", "b": "y"})

    async with open_kernel(tree) as kernel:
        first = await kernel.lookup(1, "b")
    async with open_kernel(tree) as kernel:
        await kernel.lookup(1, "a")
        again = await kernel.lookup(1, "b")

    assert again.nodeid == first.nodeid


async def test_what_cannot_be_changed_is_a_read_only_filesystem() -> None:
    async with open_kernel(Tree({"a": "x"})) as kernel:
        for call in (
            lambda: kernel.mkdir(1, "d", 0o755),
            lambda: kernel.unlink(1, "a"),
            lambda: kernel.create(1, "b"),
        ):
            with pytest.raises(OSError) as raised:
                await call()
            assert raised.value.errno == errno.EROFS


async def test_a_removed_directory_has_no_links_whatever_is_done_in_it() -> None:
    root = Directory({"d": Directory({"e": {}}, writable=True)}, writable=True)
    inner = root["d"]
    assert isinstance(inner, Directory)

    async with open_kernel(Tree(root)) as kernel:
        entry = await kernel.lookup(1, "d")
        del root["d"]
        await kernel.rename(entry.nodeid, "e", 1, "e")
        links = (await kernel.getattr(entry.nodeid)).nlink, inner.stat.nlink
        root_links = (await kernel.getattr(1)).nlink

    assert links == (0, 0)
    assert root_links == 3


async def test_two_nodes_of_one_key_in_memory_are_hard_links() -> None:
    root = Directory({"a": File("old", key=7)})

    async with open_kernel(Tree(root)) as kernel:
        before = await kernel.lookup(1, "a")
        root["b"] = File("newer", key=7)
        entries = [await kernel.lookup(1, name) for name in "ab"]
        opened = await kernel.open(before.nodeid, os.O_RDONLY)
        data = await kernel.read(before.nodeid, opened.fh, 0, 10)
        del root["a"]
        after = await kernel.getattr(before.nodeid)

    assert {entry.nodeid for entry in entries} == {before.nodeid}
    assert {(entry.attr.size, entry.attr.nlink) for entry in entries} == {(5, 2)}
    assert (data, after.nlink) == (b"newer", 1)
