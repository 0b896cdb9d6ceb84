"""Whatever a handler does, its caller gets an answer; other callers are unaffected."""

from __future__ import annotations

import errno
import logging
import stat

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import triofuse as t
from triofuse.testing import FakeKernel, open_kernel

FILE = t.FileAttr(2, stat.S_IFREG | 0o644, size=10)


class Failing(t.Filesystem):
    """Fails to read in the way that the test sets; counts opens and lookups."""

    def __init__(self) -> None:
        self.lookups = 0
        self.handles = 0
        self.entry = t.Entry(FILE)

    async def lookup(self, request: t.Lookup) -> t.Entry:
        self.lookups += 1
        return self.entry

    def forget(self, request: t.Forget) -> None:
        self.lookups -= request.nlookup

    async def open(self, request: t.Open) -> t.Opened:
        self.handles += 1
        return t.Opened(7)

    async def release(self, request: t.Release) -> None:
        self.handles -= 1

    async def read(self, request: t.Read) -> bytes:
        return await self.fail()

    async def fail(self) -> bytes:
        return b"fine"


async def errno_of_read(filesystem: Failing, *, strict: bool = False) -> int | None:
    with trio.fail_after(5):
        async with open_kernel(filesystem, strict=strict) as kernel:
            try:
                await kernel.read(2, 7, 0, 100)
            except OSError as exc:
                return exc.errno
            return None


class Raising(Failing):
    def __init__(self, exc: BaseException) -> None:
        super().__init__()
        self.exc = exc

    async def fail(self) -> bytes:
        raise self.exc


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (t.FuseError(errno.ENOENT), errno.ENOENT),
        (FileNotFoundError(errno.ENOENT, "gone"), errno.ENOENT),
        (PermissionError(errno.EACCES, "no"), errno.EACCES),
        (t.FuseError(errno.ENOSYS), errno.ENOSYS),
        (OSError(errno.ENOSYS, "from below"), errno.EOPNOTSUPP),
        (OSError("no errno"), errno.EIO),
        (OSError(-2, "negative"), errno.EIO),
        (OSError(100_000, "large"), errno.EIO),
        (ExceptionGroup("a nursery", [t.FuseError(errno.EBUSY)]), errno.EBUSY),
    ],
)
async def test_an_oserror_becomes_its_errno(exc: BaseException, expected: int) -> None:
    assert await errno_of_read(Raising(exc), strict=True) == expected


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("a bug"),
        StopIteration("generators do that"),
        ExceptionGroup("two", [t.FuseError(errno.EBUSY), ValueError("a bug")]),
    ],
)
async def test_a_bug_becomes_eio_and_a_traceback_in_the_log(
    exc: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    assert await errno_of_read(Raising(exc)) == errno.EIO

    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "Raising.read failed" in record.getMessage()
    assert "size=100" in record.getMessage()
    assert record.exc_info is not None


async def test_a_bug_ends_a_strict_session() -> None:
    filesystem = Raising(ValueError("a bug"))

    with pytest.raises(ValueError, match="a bug"), trio.fail_after(5):
        async with open_kernel(filesystem, strict=True) as kernel:
            with pytest.raises(OSError, match="error"):
                await kernel.read(2, 7, 0, 100)
            await trio.sleep_forever()


@pytest.mark.parametrize("reply", [b"x" * 101, None, 3, "text"])
async def test_a_reply_that_cannot_be_sent_becomes_eio(reply: object) -> None:
    class Wrong(Failing):
        async def fail(self) -> bytes:
            return reply  # type: ignore[return-value]

    assert await errno_of_read(Wrong()) == errno.EIO


async def test_an_entry_that_cannot_be_sent_is_forgotten() -> None:
    filesystem = Failing()
    filesystem.entry = t.Entry(t.FileAttr(2, mode=-1))

    with trio.fail_after(5):
        async with open_kernel(filesystem, strict=False) as kernel:
            with pytest.raises(OSError, match="error"):
                await kernel.lookup(1, "x")

            assert filesystem.lookups == 0


async def cancel_a_read(kernel: FakeKernel) -> None:
    with trio.CancelScope() as caller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.read, 2, 7, 0, 100)
            await wait_all_tasks_blocked()
            caller.cancel()


async def test_a_cancelled_handler_may_have_had_a_nursery() -> None:
    class Nested(Failing):
        async def fail(self) -> bytes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
            return b""

    with trio.fail_after(5):
        async with open_kernel(Nested()) as kernel:
            await cancel_a_read(kernel)
            assert (await kernel.lookup(1, "x")).nodeid == 2


async def test_what_fails_while_a_handler_is_cancelled_ends_nothing() -> None:
    class Clumsy(Failing):
        async def fail(self) -> bytes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(self.stumble)
            return b""

        async def stumble(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("on the way out")

    with trio.fail_after(5):
        async with open_kernel(Clumsy(), strict=False) as kernel:
            await cancel_a_read(kernel)
            assert (await kernel.lookup(1, "x")).nodeid == 2


async def test_a_handler_that_ignores_its_cancellation_answers_as_it_likes() -> None:
    class Stubborn(Failing):
        async def fail(self) -> bytes:
            with trio.CancelScope(shield=True):
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
            return b"done"

    with trio.fail_after(5):
        async with open_kernel(Stubborn(), strict=True) as kernel:
            await cancel_a_read(kernel)
            assert await kernel.read(2, 7, 0, 100) == b"done"


async def test_a_queued_request_that_is_interrupted_is_never_started() -> None:
    class Counting(Failing):
        started = 0

        async def fail(self) -> bytes:
            self.started += 1
            await trio.Event().wait()
            return b""

    filesystem = Counting()
    with trio.fail_after(5):
        async with open_kernel(filesystem, max_handlers=1) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.read, 2, 7, 0, 100)
                await wait_all_tasks_blocked()
                await cancel_a_read(kernel)

                assert filesystem.started == 1
                nursery.cancel_scope.cancel()


async def test_handles_that_are_open_at_the_end_are_released() -> None:
    filesystem = Failing()

    with trio.fail_after(5):
        async with open_kernel(filesystem) as kernel:
            await kernel.open(2, 0)
            await kernel.open(2, 0)
            assert filesystem.handles == 2

    assert filesystem.handles == 0
