"""INIT between a FakeKernel and its server."""

from __future__ import annotations

import errno
import os

import attrs
import pytest
import trio

from tests.testing.scripted import (
    DEFAULTS,
    Body,
    fails,
    init_out,
    scripted,
)
from triofuse.filesystem.flags import InitFlags
from triofuse.testing import LINUX_6_18, FakeKernel, Offer
from triofuse.wire import layouts
from triofuse.wire.opcodes import Opcode


async def test_what_is_offered_and_wanted_is_granted() -> None:
    offered = LINUX_6_18 & ~InitFlags.PASSTHROUGH
    wanted = DEFAULTS | InitFlags.PASSTHROUGH | InitFlags.SECURITY_CTX

    async with scripted(offer=Offer(flags=offered), flags=wanted) as (kernel, server):
        negotiated = kernel.negotiated

    assert negotiated.granted == DEFAULTS | InitFlags.SECURITY_CTX
    assert server.inits == [
        layouts.INIT_IN.pack(7, 45, 131072, offered & 0xFFFFFFFF, offered >> 32)
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (init_out(max_write=1), {"max_write": 4096}),
        (init_out(max_pages=0), {"max_read": 4096, "max_write": 4096}),
        (init_out(max_pages=3), {"max_read": 12288, "max_write": 12288}),
        (init_out(flags=0), {"max_read": 131072, "max_write": 131072}),
        (init_out(minor=99), {"minor": 45}),
        (init_out(max_readahead=1 << 30), {"max_readahead": 131072}),
        (init_out(flags=0, flags2=1), {"granted": 0}),
        (Body(init_out().content[:8]), {"minor": 45, "max_write": 4096}),
        (init_out(time_gran=1000, request_timeout=9), {"time_gran": 1000}),
    ],
)
async def test_the_kernel_has_its_own_idea_of_an_answer(
    answer: Body, expected: dict[str, int]
) -> None:
    async with scripted(init=answer) as (kernel, _server):
        negotiated = attrs.asdict(kernel.negotiated)

    assert {name: negotiated[name] for name in expected} == expected


@pytest.mark.parametrize(
    "answer",
    [
        OSError(errno.EIO, ""),
        Body(),
        init_out(major=6),
        init_out(major=8),
        Body(init_out().content + b"x"),
    ],
)
async def test_a_bad_answer_to_init_is_the_end(answer: object) -> None:
    async with scripted(init=answer) as (kernel, server):
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await kernel.lookup(1, "a")
        with pytest.raises(ConnectionRefusedError):
            await kernel.request(Opcode.STATFS)

    assert server.requests == []


async def test_a_newer_kernel_asks_again_in_our_version() -> None:
    async with scripted(offer=Offer(major=8, minor=3)) as (kernel, server):
        assert kernel.negotiated.minor == 45

    versions = [layouts.INIT_IN.unpack(body)[:2] for body in server.inits]
    assert versions == [(8, 3), (7, 45)]


async def test_nothing_is_asked_before_init_is_answered() -> None:
    kernel, fd = FakeKernel.pair()
    try:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.run)
                nursery.start_soon(fails, errno.ENOTCONN, kernel.statfs)
                await trio.testing.wait_all_tasks_blocked()
                assert [asked.opcode for asked in kernel.pending.values()] == [
                    Opcode.INIT
                ]
                os.close(fd)
    finally:
        kernel.close()
