"""Notifications that block in the kernel, or fail, block no other request."""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

import triofuse
from tests.session.caching import FILE, Caching
from tests.session.clients import outcome, start, until
from tests.session.world import mounted

pytestmark = pytest.mark.mount


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
    before = len(os.listdir("/proc/self/task"))  # trio keeps those of other tests
    async with mounted(mountpoint) as world:
        client = await start("stat", f"{mountpoint}/slow")
        await world.filesystem.arrived.wait()
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(world.notifier.inval_entry, 1, f"file{number}")
            await until(lambda: world.session.notifier.waiting == 32)
            assert len(os.listdir("/proc/self/task")) < before + 60
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

    await until(lambda: world.session.notifier.waiting == 0)
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


@pytest.mark.parametrize("where", ["inside", "outside"])
async def test_a_notification_waits_until_a_thread_can_be_started(
    mountpoint: str,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_sync, refused = trio.to_thread.run_sync, [0, 0]

    async def run_or_refuse(function: Any, *args: object, **kwargs: Any) -> object:
        if getattr(function, "__name__", "") == "send" and refused:
            refused.pop()
            raise RuntimeError("can't start new thread")
        return await run_sync(function, *args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_or_refuse)
    async with mounted(mountpoint, where) as world:
        await world.stat()
        await world.tell(lambda: world.notifier.inval_entry(1, "file"))
        await until(lambda: world.filesystem.calls["forget"] == 1)

    assert refused == []
    assert "can't start new thread" in caplog.text


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


class Crossing(triofuse.Filesystem):
    """Tells another mount of each name that is looked up, once both are asked."""

    def __init__(self) -> None:
        self.other = self
        self.asked = trio.Event()

    async def getattr(self, request: triofuse.Getattr) -> triofuse.FileAttr:
        return triofuse.FileAttr(1, stat.S_IFDIR | 0o755, 2)

    async def readdir(self, request: triofuse.Readdir) -> list[triofuse.DirEntry]:
        return []

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        self.asked.set()
        await self.other.asked.wait()
        await self.other.notifier.inval_entry(1, request.name)
        return triofuse.Entry(triofuse.FileAttr(2, stat.S_IFREG | 0o644))


async def test_two_mounts_whose_handlers_notify_each_other_do_not_deadlock(
    mountpoint: str, tmp_path: Path
) -> None:
    # Each LOOKUP holds the directory that the other one's notification wants.
    here, there = Crossing(), Crossing()
    here.other, there.other = there, here
    second = tmp_path / "second"
    second.mkdir()

    with trio.fail_after(30):
        async with (
            triofuse.mount(here, mountpoint),
            triofuse.mount(there, str(second)),
        ):
            clients = [
                await start("stat", f"{place}/name") for place in (mountpoint, second)
            ]
            for client in clients:
                _, complaints = await outcome(client)
                assert complaints == ""
