"""What a file can do beside being read and written, on real mounts."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import triofuse
from tests.tree.test_asked import Folder, Record, Row, Store
from triofuse import (
    Buffer,
    Directory,
    File,
    FileLock,
    FuseError,
    IoctlReply,
    LockType,
    Node,
    Stat,
    Tree,
)
from triofuse.testing import open_kernel


async def on_mount(tree: Tree, mountpoint: str, action: Callable[[str], Any]) -> Any:
    """Do something on a mount, in a thread."""
    async with triofuse.mount(tree, mountpoint, strict=True):
        return await trio.to_thread.run_sync(action, f"{mountpoint}/x")


# --- ioctl


class Echo(File):
    async def ioctl(self, command: int, data: memoryview, out_size: int) -> IoctlReply:
        return IoctlReply(7, bytes(data)[::-1][:out_size])


@pytest.mark.mount
async def test_a_node_does_a_command_of_ioctl(mountpoint: str) -> None:
    echo = 0xC004_4500  # _IOWR('E', 0, 4)

    def work(path: str) -> tuple[int, bytes]:
        data = bytearray(b"abcd")
        with open(path, "rb") as file:
            return fcntl.ioctl(file, echo, data), bytes(data)

    assert await on_mount(Tree({"x": Echo("x")}), mountpoint, work) == (7, b"dcba")


@pytest.mark.mount
async def test_a_node_without_ioctl_has_no_terminal(mountpoint: str) -> None:
    def work(path: str) -> None:
        with open(path, "rb") as file, pytest.raises(OSError) as raised:
            fcntl.ioctl(file, 0xC004_4500, bytearray(4))
        assert raised.value.errno == errno.ENOTTY

    await on_mount(Tree({"x": File("x")}), mountpoint, work)


# --- poll


class Bell(File):
    """Is ready when it was rung."""

    def __init__(self) -> None:
        super().__init__(stat=Stat(size=0))
        self.rung = False

    async def read(self, size: int, offset: int) -> bytes:
        return b""

    async def poll(self, events: int) -> int:
        return events & select.POLLIN if self.rung else 0


@pytest.mark.mount
async def test_who_polls_a_file_is_woken(mountpoint: str) -> None:
    bell = Bell()

    def work() -> tuple[list[Any], list[Any]]:
        with open(f"{mountpoint}/x", "rb", buffering=0) as file:
            poll = select.poll()
            poll.register(file, select.POLLIN)
            before = poll.poll(0)
            trio.from_thread.run_sync(ring)
            return before, poll.poll(20_000)

    def ring() -> None:
        bell.rung = True
        bell.wake_pollers()

    async with triofuse.mount(Tree({"x": bell}), mountpoint, strict=True):
        before, after = await trio.to_thread.run_sync(work)

    assert before == []
    assert [events for _, events in after] == [select.POLLIN]


async def test_a_file_without_poll_is_always_ready_beside_one_that_has_it() -> None:
    async with open_kernel(Tree({"bell": Bell(), "x": "x"})) as kernel:
        entry = await kernel.lookup(1, "x")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        assert (
            await kernel.poll(entry.nodeid, opened.fh, select.POLLIN) == select.POLLIN
        )


# --- Locks


class Locked(File):
    """Keeps one lock, of one owner."""

    def __init__(self) -> None:
        super().__init__("x", writable=True)
        self.owner: int | None = None
        self.said: list[str] = []

    async def getlk(self, lock: FileLock, owner: int) -> FileLock | None:
        taken = self.owner not in (None, owner)
        return FileLock(type=LockType.WRLCK, pid=1) if taken else None

    async def setlk(
        self, lock: FileLock, owner: int, *, wait: bool, flock: bool
    ) -> None:
        self.said.append(f"{LockType(lock.type).name}{' flock' * flock}")
        if lock.type == LockType.UNLCK:
            self.owner = None if self.owner == owner else self.owner
        elif self.owner not in (None, owner):
            raise FuseError(errno.EAGAIN)
        else:
            self.owner = owner


#: Locks a file, and has another process try the same before and after it is closed.  Not
#: in the server's process: a child that closes a file of it blocks the interpreter.
_LOCKING = """
import fcntl, subprocess, sys
other = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
with open(sys.argv[1], "r+b") as opened:
    fcntl.lockf(opened, fcntl.LOCK_EX)
    subprocess.run(other, timeout=20)
subprocess.run(other, timeout=20)
"""
_TRYING = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError as exc: print(exc.errno)
else: print("locked")
"""


