"""Flags of INIT about a session's life: its end, its timeout, what comes again."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.kernel.recorder import Recorder, off_thread, until
from triofuse.device.mount import mount_filesystem
from triofuse.session.startup.negotiation import receive_offer

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs fusectl"),
]


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[Path]:
    """Where the connections of all FUSE mounts are: one directory each."""
    place = tmp_path / "fusectl"
    place.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_session_tells_what_was_offered_wanted_and_granted(
    mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="triofuse")
    recorder = Recorder(t.InitFlags.DONT_MASK)

    with trio.fail_after(10):
        async with t.mount(recorder, mountpoint, strict=True) as session:
            agreement = session.agreement

    assert isinstance(agreement, t.Agreement)
    assert agreement.offered == recorder.offered
    assert agreement.flags & t.InitFlags.DONT_MASK
    assert agreement.implied & t.InitFlags.DO_READDIRPLUS
    assert not agreement.refused
    assert caplog.messages.count(str(agreement)) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (t.MountOptions(), "refuses the mount without default_permissions"),
        (
            t.MountOptions(allow_root=True, default_permissions=True),
            "allow_root tells users apart",
        ),
    ],
)
async def test_an_idmap_that_cannot_be_is_refused_in_words(
    mountpoint: str, options: t.MountOptions, reason: str
) -> None:
    recorder = Recorder(t.InitFlags.ALLOW_IDMAP)

    with trio.fail_after(10), pytest.raises(t.CapabilityError, match=reason):
        async with t.mount(recorder, mountpoint, options, strict=True):
            raise AssertionError


async def test_what_is_only_preferred_leaves_a_mount_that_works(
    mountpoint: str,
) -> None:
    class Preferring(Recorder):
        async def init(self, config: t.KernelConfig) -> None:
            config.wanted |= t.InitFlags.ALLOW_IDMAP

    with trio.fail_after(10):
        async with t.mount(Preferring(), mountpoint, strict=True) as session:
            assert await off_thread(os.listdir, mountpoint) == []

    assert session.agreement is not None
    assert list(session.agreement.refused) == [t.InitFlags.ALLOW_IDMAP]


@pytest.mark.shows("FUSE_ABORT_ERROR")
@pytest.mark.parametrize(
    ("declines", "error"),
    [(t.InitFlags(0), errno.ECONNABORTED), (t.InitFlags.ABORT_ERROR, errno.ENODEV)],
)
async def test_with_abort_error_the_device_says_that_it_was_aborted(
    mountpoint: str, connections: Path, declines: t.InitFlags, error: int
) -> None:
    recorder = Recorder(declines=declines)

    with trio.fail_after(10):
        async with t.mount(recorder, mountpoint, strict=True) as session:
            device = os.dup(session.channel.fileno())
            try:
                number = (await off_thread(os.stat, mountpoint)).st_dev
                abort = connections / str(number) / "abort"
                await off_thread(abort.write_text, "1")
                await session.wait_unmounted()
                with pytest.raises(OSError, match="Errno") as caught:
                    os.read(device, 1 << 21)
            finally:
                os.close(device)

    assert caught.value.errno == error


async def read(failed: list[int | None], path: Path) -> None:
    """Read a file; note with which errno that failed, whatever close(2) says."""
    try:
        fd = await off_thread(os.open, path, os.O_RDONLY)
    except OSError as exc:
        failed.append(exc.errno)
        return
    try:
        await off_thread(os.read, fd, 10)
    except OSError as exc:
        failed.append(exc.errno)
    with suppress(OSError):
        await off_thread(os.close, fd)


async def test_an_abort_lets_every_caller_go(
    mountpoint: str, connections: Path
) -> None:
    recorder = Recorder(opens_with=t.OpenFlags.DIRECT_IO)
    recorder.gates["read"] = trio.Event()
    recorder.put("text", b"text")
    failed: list[int | None] = []

    with trio.fail_after(10):
        async with t.mount(recorder, mountpoint) as session, trio.open_nursery() as n:
            number = (await off_thread(os.stat, mountpoint)).st_dev
            n.start_soon(read, failed, Path(mountpoint) / "text")
            await until(lambda: recorder.peak["read"])
            await off_thread((connections / str(number) / "abort").write_text, "1")
            await session.wait_unmounted()

    assert failed == [errno.ECONNABORTED]


@pytest.mark.shows("FUSE_REQUEST_TIMEOUT", "FUSE_INIT")
async def test_a_request_without_an_answer_ends_the_connection_in_time(
    mountpoint: str,
) -> None:
    """The kernel looks every 15 seconds, and that is the shortest timeout too.

    A session answers before that, so there is none here: only a handshake.
    """
    failed: list[int | None] = []

    with trio.fail_after(50):
        mounted = await mount_filesystem(mountpoint, t.MountOptions())
        channel = t.Channel(mounted.device)
        offer = await receive_offer(
            channel, Recorder(), default_permissions=False, allow_root=False
        )
        offer.config.request_timeout = 15
        agreement = await offer.accept()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, failed, Path(mountpoint))
                with pytest.raises(trio.EndOfChannel):
                    while True:
                        await channel.receive_retrying(bytearray(2 << 20))
        finally:
            channel.close()
            with trio.CancelScope(shield=True):
                await mounted.unmount()

    assert failed == [errno.ECONNABORTED]
    assert agreement.request_timeout == 15
    assert t.InitFlags.REQUEST_TIMEOUT in agreement.flags
