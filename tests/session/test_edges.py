"""Edge cases of a session: endings, interrupts, and bugs of filesystems."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import triofuse as t
from tests.session.clients import (
    failure_of,
    is_mounted,
    outcome,
    start,
    until,
)
from tests.session.probe import TEXT, Probe
from tests.session.test_answers import FILE, Failing, cancel_a_read
from triofuse.device.mount import Mount
from triofuse.testing import FakeKernel, open_kernel
from triofuse.wire.layouts import READ_IN
from triofuse.wire.opcodes import Opcode


async def test_a_wrong_return_value_costs_its_caller_only() -> None:
    class Wrong(Failing):
        async def lookup(self, request: t.Lookup) -> t.Entry:
            return FILE  # type: ignore[return-value]

    with trio.fail_after(5):
        async with open_kernel(Wrong(), strict=False) as kernel:
            with pytest.raises(OSError, match="error"):
                await kernel.lookup(1, "x")
            assert await kernel.read(2, 7, 0, 10) == b"fine"


class Listed(Failing):
    """Lists a directory with a generator that fails when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.directories = 0

    async def opendir(self, request: t.Opendir) -> t.Opened:
        self.directories += 1
        return t.Opened(9)

    async def releasedir(self, request: t.Releasedir) -> None:
        self.directories -= 1

    async def readdirplus(self, request: t.Readdirplus) -> Iterator[t.DirEntry]:
        return self.entries()

    def entries(self) -> Iterator[t.DirEntry]:
        try:
            for number in range(1000):
                self.lookups += 1
                entry = t.Entry(t.FileAttr(100 + number, stat.S_IFREG))
                yield t.DirEntry(f"{number}", 100 + number, entry=entry)
        finally:
            raise ValueError("on closing")


async def test_a_listing_that_fails_to_close_is_released_all_the_same() -> None:
    listed = Listed()

    with trio.fail_after(5):
        async with open_kernel(listed, strict=False) as kernel:
            opened = await kernel.opendir(1)
            body = READ_IN.pack(opened.fh, 0, 4096, 0, 0, 0)
            assert await kernel.request(Opcode.READDIRPLUS, 1, body, room=4096)
            await kernel.releasedir(1, opened.fh)

    assert listed.directories == 0


async def test_listings_that_overlap_lose_no_lookups() -> None:
    class Slow(Listed):
        async def readdirplus(self, request: t.Readdirplus) -> Iterator[t.DirEntry]:
            await trio.lowlevel.checkpoint()
            return iter(list(self.few()))

        def few(self) -> Iterator[t.DirEntry]:
            for number in range(30):
                self.lookups += 1
                entry = t.Entry(t.FileAttr(100 + number, stat.S_IFREG))
                yield t.DirEntry(f"{number}", 100 + number, entry=entry)

    slow = Slow()
    with trio.fail_after(5):
        async with open_kernel(slow) as kernel:
            opened = await kernel.opendir(1)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(kernel.readdirplus, 1, opened.fh)
            await kernel.releasedir(1, opened.fh)
            assert slow.lookups == sum(kernel.lookups.values())


async def test_an_interrupted_flush_is_started_all_the_same() -> None:
    class Flushing(Failing):
        flushed = 0

        async def flush(self, request: t.Flush) -> None:
            self.flushed += 1

        async def fail(self) -> bytes:
            await trio.Event().wait()
            return b""

    flushing = Flushing()
    reading, closing = trio.CancelScope(), trio.CancelScope()
    with trio.fail_after(5):
        async with open_kernel(flushing, max_handlers=1) as kernel:

            async def read() -> None:
                with reading:
                    await kernel.read(2, 7, 0, 10)

            async def flush() -> None:
                with closing:
                    await kernel.flush(2, 7)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                nursery.start_soon(flush)
                await wait_all_tasks_blocked()
                closing.cancel()
                await wait_all_tasks_blocked()
                reading.cancel()

            assert flushing.flushed == 1


async def test_a_release_that_runs_when_the_mount_ends_is_finished() -> None:
    class Uploading(Failing):
        async def release(self, request: t.Release) -> None:
            await trio.sleep(5)
            self.handles -= 1

    uploading = Uploading()
    clock = MockClock(autojump_threshold=0)

    async def main() -> None:
        async with open_kernel(uploading) as kernel:
            opened = await kernel.open(2)
            await kernel.open(2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.release, 2, opened.fh)
                await wait_all_tasks_blocked()
                kernel.unmount()

    await trio.to_thread.run_sync(lambda: trio.run(main, clock=clock))

    assert uploading.handles == 0


async def test_a_clean_up_without_end_is_cut_off_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stuck(Failing):
        async def destroy(self) -> None:
            await trio.sleep_forever()

    async def main() -> None:
        async with open_kernel(Stuck()):
            pass

    clock = MockClock(autojump_threshold=0)
    await trio.to_thread.run_sync(lambda: trio.run(main, clock=clock))

    assert "Stuck.destroy() was cut off after 10 s" in caplog.text


async def test_a_bug_in_forget_ends_a_strict_session_only() -> None:
    class Forgetful(Failing):
        def forget(self, request: t.Forget) -> None:
            raise ZeroDivisionError

    with trio.fail_after(5):
        async with open_kernel(Forgetful(), strict=False) as kernel:
            await kernel.forget(2)
            assert await kernel.read(2, 7, 0, 10) == b"fine"
        with pytest.raises(ZeroDivisionError):
            async with open_kernel(Forgetful(), strict=True) as kernel:
                await kernel.forget(2)
                await trio.sleep_forever()


async def test_an_async_forget_is_refused() -> None:
    class Async(Failing):
        async def forget(self, request: t.Forget) -> None:  # type: ignore[override]
            pass

    with trio.fail_after(5), pytest.raises(TypeError, match="must not be async"):
        async with open_kernel(Async()):
            pass


