"""Features of the device beyond requests and replies, on the real kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.session.probe import TEXT, Probe

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN"),
]


class Backed(Probe):
    """Opens its files with a backing file."""

    sender: t.ChannelSender

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("rb")
        self.backing: t.BackingId | None = None

    async def init(self, config: t.KernelConfig) -> None:
        if t.InitFlags.PASSTHROUGH not in config.offered:
            pytest.skip("this kernel has no passthrough")
        config.want(t.InitFlags.PASSTHROUGH)

    async def open(self, request: t.Open) -> t.Opened:
        if self.backing is None:
            self.backing = self.sender.open_backing(self.file.fileno())
        self.handles.add(1)
        return t.Opened(1, t.OpenFlags.PASSTHROUGH, self.backing.number)


async def test_the_kernel_reads_a_backed_file_by_itself(
    mountpoint: str, tmp_path: Path
) -> None:
    behind = tmp_path / "behind"
    behind.write_bytes(TEXT.upper())
    backed = Backed(behind)

    with trio.fail_after(10), backed.file:
        async with t.mount(backed, mountpoint, strict=True) as session:
            backed.sender = session.channel.sender()
            read = Path(mountpoint, "plain").read_bytes
            assert await trio.to_thread.run_sync(read) == TEXT.upper()
            assert backed.backing is not None
            number = backed.backing.number
            backed.backing.close()
            with pytest.raises(t.DeviceError, match=f"close backing id {number}"):
                backed.sender.wrap_backing(number).close()

    assert backed.calls["read"] == 0


async def test_a_clone_reads_from_the_same_connection(mountpoint: str) -> None:
    with trio.fail_after(10):
        async with t.mount(Probe(), mountpoint, strict=True) as session:
            clone = session.channel.clone_fd()
            with pytest.raises(BlockingIOError):  # mounted, and nothing to read
                clone.receive(bytearray(2 << 20))
            clone.close()
