"""Reports on a session: statistics and requests in flight."""

from __future__ import annotations

import errno
import logging
import os

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.probe import FILES, Probe
from triofuse.session.answering.statistics import OperationStatistics
from triofuse.testing import open_kernel


class Sleeper(Probe):
    async def read(self, request: t.Read) -> bytes:
        await self._fetch(request.offset)
        return b"data"

    async def _fetch(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_the_statistics_count_what_was_handled_and_what_failed() -> None:
    async with open_kernel(Probe(), measure=True) as kernel:
        await kernel.lookup(1, "plain")
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                await kernel.lookup(1, "missing")
        statistics = kernel.session.statistics()

    lookups = statistics.operations["LOOKUP"]
    assert (lookups.handled, lookups.failed) == (3, {errno.ENOENT: 2})
    assert (statistics.handled, statistics.failed) == (3, 2)
    assert statistics.bytes_received > 3 * 40
    assert statistics.bytes_sent >= 128


async def test_latencies_are_told_by_quantile(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Sleeper(), measure=True) as kernel:
        for seconds in (1, 2, 3, 4, 100):
            await kernel.read(2, 1, seconds, 10)
        reads = kernel.session.statistics().operations["READ"]

    assert reads.quantile(0.5) == pytest.approx(3)
    assert reads.quantile(0.99) == pytest.approx(100)
    assert reads.quantile(0) == pytest.approx(1)
    assert OperationStatistics(0, {}, ()).quantile(0.5) == 0


async def test_what_is_not_asked_for_is_not_measured() -> None:
    async with open_kernel(Probe()) as kernel:
        await kernel.lookup(1, "plain")
        statistics = kernel.session.statistics()

    assert statistics.operations["LOOKUP"].handled == 1
    assert statistics.operations["LOOKUP"].latencies == ()
    assert statistics.bytes_sent == 0


async def test_what_is_in_flight_is_told_with_arguments_age_and_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Sleeper(), max_handlers=1) as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.read, FILES["plain"], 1, 60, 10)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(kernel.lookup, 1, "plain")
            await trio.sleep(5)

            read, lookup = kernel.session.in_flight()

        assert read.operation == "READ"
        assert isinstance(read.request, t.Read)
        assert (read.request.offset, read.request.nodeid) == (60, FILES["plain"])
        assert read.age == pytest.approx(5)
        assert any(
            "test_insight.py" in place and "_fetch" in place for place in read.stack
        )
        assert "Read(" in str(read)
        assert isinstance(lookup.request, t.Lookup)
        assert lookup.stack == ()
        assert "waits for a handler" in str(lookup)
        assert kernel.session.in_flight() == []


async def test_interruptions_are_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_kernel(Sleeper()) as kernel:
        with trio.move_on_after(1):  # the caller gets a signal
            await kernel.read(2, 1, 60, 10)

        assert kernel.session.statistics().interrupted == 1


async def test_before_its_handshake_a_session_has_done_nothing() -> None:
    with open(os.devnull) as device:
        session = t.Session.from_fd(Probe(), os.dup(device.fileno()))

        assert session.statistics().handled == 0
        assert session.in_flight() == []
        session.channel.close()


async def test_the_trace_has_a_line_for_each_request_and_each_reply(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="triofuse.trace")

    async with open_kernel(Probe()) as kernel:
        await kernel.lookup(1, "plain")
        with pytest.raises(FileNotFoundError):
            await kernel.lookup(1, "missing")

    lines = [record.getMessage() for record in caplog.records]
    assert "-> LOOKUP nodeid=1 " in lines[0]
    assert "name='plain'" in lines[0]
    assert "<- OK, 128 bytes" in lines[1]
    assert lines[3].endswith("<- ENOENT")


async def test_tracing_can_be_switched_on_while_a_session_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_kernel(Probe()) as kernel:
        await kernel.lookup(1, "plain")
        caplog.set_level(logging.DEBUG, logger="triofuse.trace")
        for _ in range(64):  # seen at the next pause of the handler
            await kernel.lookup(1, "plain")
            await trio.testing.wait_all_tasks_blocked()

    assert any("-> LOOKUP " in record.getMessage() for record in caplog.records)
