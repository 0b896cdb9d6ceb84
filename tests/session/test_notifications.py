"""Each notification has its effect on a client; a real kernel."""

from __future__ import annotations

import ctypes
import os
import select
import signal

import pytest
import trio
import trio.lowlevel

import triofuse
from tests.session.caching import FILE, Caching
from tests.session.clients import outcome, start, until
from tests.session.world import mounted

pytestmark = pytest.mark.mount

IN_DELETE_SELF = 0x400

both = pytest.mark.parametrize("where", ["inside", "outside"])


@both
@pytest.mark.shows("FUSE_NOTIFY_INVAL_INODE")
async def test_inval_inode_drops_cached_data(mountpoint: str, where: str) -> None:
    async with mounted(mountpoint, where) as world:
        await world.read()
        world.filesystem.content = b"new"
        assert await world.read() == b"old"

        await world.tell(lambda: world.notifier.inval_inode(FILE))

        async def is_new() -> bool:
            return await world.read() == b"new"

        await world.eventually(is_new)


@both
async def test_inval_inode_before_the_start_drops_attributes_only(
    mountpoint: str, where: str
) -> None:
    async with mounted(mountpoint, where) as world:
        await world.read()
        world.filesystem.content = b"new"
        world.filesystem.mode = 0o640

        await world.tell(lambda: world.notifier.inval_inode(FILE, -1))

        assert (await world.stat()).st_mode & 0o777 == 0o640
        assert await world.read() == b"old"


@both
@pytest.mark.shows("FUSE_NOTIFY_INVAL_ENTRY")
async def test_inval_entry_makes_the_kernel_ask_for_the_name(
    mountpoint: str, where: str
) -> None:
    async with mounted(mountpoint, where) as world:
        await world.stat()
        await world.stat()
        assert world.filesystem.calls["lookup file"] == 1

        await world.tell(lambda: world.notifier.inval_entry(1, "file"))

        await until(lambda: world.filesystem.calls["forget"] == 1)
        await world.stat()
        assert world.filesystem.calls["lookup file"] == 2


@both
async def test_expire_entry_makes_the_kernel_ask_but_not_forget(
    mountpoint: str, where: str
) -> None:
    async with mounted(mountpoint, where) as world:
        await world.stat()

        await world.tell(lambda: world.notifier.expire_entry(1, "file"))

        async def is_asked() -> bool:
            await world.stat()
            return world.filesystem.calls["lookup file"] == 2

        await world.eventually(is_asked)
        assert world.filesystem.calls["forget"] == 0


@both
@pytest.mark.shows("FUSE_NOTIFY_DELETE")
async def test_delete_is_seen_by_who_watches_the_file(
    mountpoint: str, where: str
) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def watch() -> int:
        fd: int = libc.inotify_init1(os.O_CLOEXEC)
        path = os.fsencode(f"{mountpoint}/file")
        assert libc.inotify_add_watch(fd, path, IN_DELETE_SELF) >= 0
        return fd

    async with mounted(mountpoint, where) as world:
        fd = await trio.to_thread.run_sync(watch)
        try:
            await world.tell(lambda: world.notifier.delete(1, FILE, "file"))
            await trio.lowlevel.wait_readable(fd)
            event = os.read(fd, 4096)
        finally:
            os.close(fd)

    assert int.from_bytes(event[4:8], "little") & IN_DELETE_SELF


@both
@pytest.mark.shows("FUSE_NOTIFY_STORE")
async def test_store_changes_what_is_cached(mountpoint: str, where: str) -> None:
    async with mounted(mountpoint, where) as world:
        await world.read()

        await world.tell(lambda: world.notifier.store(FILE, 1, bytearray(b"XY")))

        async def is_stored() -> bool:
            return await world.read() == b"oXY"

        await world.eventually(is_stored)
        assert world.filesystem.calls["read"] == 1


