"""Each notification has its effect on a client, and freezes nobody; a real kernel."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
import trio.lowlevel

import triofuse
from tests.session.caching import FILE, Caching
from tests.session.test_mount import outcome, start, until

pytestmark = pytest.mark.mount

IN_DELETE_SELF = 0x400

Call = Callable[[], Awaitable[object]]


@attrs.frozen
class World:
    """A mount, and how its filesystem tells the kernel something."""

    filesystem: Caching
    session: triofuse.Session
    root: Path
    tell: Callable[[Call], Awaitable[None]]

    @property
    def notifier(self) -> triofuse.Notifier:
        return self.filesystem.notifier

    async def read(self) -> bytes:
        return await trio.to_thread.run_sync((self.root / "file").read_bytes)

    async def stat(self, name: str = "file") -> os.stat_result:
        return await trio.to_thread.run_sync(os.stat, self.root / name)

    async def eventually(self, condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def mounted(
    mountpoint: str, where: str = "outside", *, strict: bool = True
) -> AsyncIterator[World]:
    filesystem = Caching()

    async def inside(call: Call) -> None:
        filesystem.action = call
        with suppress(FileNotFoundError):
            await trio.to_thread.run_sync(os.stat, f"{mountpoint}/trigger")

    async def outside(call: Call) -> None:
        await call()

    with trio.fail_after(20):
        async with triofuse.mount(filesystem, mountpoint, strict=strict) as session:
            tell = inside if where == "inside" else outside
            yield World(filesystem, session, Path(mountpoint), tell)


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


async def test_the_loop_runs_while_a_notification_waits_in_the_kernel(
    mountpoint: str,
) -> None:
    told: list[str] = []

    async with mounted(mountpoint) as world:
        await world.stat()

        async def tell() -> None:
            await world.notifier.inval_entry(1, "file")
            told.append("inval_entry")

        client = await start("stat", f"{mountpoint}/slow")
        await world.filesystem.arrived.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            await until(lambda: world.session.notifier.waiting == 1)
            assert (await world.stat()).st_size == 3  # others are served
            assert not told
            world.filesystem.let_go.set()
        await outcome(client)

    assert told == ["inval_entry"]


async def test_a_notification_that_waits_can_be_abandoned(mountpoint: str) -> None:
    async with mounted(mountpoint) as world:
        client = await start("stat", f"{mountpoint}/slow")
        await world.filesystem.arrived.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.notifier.inval_entry, 1, "file")
            await until(lambda: world.session.notifier.waiting == 1)
            nursery.cancel_scope.cancel()
        world.filesystem.let_go.set()
        await outcome(client)
        await until(lambda: world.session.notifier.waiting == 0)


async def test_a_thousand_notifications_take_a_few_threads(mountpoint: str) -> None:
    async with mounted(mountpoint) as world:
        client = await start("stat", f"{mountpoint}/slow")
        await world.filesystem.arrived.wait()
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(world.notifier.inval_entry, 1, f"file{number}")
            await until(lambda: world.session.notifier.waiting == 32)
            assert len(os.listdir("/proc/self/task")) < 60
            await world.notifier.inval_inode(FILE, -1)  # waits for none of these
            assert await world.notifier.retrieve(FILE, 0, 1) == b""
            world.filesystem.let_go.set()
        await outcome(client)


async def test_the_mount_ends_while_notifications_wait_in_the_kernel(
    mountpoint: str,
) -> None:
    async with mounted(mountpoint) as world:
        clients = [await start("stat", f"{mountpoint}/slow") for _ in range(2)]
        await world.filesystem.arrived.wait()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(world.notifier.inval_entry, 1, "file")
            await until(lambda: world.session.notifier.waiting == 3)
            nursery.cancel_scope.cancel()
    said = [await outcome(client) for client in clients]

    assert world.session.notifier.waiting == 0
    assert all(complaint for _, complaint in said)


async def test_a_handler_that_shields_itself_does_not_keep_notifications_waiting(
    mountpoint: str,
) -> None:
    class Stubborn(Caching):
        async def _hold(self) -> None:
            with trio.CancelScope(shield=True):
                self.arrived.set()
                await self.let_go.wait()

    stubborn = Stubborn()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            serving = trio.CancelScope()

            async def serve(
                task_status: trio.TaskStatus[triofuse.Session],
            ) -> None:
                with serving:
                    await triofuse.serve(stubborn, mountpoint, task_status=task_status)

            session = await nursery.start(serve)
            client = await start("stat", f"{mountpoint}/slow")
            await stubborn.arrived.wait()
            nursery.start_soon(_told_in_vain, session)
            await until(lambda: session.notifier.waiting == 1)
            serving.cancel()
            await outcome(client)
            await until(lambda: session.notifier.waiting == 0)
            stubborn.let_go.set()


async def _told_in_vain(session: triofuse.Session) -> None:
    with suppress(trio.EndOfChannel, trio.ClosedResourceError):
        await session.notifier.inval_entry(1, "file")


async def test_an_error_of_the_kernel_is_raised(mountpoint: str) -> None:
    async with mounted(mountpoint) as world:
        with pytest.raises(OSError, match="too long") as caught:
            await world.notifier.inval_entry(1, "n" * 5000)

    assert caught.value.errno == errno.ENAMETOOLONG


async def test_an_error_of_what_was_deferred_is_logged(
    mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with mounted(mountpoint, "inside") as world:
        await world.tell(lambda: world.notifier.inval_entry(1, "n" * 5000))
        await until(lambda: bool(caplog.records))

    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "inval_entry(1, 'nnn" in record.getMessage()
    assert "too long" in record.getMessage()


async def test_after_the_end_nothing_can_be_told(mountpoint: str) -> None:
    async with mounted(mountpoint) as world:
        await world.read()
        await trio.run_process(["umount", mountpoint])
        await world.session.wait_unmounted()

        for call in (
            lambda: world.notifier.inval_inode(FILE),
            lambda: world.notifier.retrieve(FILE, 0, 1),
            lambda: world.notifier.inc_epoch(),
        ):
            with pytest.raises(trio.EndOfChannel, match="unmounted"):
                await call()
