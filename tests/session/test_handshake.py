"""INIT, the first exchange on a mount, and its log lines."""

from __future__ import annotations

import logging
import os
import stat

import pytest
import trio

import triofuse as t
from memfs import MemFS
from tests.session.test_answers import Failing
from triofuse.testing import FakeKernel, Offer, open_kernel


async def serve(filesystem: t.Filesystem, offer: Offer | None = None) -> None:
    """Run a session with a kernel until it has begun, and end it."""
    kernel, fd = FakeKernel.pair(offer)
    session = t.Session.from_fd(filesystem, fd, strict=True)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.run)
            await nursery.start(session.run)
            await kernel.wait_ready()
            kernel.unmount()
            await session.wait_unmounted()
    finally:
        kernel.close()


async def test_a_kernel_of_a_newer_major_asks_again_in_ours() -> None:
    with trio.fail_after(5):
        await serve(Failing(), Offer(major=8, minor=3))


async def test_a_kernel_of_an_older_major_is_refused() -> None:
    with trio.fail_after(5), pytest.raises(ExceptionGroup) as caught:
        await serve(Failing(), Offer(major=6, minor=9))

    assert caught.group_contains(t.HandshakeError, match="speaks FUSE 6.9")


async def test_an_unmount_before_the_first_request_is_said() -> None:
    kernel, fd = FakeKernel.pair()
    kernel.close()

    with trio.fail_after(5), pytest.raises(t.HandshakeError, match="first request"):
        await t.Session.from_fd(Failing(), fd).run()


async def test_an_unmount_while_the_filesystem_gets_ready_is_said() -> None:
    kernel, fd = FakeKernel.pair()
    done = []

    class Slow(Failing):
        async def init(self, config: t.KernelConfig) -> None:
            kernel.close()

        async def destroy(self) -> None:
            done.append("destroy")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.run)
            with pytest.raises(t.HandshakeError, match="before the filesystem was"):
                await t.Session.from_fd(Slow(), fd).run()
            nursery.cancel_scope.cancel()

    assert done == ["destroy"]


async def test_the_log_tells_what_was_granted_and_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="triofuse")

    with trio.fail_after(5):
        async with open_kernel(Failing()) as kernel:
            await kernel.read(2, 7, 0, 10)
            with pytest.raises(OSError, match="not implemented"):
                await kernel.readlink(2)

    assert "protocol 7.45" in caplog.text
    assert "ASYNC_READ" in caplog.text
    assert "4 -> READ nodeid=2" in caplog.text
    assert "4 <- OK, 4 bytes" in caplog.text
    assert "6 <- ENOSYS" in caplog.text


async def test_a_bug_in_destroy_is_logged_or_in_strict_mode_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Failing):
        async def destroy(self) -> None:
            raise ZeroDivisionError

    with trio.fail_after(5):
        async with open_kernel(Broken(), strict=False):
            pass
        assert "Broken.destroy() failed" in caplog.text
        with pytest.raises(ZeroDivisionError):
            async with open_kernel(Broken(), strict=True):
                pass


async def test_a_nameless_file_is_released_at_the_end() -> None:
    memfs = MemFS()

    with trio.fail_after(5):
        async with open_kernel(memfs) as kernel:
            entry, opened = await kernel.tmpfile(1, os.O_RDWR)
            await kernel.write(entry.nodeid, opened.fh, 0, b"x" * 10_000)
            attr = await kernel.getattr(entry.nodeid)
            assert stat.S_ISREG(attr.mode)
            assert attr.nlink == 0
            used = (await kernel.statfs()).bfree

    async with open_kernel(memfs) as kernel:
        assert (await kernel.statfs()).bfree > used