async def test_closing_the_channel_ends_the_session() -> None:
    with trio.fail_after(5):
        async with open_kernel(Failing()) as kernel:
            await kernel.read(2, 7, 0, 10)
            kernel.session.channel.close()
            await kernel.session.wait_unmounted()


async def test_finish_ends_a_session_that_has_not_begun() -> None:
    class Waiting(Failing):
        async def init(self, config: t.KernelConfig) -> None:
            session.finish(0)
            await trio.sleep_forever()

    kernel, fd = FakeKernel.pair()
    session = t.Session.from_fd(Waiting(), fd)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.run)
            await session.run()
            kernel.close()
            nursery.cancel_scope.cancel()


@pytest.mark.mount
async def test_a_nursery_in_the_block_adds_nothing_to_the_sessions_failure(
    mountpoint: str,
) -> None:
    probe = Probe()
    with trio.fail_after(10):
        with pytest.raises(ZeroDivisionError):
            async with t.mount(probe, mountpoint, strict=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(trio.sleep_forever)
                    await failure_of(f"{mountpoint}/bug")
                    await trio.sleep_forever()


@pytest.mark.parametrize("number", [0, -1])
async def test_a_session_without_handlers_is_refused(
    mountpoint: str, number: int
) -> None:
    with pytest.raises(ValueError, match="max_handlers"):
        async with t.mount(Failing(), mountpoint, max_handlers=number):
            pass


@pytest.mark.mount
async def test_a_session_ends_even_if_unmounting_fails(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Mount.unmount
    mounts = []

    async def unmount(self: Mount) -> None:
        mounts.append(self)
        raise RuntimeError("cannot start a thread")

    monkeypatch.setattr(Mount, "unmount", unmount)
    with trio.fail_after(10):
        async with t.mount(Probe(), mountpoint):
            pass
        await real(mounts[0])

    assert "cannot start a thread" in caplog.text


@pytest.mark.mount
async def test_a_stubborn_handler_holds_no_caller_beyond_the_grace(
    mountpoint: str,
) -> None:
    class Stubborn(Probe):
        async def _sleep(self) -> None:
            with trio.CancelScope(shield=True):
                await super()._sleep()

    probe = Stubborn()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            mounted = trio.Event()

            @nursery.start_soon
            async def hold() -> None:
                async with t.mount(probe, mountpoint):
                    mounted.set()
                    await probe.arrived.wait()

            await mounted.wait()
            client = await start("cat", f"{mountpoint}/slow")
            _, complaint = await outcome(client)  # while the handler still runs
            assert complaint
            assert probe.ended == []
            probe.let_go.set()

    assert probe.ended == ["woken"]
    assert not is_mounted(mountpoint)


@pytest.mark.mount
async def test_a_killed_process_is_flushed(mountpoint: str) -> None:
    class Flushing(Probe):
        async def flush(self, request: t.Flush) -> None:
            self.calls["flush"] += 1

    probe = Flushing()
    script = f"f = open('{mountpoint}/plain'); print('open', flush=True); input()"
    with trio.fail_after(30):
        async with t.mount(probe, mountpoint, strict=True):
            for count in range(1, 11):
                client = await start(sys.executable, "-c", script)
                assert client.stdout is not None
                await trio.to_thread.run_sync(client.stdout.readline)  # it has it open
                client.send_signal(signal.SIGKILL)
                await outcome(client)
                await until(lambda: not probe.handles)
                assert probe.calls["flush"] == count


@pytest.mark.mount
async def test_a_large_directory_is_listed_by_readdirplus_alone(
    mountpoint: str,
) -> None:
    names = {f"file{number:05}" for number in range(3000)}

    class Plus(Probe):
        readdir = t.Filesystem.readdir  # type: ignore[assignment]

        async def readdirplus(self, request: t.Readdirplus) -> list[t.DirEntry]:
            return [t.DirEntry(name, 2) for name in sorted(names)]

    with trio.fail_after(20):
        async with t.mount(Plus(), mountpoint, strict=True):
            listed = await trio.to_thread.run_sync(os.listdir, mountpoint)

    assert set(listed) == names


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_allow_root_lets_open_files_be_used(mountpoint: str) -> None:
    options = t.MountOptions(allow_root=True)
    script = (
        f"import os; f = os.open('{mountpoint}/plain', os.O_RDONLY);"
        "os.setuid(65534); print(os.read(f, 99).decode(), end=''); os.close(f)"
    )
    with trio.fail_after(20):
        async with t.mount(Probe(), mountpoint, options):
            client = await start(sys.executable, "-c", script)
            out, complaint = await outcome(client)

    assert (out, complaint) == (TEXT.decode(), "")


async def test_what_a_write_brought_does_not_change_when_it_is_kept() -> None:
    class Keeping(Failing):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[memoryview] = []

        async def write(self, request: t.Write) -> int:
            self.kept.append(request.data)
            return request.size

    keeping = Keeping()
    with trio.fail_after(5):
        async with open_kernel(keeping) as kernel:
            for number in range(10):
                await kernel.write(2, 7, 0, bytes([number]) * 50_000)

    assert [bytes(view) for view in keeping.kept] == [
        bytes([number]) * 50_000 for number in range(10)
    ]
    assert all(view.readonly for view in keeping.kept)


async def test_an_interrupt_of_what_is_answered_means_nothing() -> None:
    with trio.fail_after(5):
        async with open_kernel(Failing()) as kernel:
            await kernel.read(2, 7, 0, 10)
            await kernel.interrupt(4)
            assert await kernel.read(2, 7, 0, 10) == b"fine"
            await cancel_a_read(kernel)
            assert kernel.session.statistics().in_flight == 0
