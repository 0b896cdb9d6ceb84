"""What only a filesystem on a block device is asked, on a mount of type fuseblk.

MountOptions has no such type: the test mounts a loop device itself, and hands the
descriptor of /dev/fuse over as ``/dev/fd/N``.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.kernel import operations_syscalls as syscalls
from tests.kernel.operations_client import Client
from tests.kernel.operations_probe import FILE, ROOT, Probe
from triofuse.device.libc import MNT_DETACH, mount, umount2

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts devices"),
]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A block device of a mebibyte."""
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    if shutil.which("losetup") is None:
        pytest.skip("there is no losetup")
    command = ["losetup", "--find", "--show", str(image)]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no loop device: {found.stderr}")
    device = found.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def mounted_by_hand(source: str, mountpoint: str, fstype: str) -> t.DevFuse:
    """Mount with nobody to answer yet; return the device."""
    device = t.DevFuse.open()
    data = f"fd={device.fd},rootmode=40000,user_id=0,group_id=0"
    if fstype == "fuseblk":
        data += ",blksize=4096"
    try:
        mount(source, mountpoint, fstype, 0, data)
    except OSError as exc:
        device.close()
        pytest.skip(f"cannot mount {fstype}: {exc}")
    return device


@asynccontextmanager
async def served(probe: Probe, device: str, mountpoint: str) -> AsyncIterator[Client]:
    """Mount a device, give it a client, and unmount it in the end."""
    dev_fuse = mounted_by_hand(device, mountpoint, "fuseblk")
    with trio.fail_after(20):
        try:
            async with (
                Client() as client,
                t.mount(probe, f"/dev/fd/{dev_fuse.fd}", strict=True) as session,
            ):
                yield client
                await trio.to_thread.run_sync(client.finish)
                await trio.to_thread.run_sync(umount2, mountpoint, 0)
                await session.wait_unmounted()
        except BaseException:
            umount2(mountpoint, MNT_DETACH)
            raise


@pytest.mark.shows("FUSE_SYNCFS")
async def test_syncfs_asks_the_filesystem_to_write_everything(
    mountpoint: str, loop: str
) -> None:
    probe = Probe(syncfs=None)
    async with served(probe, loop, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        await client.call(syscalls.syncfs, fd)
        request = probe.all(t.Syncfs)[0]

    assert request.nodeid == ROOT
    assert request.pid == client.pid


@pytest.mark.shows("FUSE_SYNCFS")
async def test_the_errno_of_syncfs_gets_back(mountpoint: str, loop: str) -> None:
    probe = Probe(syncfs=OSError(errno.EDQUOT, ""))
    async with served(probe, loop, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        assert await client.errno_of(syscalls.syncfs, fd) == errno.EDQUOT


async def test_a_plain_mount_is_not_asked_by_syncfs(mountpoint: str) -> None:
    probe = Probe(syncfs=OSError(errno.EDQUOT, ""))
    with trio.fail_after(20):
        async with Client() as client, t.mount(probe, mountpoint, strict=True):
            fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
            await client.call(syscalls.syncfs, fd)
            await trio.to_thread.run_sync(client.finish)

    assert not probe.all(t.Syncfs)


@pytest.mark.shows("FUSE_BMAP")
async def test_bmap_tells_where_a_block_is_on_the_device(
    mountpoint: str, loop: str
) -> None:
    probe = Probe(bmap=lambda request: request.block + 100)
    async with served(probe, loop, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        assert await client.call(syscalls.fibmap, fd, 7) == 107

    request = probe.only(t.Bmap)
    assert (request.nodeid, request.block, request.blocksize) == (FILE, 7, 4096)


@pytest.mark.shows("FUSE_BMAP")
async def test_a_block_that_is_not_found_is_block_0(mountpoint: str, loop: str) -> None:
    """``fuse_bmap()`` in fs/fuse/file.c turns any error into "not there"."""
    probe = Probe(bmap=OSError(errno.EDQUOT, ""))
    async with served(probe, loop, mountpoint) as client:
        fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
        assert await client.call(syscalls.fibmap, fd, 7) == 0


async def test_a_plain_mount_has_no_bmap(mountpoint: str) -> None:
    probe = Probe(bmap=1)
    with trio.fail_after(20):
        async with Client() as client, t.mount(probe, mountpoint, strict=True):
            fd = await client.call(os.open, f"{mountpoint}/file", os.O_RDONLY)
            seen = await client.call(syscalls.fibmap, fd, 7)
            await trio.to_thread.run_sync(client.finish)

    assert seen == 0
    assert not probe.all(t.Bmap)


_HEADER, _ANSWER = struct.Struct("=IIQ"), struct.Struct("=IiQ")
_INIT, _DESTROY = 26, 38
#: fuse_init_out as of 7.22: major, minor, readahead, flags, two figures, max_write.
_INIT_OUT = struct.pack("=4IHHI", 7, 22, 0, 0, 0, 0, 4096)


async def _request(channel: t.Channel) -> tuple[int, int]:
    """Return opcode and unique of the next request."""
    buffer = bytearray(1 << 16)
    while True:
        try:
            channel.receive(buffer)
        except BlockingIOError:
            await channel.wait_readable()
            continue
        _, opcode, unique = _HEADER.unpack_from(buffer)
        return opcode, unique


async def _answer(channel: t.Channel, unique: int, body: bytes = b"") -> None:
    header = _ANSWER.pack(_ANSWER.size + len(body), 0, unique)
    await channel.sender().send((header, body) if body else (header,))


@asynccontextmanager
async def unmounting(device: t.DevFuse, mountpoint: str) -> AsyncIterator[t.Channel]:
    """Answer INIT, and have the filesystem unmounted meanwhile."""
    channel = t.Channel(device)
    with trio.fail_after(20):
        try:
            opcode, unique = await _request(channel)
            assert opcode == _INIT
            await _answer(channel, unique, _INIT_OUT)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, umount2, mountpoint, 0)
                yield channel
        finally:
            channel.close()


@pytest.mark.shows("FUSE_DESTROY")
async def test_a_block_device_is_let_go_when_destroy_is_answered(
    mountpoint: str, loop: str
) -> None:
    device = mounted_by_hand(loop, mountpoint, "fuseblk")
    async with unmounting(device, mountpoint) as channel:
        opcode, unique = await _request(channel)
        assert opcode == _DESTROY
        await _answer(channel, unique)
        with pytest.raises(trio.EndOfChannel):
            await _request(channel)


async def test_a_plain_mount_ends_without_a_destroy(mountpoint: str) -> None:
    device = mounted_by_hand("plain", mountpoint, "fuse")
    async with unmounting(device, mountpoint) as channel:
        with pytest.raises(trio.EndOfChannel):
            await _request(channel)


@pytest.mark.shows("FUSE_DESTROY")
async def test_destroy_runs_once_where_the_kernel_sends_it_too(
    mountpoint: str, loop: str
) -> None:
    probe = Probe()
    async with served(probe, loop, mountpoint) as client:
        await client.call(os.stat, f"{mountpoint}/file")

    assert probe.destroyed == 1
