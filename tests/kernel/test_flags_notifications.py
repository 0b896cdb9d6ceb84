"""Flags of INIT that say which notifications the kernel understands."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.kernel.recorder import Recorder, off_thread, until
from triofuse.filesystem.replies import Buffer
from triofuse.wire.notifications import encode_notify_inval_entry, encode_notify_resend
from triofuse.wire.opcodes import FUSE_UNIQUE_RESEND

pytestmark = pytest.mark.mount


async def notify(session: t.Session, message: Sequence[Buffer]) -> None:
    """Tell the kernel something, which may block: from a thread."""
    await off_thread(os.writev, session.channel.fileno(), message)


@pytest.mark.shows(
    "FUSE_HAS_EXPIRE_ONLY", "FUSE_EXPIRE_ONLY", "FUSE_NOTIFY_INVAL_ENTRY"
)
@pytest.mark.parametrize("expire_only", [False, True])
async def test_a_name_that_only_expires_is_not_forgotten(
    mountpoint: str, expire_only: bool
) -> None:
    recorder = Recorder(valid=math.inf)
    nodeid = recorder.put("file")
    path = Path(mountpoint) / "file"

    with trio.fail_after(10):
        async with t.mount(recorder, mountpoint, strict=True) as session:
            for _ in range(2):
                await off_thread(path.stat)
            assert len(recorder.asked(t.Lookup)) == 1
            message = encode_notify_inval_entry(1, "file", expire_only=expire_only)
            await notify(session, message)
            await off_thread(path.stat)
            await until(lambda: expire_only or recorder.forgotten[nodeid])

    assert t.InitFlags.HAS_EXPIRE_ONLY in recorder.offered
    assert len(recorder.asked(t.Lookup)) == 2
    assert recorder.forgotten[nodeid] == (0 if expire_only else 1)


@pytest.mark.shows("FUSE_HAS_RESEND", "FUSE_NOTIFY_RESEND", "FUSE_UNIQUE_RESEND")
async def test_a_request_comes_again_with_a_bit_in_its_number(mountpoint: str) -> None:
    recorder = Recorder(opens_with=t.OpenFlags.DIRECT_IO)
    recorder.put("file", b"text")
    recorder.gates["read"] = trio.Event()
    seen = []

    async def read() -> None:
        seen.append(await off_thread((Path(mountpoint) / "file").read_bytes))

    with trio.fail_after(10):
        async with t.mount(recorder, mountpoint, strict=True) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await until(lambda: recorder.asked(t.Read))
                await notify(session, encode_notify_resend())
                await until(lambda: len(recorder.asked(t.Read)) == 2)
                recorder.gates["read"].set()

    first, again = recorder.asked(t.Read)[:2]
    assert t.InitFlags.HAS_RESEND in recorder.offered
    assert again.unique == first.unique | FUSE_UNIQUE_RESEND
    assert seen == [b"text"]