@both
@pytest.mark.shows("FUSE_NOTIFY_RETRIEVE", "FUSE_NOTIFY_REPLY")
async def test_retrieve_returns_what_is_cached(mountpoint: str, where: str) -> None:
    retrieved: list[bytes] = []

    async with mounted(mountpoint, where) as world:
        world.filesystem.content = os.urandom(3_000_001)

        async def retrieve() -> None:
            retrieved.append(await world.notifier.retrieve(FILE, 1, 1 << 40))

        await world.tell(retrieve)
        await world.read()
        await world.tell(retrieve)
        await world.tell(lambda: world.notifier.inval_inode(FILE, 4096, 4096))

    assert retrieved == [b"", world.filesystem.content[1:]]


@both
@pytest.mark.shows("FUSE_NOTIFY_INC_EPOCH")
async def test_inc_epoch_makes_every_name_stale(mountpoint: str, where: str) -> None:
    async with mounted(mountpoint, where) as world:
        await world.stat()

        await world.tell(lambda: world.notifier.inc_epoch())

        await world.stat()
        assert world.filesystem.calls["lookup file"] == 2


@both
@pytest.mark.shows("FUSE_NOTIFY_PRUNE")
async def test_prune_makes_the_kernel_forget(mountpoint: str, where: str) -> None:
    async with mounted(mountpoint, where) as world:
        await world.stat()

        await world.tell(lambda: world.notifier.prune([FILE, 99]))

        await until(lambda: world.filesystem.calls["forget"] == 1)
        await world.notifier.prune([])


async def test_what_the_kernel_does_not_hold_is_nothing_to_drop(
    mountpoint: str,
) -> None:
    async with mounted(mountpoint) as world:
        await world.notifier.inval_inode(99)
        await world.notifier.inval_entry(1, "absent")
        await world.notifier.expire_entry(99, "file")
        await world.notifier.delete(1, 99, "file")
        await world.notifier.store(99, 0, b"data")
        await world.notifier.poll(99)


@both
@pytest.mark.shows("FUSE_NOTIFY_RESEND")
async def test_a_request_that_is_sent_again_is_served_and_answered_once(
    mountpoint: str, where: str
) -> None:
    async with mounted(mountpoint, where) as world:
        world.filesystem.slow = True
        client = await start("cat", f"{mountpoint}/file")
        await world.filesystem.arrived.wait()

        await world.tell(lambda: world.notifier.resend())
        await world.tell(lambda: world.notifier.resend())
        world.filesystem.let_go.set()
        out, _ = await outcome(client)

        assert out == "old"
        assert world.filesystem.calls["read"] == 1
        lookups = world.filesystem.calls["lookup trigger"]
        assert lookups == (2 if where == "inside" else 0)
        await until(lambda: world.session.statistics().in_flight == 0)


async def test_a_request_that_is_sent_again_can_be_interrupted(
    mountpoint: str,
) -> None:
    async with mounted(mountpoint) as world:
        client = await start("stat", f"{mountpoint}/slow")
        await world.filesystem.arrived.wait()

        await world.notifier.resend()
        client.send_signal(signal.SIGINT)
        await outcome(client)

        assert client.returncode == -signal.SIGINT
        assert world.filesystem.cancelled


@pytest.mark.shows("FUSE_NOTIFY_POLL")
async def test_poll_wakes_who_waits(mountpoint: str) -> None:
    class Polled(Caching):
        def __init__(self) -> None:
            super().__init__()
            self.kh = 0
            self.events = 0

        async def poll(self, request: triofuse.Poll) -> int:
            if request.flags & triofuse.PollFlags.SCHEDULE_NOTIFY:
                self.kh = request.kh
            return self.events

    def wait() -> list[tuple[int, int]]:
        with open(f"{mountpoint}/file", "rb") as file:
            waiting = select.poll()
            waiting.register(file, select.POLLIN)
            return waiting.poll(20_000)

    polled = Polled()
    ready: list[tuple[int, int]] = []

    async def client() -> None:
        ready.extend(await trio.to_thread.run_sync(wait))

    with trio.fail_after(20):
        async with triofuse.mount(polled, mountpoint, strict=True) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client)
                await until(lambda: polled.kh != 0)
                polled.events = select.POLLIN
                await session.notifier.poll(polled.kh)

    assert [events for _, events in ready] == [select.POLLIN]
