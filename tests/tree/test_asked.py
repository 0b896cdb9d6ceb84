"""Directories that are asked: identity, freshness, and what clients change."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triofuse import AskedDirectory, Directory, File, FuseError, Node, Stat, Tree
from triofuse.testing import open_kernel
from triofuse.wire.opcodes import NotifyCode


@attrs.define
class Row:
    """A file of the store."""

    id: int
    data: bytearray = attrs.Factory(bytearray)
    mode: int = 0o644


@attrs.define
class Store:
    """Names and rows, as a database has them."""

    names: dict[str, Row] = attrs.Factory(dict)
    dropped: list[int] = attrs.Factory(list)
    saved: list[Stat] = attrs.Factory(list)
    asked: list[str] = attrs.Factory(list)
    opened: list[str] = attrs.Factory(list)


class Record(File):
    """A file whose contents are in the store."""

    def __init__(self, store: Store, row: Row) -> None:
        size = len(row.data)
        super().__init__(key=row.id, stat=Stat(size=size, mode=row.mode), valid=1.0)
        self.store, self.row = store, row

    async def read(self, size: int, offset: int) -> bytes:
        return bytes(self.row.data[offset : offset + size])

    async def write(self, data: memoryview, offset: int) -> int:
        self.row.data[offset : offset + len(data)] = data
        return len(data)

    async def truncate(self, size: int) -> None:
        del self.row.data[size:]

    async def save(self, changes: Stat) -> None:
        self.store.saved.append(changes)

    async def drop(self) -> None:
        self.store.dropped.append(self.row.id)

    @asynccontextmanager
    async def open(self, flags: int) -> AsyncIterator[None]:
        self.store.opened.append("opened")
        yield
        self.store.opened.append("closed")


class Folder(AskedDirectory):
    """The store as a directory."""

    def __init__(self, store: Store) -> None:
        super().__init__(key="folder", valid=1.0)
        self.store = store

    async def lookup(self, name: str) -> Node | None:
        self.store.asked.append(name)
        row = self.store.names.get(name)
        return None if row is None else Record(self.store, row)

    async def entries(self) -> AsyncIterator[tuple[str, Node]]:
        for name, row in self.store.names.items():
            yield name, Record(self.store, row)

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        assert new.mode is not None
        if not stat.S_ISREG(new.mode):
            raise FuseError(errno.EPERM)
        row = self.store.names[name] = Row(100 + len(self.store.names), mode=new.mode)
        return Record(self.store, row)

    async def link(self, name: str, node: Node) -> None:
        assert isinstance(node, Record)
        self.store.names[name] = node.row

    async def unlink(self, name: str, node: Node) -> None:
        del self.store.names[name]

    async def rename(
        self, name: str, node: Node, to: Node, new_name: str, replaced: Node | None
    ) -> None:
        self.store.names[new_name] = self.store.names.pop(name)


@pytest.fixture
def store() -> Store:
    return Store({"a": Row(1, bytearray(b"aaa")), "b": Row(2, bytearray(b"b"))})


async def test_one_key_is_one_inode(store: Store) -> None:
    store.names["also a"] = store.names["a"]

    async with open_kernel(Tree(Folder(store))) as kernel:
        one = await kernel.lookup(1, "a")
        again = await kernel.lookup(1, "a")
        other = await kernel.lookup(1, "also a")
        different = await kernel.lookup(1, "b")

    assert one.nodeid == again.nodeid == other.nodeid
    assert different.nodeid != one.nodeid


async def test_a_newer_object_brings_newer_attributes(store: Store) -> None:
    async with open_kernel(Tree(Folder(store))) as kernel:
        one = await kernel.lookup(1, "a")
        store.names["a"].data += b"more"
        again = await kernel.lookup(1, "a")

        assert (one.attr.size, again.attr.size) == (3, 7)
        assert (await kernel.getattr(one.nodeid)).size == 7


async def test_a_listing_knows_the_same_inodes_as_a_lookup(store: Store) -> None:
    async with open_kernel(Tree(Folder(store))) as kernel:
        entry = await kernel.lookup(1, "b")
        opened = await kernel.opendir(1)
        listed = {one.name: one for one in await kernel.readdirplus(1, opened.fh)}

    assert listed["b"].ino == entry.nodeid
    found = listed["a"].entry
    assert found is not None
    assert found.attr.size == 3


async def test_without_a_key_the_name_is_the_identity() -> None:
    class Numbers(AskedDirectory):
        async def lookup(self, name: str) -> Node | None:
            return File(name) if name.isdecimal() else None

        def entries(self) -> list[tuple[str, Node]]:
            return [("1", File("1"))]

    async with open_kernel(Tree({"n": Numbers()})) as kernel:
        folder = await kernel.lookup(1, "n")
        one = await kernel.lookup(folder.nodeid, "1")
        again = await kernel.lookup(folder.nodeid, "1")
        two = await kernel.lookup(folder.nodeid, "2")

    assert one.nodeid == again.nodeid != two.nodeid


async def test_stale_attributes_are_refreshed(mock_clock: MockClock) -> None:
    sizes = iter([5, 6])

    class Growing(File):
        async def refresh(self) -> Stat:
            return Stat(size=next(sizes))

    async with open_kernel(Tree({"x": Growing("abc", valid=10)})) as kernel:
        entry = await kernel.lookup(1, "x")
        first = (await kernel.getattr(entry.nodeid)).size
        mock_clock.jump(11)
        second = (await kernel.getattr(entry.nodeid)).size
        mock_clock.jump(5)
        third = (await kernel.getattr(entry.nodeid)).size

    assert (first, second, third) == (3, 5, 5)


async def test_an_absent_name_is_cached_as_such(store: Store) -> None:
    async with open_kernel(Tree(Folder(store))) as kernel:
        entry = await kernel.lookup(1, "nobody")

    assert (entry.nodeid, entry.entry_valid) == (0, 1.0)


async def test_clients_make_write_link_rename_and_remove(store: Store) -> None:
    async with open_kernel(Tree(Folder(store))) as kernel:
        entry, opened = await kernel.create(1, "new", os.O_RDWR)
        await kernel.write(entry.nodeid, opened.fh, 0, b"hello")
        await kernel.link(entry.nodeid, 1, "linked")
        await kernel.rename(1, "new", 1, "newer")
        await kernel.unlink(1, "a")

        attr = await kernel.getattr(entry.nodeid)
        assert (attr.size, attr.nlink) == (5, 2)
        await kernel.release(entry.nodeid, opened.fh)

    assert sorted(store.names) == ["b", "linked", "newer"]
    assert store.names["newer"].data == b"hello"


async def test_an_attribute_that_changes_is_saved(store: Store) -> None:
    async with open_kernel(Tree(Folder(store))) as kernel:
        entry = await kernel.lookup(1, "a")
        attr = await kernel.setattr(entry.nodeid, mode=0o600)

    assert attr.mode == stat.S_IFREG | 0o600
    assert [changes.mode for changes in store.saved] == [stat.S_IFREG | 0o600]
    assert store.saved[0].uid is None


async def test_what_is_refused_by_the_store_is_not_kept(store: Store) -> None:
    class Refusing(Record):
        async def save(self, changes: Stat) -> None:
            raise FuseError(errno.EDQUOT)

    tree = Tree(Directory({"x": Refusing(store, Row(9))}))

    async with open_kernel(tree) as kernel:
        entry = await kernel.lookup(1, "x")
        with pytest.raises(OSError) as raised:
            await kernel.setattr(entry.nodeid, mode=0o600)
        assert raised.value.errno == errno.EDQUOT
        assert (await kernel.getattr(entry.nodeid)).mode == stat.S_IFREG | 0o644


async def test_an_open_file_is_a_context_until_it_is_released(store: Store) -> None:
    async with open_kernel(Tree(Folder(store))) as kernel:
        entry = await kernel.lookup(1, "a")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        assert store.opened == ["opened"]
        assert await kernel.read(entry.nodeid, opened.fh, 0, 10) == b"aaa"
        await kernel.release(entry.nodeid, opened.fh)
        await wait_all_tasks_blocked()

    assert store.opened == ["opened", "closed"]


async def test_a_removed_file_is_dropped_after_its_last_close(store: Store) -> None:
    tree = Tree(Folder(store))

    async with open_kernel(tree) as kernel:
        entry = await kernel.lookup(1, "a")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        await kernel.unlink(1, "a")
        await kernel.forget(entry.nodeid)
        assert await kernel.read(entry.nodeid, opened.fh, 0, 10) == b"aaa"
        assert store.dropped == []
        await kernel.release(entry.nodeid, opened.fh)
        await tree.told()

        assert store.dropped == [1]


async def test_a_move_between_stores_is_another_device(store: Store) -> None:
    tree = Tree({"store": Folder(store), "memory": Directory(writable=True)})

    async with open_kernel(tree) as kernel:
        folder = await kernel.lookup(1, "store")
        memory = await kernel.lookup(1, "memory")
        with pytest.raises(OSError) as raised:
            await kernel.rename(folder.nodeid, "a", memory.nodeid, "a")

    assert raised.value.errno == errno.EXDEV


@pytest.mark.parametrize("error", [OSError(errno.EIO, "late"), None])
async def test_a_store_is_asked_again_after_a_change_that_failed(
    error: OSError | None, store: Store
) -> None:
    class Unsure(Folder):
        async def make(self, name: str, new: Stat, target: str | None) -> Node:
            await super().make(name, new, target)  # done, but ...
            if error is not None:
                raise error
            await trio.sleep_forever()
            raise AssertionError

    tree = Tree(Unsure(store))

    async with open_kernel(tree) as kernel:
        assert not (await kernel.lookup(1, "new")).nodeid
        with trio.move_on_after(0.1):
            with pytest.raises(OSError):
                await kernel.create(1, "new", os.O_RDWR)
        await tree.told()
        await kernel.getattr(1)
        told = [kernel.notifications.receive_nowait() for _ in range(2)]

        assert (await kernel.lookup(1, "new")).nodeid

    assert {one.code for one in told} == {
        NotifyCode.INVAL_ENTRY,
        NotifyCode.INVAL_INODE,
    }