@pytest.mark.mount
async def test_a_file_keeps_its_locks(mountpoint: str) -> None:
    file = Locked()

    def work(path: str) -> str:
        command = [sys.executable, "-c", _LOCKING, path, _TRYING]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout

    said = await on_mount(Tree({"x": file}), mountpoint, work)

    assert said == f"{errno.EAGAIN}\nlocked\n"
    assert file.owner is None


@pytest.mark.mount
async def test_locks_of_flock_end_with_the_last_descriptor(mountpoint: str) -> None:
    file = Locked()

    def work(path: str) -> None:
        with open(path, "r+b") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)

    await on_mount(Tree({"x": file}), mountpoint, work)

    assert "WRLCK flock" in file.said
    assert file.owner is None


async def test_a_class_with_locks_that_comes_later_is_refused() -> None:
    root = Directory({"x": "x"})

    async with open_kernel(Tree(root)):
        with pytest.raises(TypeError, match=r"Locked has a method setlk\(\).*kinds="):
            root["late"] = Locked()
        assert "late" not in root


async def test_a_class_with_locks_that_was_named_may_come_later() -> None:
    root, late = Directory({"x": "x"}), Locked()

    async with open_kernel(Tree(root, kinds=[Locked])) as kernel:
        root["late"] = late
        entry = await kernel.lookup(1, "late")
        opened = await kernel.open(entry.nodeid, os.O_RDWR)
        lock = FileLock(type=LockType.WRLCK)
        await kernel.setlk(entry.nodeid, opened.fh, lock, owner=5)

    assert late.owner == 5


# --- Space, holes and copies


@pytest.mark.mount
async def test_files_in_memory_have_holes_and_are_copied_here(mountpoint: str) -> None:
    def work(path: str) -> tuple[int, int, bytes]:
        with open(path, "w+b", buffering=0) as file, open(f"{path}2", "w+b") as other:
            os.pwrite(file.fileno(), b"end", 1 << 20)
            hole = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
            data = os.lseek(file.fileno(), 0, os.SEEK_DATA)
            os.copy_file_range(file.fileno(), other.fileno(), 3, offset_src=1 << 20)
            os.posix_fallocate(file.fileno(), 0, 1 << 21)
            assert os.fstat(file.fileno()).st_blocks == 1 << 12
            return hole, data, os.pread(other.fileno(), 10, 0)

    tree = Tree(Directory(writable=True))

    assert await on_mount(tree, mountpoint, work) == (0, 1 << 20, b"end")


@pytest.mark.mount
async def test_a_file_that_is_elsewhere_is_all_data(mountpoint: str) -> None:
    class Elsewhere(File):
        async def read(self, size: int, offset: int) -> bytes:
            return bytes(min(size, 100 - offset))

    def work(path: str) -> tuple[int, int]:
        with open(path, "rb") as file:
            fd = file.fileno()
            return os.lseek(fd, 5, os.SEEK_DATA), os.lseek(fd, 5, os.SEEK_HOLE)

    tree = Tree({"x": Elsewhere(stat=Stat(size=100))})

    assert await on_mount(tree, mountpoint, work) == (5, 100)


# --- Extended attributes and times


class Labelled(File):
    """Keeps extended attributes in a store."""

    def __init__(self) -> None:
        super().__init__("x", writable=True)
        self.labels: dict[str, bytes] = {}

    async def getxattr(self, name: str) -> Buffer | None:
        return self.labels.get(name)

    async def listxattr(self) -> Iterable[str]:
        return self.labels

    async def setxattr(self, name: str, value: bytes) -> None:
        self.labels[name] = value

    async def removexattr(self, name: str) -> None:
        del self.labels[name]


@pytest.mark.mount
async def test_a_store_keeps_extended_attributes(mountpoint: str) -> None:
    file = Labelled()

    def work(path: str) -> None:
        os.setxattr(path, "user.a", b"1")
        os.setxattr(path, "user.b", b"2", os.XATTR_CREATE)
        with pytest.raises(FileExistsError):
            os.setxattr(path, "user.b", b"3", os.XATTR_CREATE)
        assert os.getxattr(path, "user.a") == b"1"
        assert sorted(os.listxattr(path)) == ["user.a", "user.b"]
        os.removexattr(path, "user.a")
        with pytest.raises(OSError):
            os.removexattr(path, "user.a")

    await on_mount(Tree({"x": file}), mountpoint, work)

    assert file.labels == {"user.b": b"2"}


@pytest.mark.mount
async def test_birth_is_shown_by_statx(mountpoint: str) -> None:
    tree = Tree({"x": File("x", stat=Stat(btime_ns=86400 * 10**9))})

    def work(path: str) -> str:
        command = ["stat", "--format=%W", path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return done.stdout

    assert await on_mount(tree, mountpoint, work) == "86400\n"


# --- Stores


async def test_a_store_is_told_what_a_write_changes() -> None:
    store = Store({"a": Row(1)})

    async with open_kernel(Tree(Folder(store))) as kernel:
        entry = await kernel.lookup(1, "a")
        opened = await kernel.open(entry.nodeid, os.O_WRONLY)
        await kernel.write(entry.nodeid, opened.fh, 0, b"hello")

    assert [changes.size for changes in store.saved] == [5]
    assert store.saved[0].mtime_ns is not None


class ByName(Folder):
    """A store that finds data by name."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.set_aside = True


async def test_what_is_removed_while_open_is_set_aside() -> None:
    store = Store({"a": Row(1, bytearray(b"aaa")), "b": Row(2)})

    async with open_kernel(Tree(ByName(store))) as kernel:
        entry = await kernel.lookup(1, "a")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        await kernel.unlink(1, "a")
        hidden = sorted(store.names)
        assert await kernel.read(entry.nodeid, opened.fh, 0, 9) == b"aaa"
        assert not (await kernel.lookup(1, "a")).nodeid
        await kernel.release(entry.nodeid, opened.fh)
        left = sorted(store.names)

    assert hidden[0].startswith(".triofuse-")
    assert (len(hidden), left) == (2, ["b"])


async def test_what_is_replaced_while_open_is_set_aside() -> None:
    store = Store({"a": Row(1, bytearray(b"aaa")), "b": Row(2, bytearray(b"b"))})

    async with open_kernel(Tree(ByName(store))) as kernel:
        entry = await kernel.lookup(1, "a")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        await kernel.rename(1, "b", 1, "a")
        assert await kernel.read(entry.nodeid, opened.fh, 0, 9) == b"aaa"
        assert len(store.names) == 2
        await kernel.release(entry.nodeid, opened.fh)

    assert store.names["a"].data == b"b"
    assert len(store.names) == 1


# --- Open files


async def test_an_open_file_whose_context_fails_answers_with_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = trio.Event()

    class Connected(Record):
        @asynccontextmanager
        async def open(self, flags: int) -> AsyncIterator[None]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.lose)
                yield

        async def lose(self) -> None:
            await failing.wait()
            raise ConnectionError("the line is dead")

    tree = Tree({"x": Connected(Store(), Row(1, bytearray(b"abc")))})

    async with open_kernel(tree) as kernel:
        entry = await kernel.lookup(1, "x")
        opened = await kernel.open(entry.nodeid, os.O_RDONLY)
        assert await kernel.read(entry.nodeid, opened.fh, 0, 9) == b"abc"
        failing.set()
        await wait_all_tasks_blocked()
        with pytest.raises(OSError) as raised:
            await kernel.read(entry.nodeid, opened.fh, 0, 9)
        await kernel.release(entry.nodeid, opened.fh)

    assert raised.value.errno == errno.EIO
    assert "the line is dead" in caplog.text


async def test_a_failure_before_the_yield_is_the_error_of_open() -> None:
    class Refusing(Record):
        @asynccontextmanager
        async def open(self, flags: int) -> AsyncIterator[None]:
            if self.row.id:
                raise FuseError(errno.EHOSTDOWN)
            yield

    async with open_kernel(Tree({"x": Refusing(Store(), Row(1))})) as kernel:
        entry = await kernel.lookup(1, "x")
        with pytest.raises(OSError) as raised:
            await kernel.open(entry.nodeid, os.O_RDONLY)

    assert raised.value.errno == errno.EHOSTDOWN


# --- Mount options


@pytest.mark.mount
@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (Tree({}), {"default_permissions", "rw"}),
        (Tree(Directory(writable=True), read_only=True), {"default_permissions", "ro"}),
    ],
)
async def test_a_tree_chooses_its_mount_options(
    tree: Tree, expected: set[str], mountpoint: str
) -> None:
    def options() -> set[str]:
        with open("/proc/self/mounts") as table:
            lines = [line.split() for line in table if f" {mountpoint} " in line]
        return set(lines[-1][3].split(","))

    async with triofuse.mount(tree, mountpoint, strict=True):
        assert await trio.to_thread.run_sync(options) >= expected


def test_a_node_is_known_to_type_checkers() -> None:
    node: Node = Directory().setdefault("x", File("x"))

    assert node.name == "x"
