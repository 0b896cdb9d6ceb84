"""Files with a backing file: who reads and writes, and when ids are closed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio
import trio.lowlevel

import triofuse as t
from tests.session.probe import TEXT, Probe
from triofuse.testing import open_kernel


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "triofuse")


class Backed(Probe):
    """Opens all its files with one backing file; counts requests that still come."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("r+b")

    async def init(self, config: t.KernelConfig) -> None:
        config.wanted |= t.InitFlags.PASSTHROUGH

    async def open(self, request: t.Open) -> t.Opened:
        opened = await super().open(request)
        return t.Opened(opened.fh, backing_fd=self.file.fileno())

    async def write(self, request: t.Write) -> int:
        self.calls["write"] += 1
        return request.size


@pytest.fixture
def backed(tmp_path: Path) -> Iterator[Backed]:
    path = tmp_path / "behind"
    path.write_bytes(TEXT.upper())
    filesystem = Backed(path)
    with filesystem.file:
        yield filesystem


async def test_a_device_without_passthrough_serves_files_as_ever(
    backed: Backed, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(10):
        async with open_kernel(backed) as kernel:
            entry = await kernel.lookup(1, "plain")
            opened = await kernel.open(entry.nodeid)
            assert opened == t.Opened(1)
            assert await kernel.read(entry.nodeid, opened.fh) == TEXT

    assert caplog.text.count("no passthrough") == 1


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN")


@attrs.define(eq=False)
class Ids:
    """Counts the ids of a session that are open."""

    numbers: Counter[int] = attrs.field(factory=Counter)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        register, close = t.ChannelSender.open_backing, t.BackingId.close

        def open_backing(sender: t.ChannelSender, fd: int) -> t.BackingId:
            backing = register(sender, fd)
            self.numbers[backing.number] += 1
            return backing

        def close_backing(backing: t.BackingId) -> None:
            self.numbers[backing.number] -= 1
            close(backing)

        monkeypatch.setattr(t.ChannelSender, "open_backing", open_backing)
        monkeypatch.setattr(t.BackingId, "close", close_backing)


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> Ids:
    watched = Ids()
    watched.watch(monkeypatch)
    return watched


async def call(client: Callable[[], object]) -> None:
    """Run a function that uses the mount in a thread."""
    await trio.to_thread.run_sync(client)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a RELEASE of the kernel, for which there is no event."""
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


@needs_root
@pytest.mark.mount
async def test_the_kernel_reads_and_writes_the_file_behind_by_itself(
    mountpoint: str, backed: Backed, ids: Ids, caplog: pytest.LogCaptureFixture
) -> None:
    def client() -> None:
        path = f"{mountpoint}/plain"
        with (
            open(path, "rb", buffering=0) as one,
            open(path, "r+b", buffering=0) as two,
        ):
            assert one.read() == TEXT.upper()
            two.write(b"new")
            one.seek(0)
            assert one.read() == b"new" + TEXT.upper()[3:]

    with trio.fail_after(10):
        async with t.mount(backed, mountpoint, strict=True):
            await call(client)
            await until(lambda: backed.calls["release"] == 2)
            assert list(ids.numbers.values()) == [0]

    assert backed.calls["read"] == backed.calls["write"] == 0
    assert os.pread(backed.file.fileno(), 3, 0) == b"new"
    assert caplog.text.count("the kernel reads and writes itself") == 1


@needs_root
@pytest.mark.mount
async def test_an_id_goes_when_the_caller_of_open_has_gone(
    mountpoint: str, backed: Backed, ids: Ids
) -> None:
    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["cat", f"{mountpoint}/stubborn"])

    with trio.fail_after(10):
        async with t.mount(backed, mountpoint, strict=True):
            client = await trio.to_thread.run_sync(popen)
            await backed.arrived.wait()
            client.kill()
            backed.let_go.set()
            await call(client.wait)
            await until(lambda: backed.ended == ["open"])
            await until(lambda: not backed.handles)

            assert list(ids.numbers.values()) == [0]


#: Keeps a file open until it is told to go.
HOLD = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(os.read(fd, 3), flush=True)
sys.stdin.readline()
"""


@needs_root
@pytest.mark.mount
async def test_ids_go_at_the_end_of_the_session_whatever_is_open(
    mountpoint: str, backed: Backed, ids: Ids
) -> None:
    command = [sys.executable, "-c", HOLD, f"{mountpoint}/plain"]
    pipe = subprocess.PIPE
    with trio.fail_after(10):
        async with t.mount(backed, mountpoint, strict=True):
            client = await trio.to_thread.run_sync(
                lambda: subprocess.Popen(command, stdin=pipe, stdout=pipe)
            )
            await until(lambda: list(ids.numbers.values()) == [1])
        await call(lambda: client.communicate(b"\n"))

    assert list(ids.numbers.values()) == [0]
    assert not backed.handles


class Mixed(Backed):
    """Serves files that are opened for writing itself."""

    async def open(self, request: t.Open) -> t.Opened:
        opened = await super().open(request)
        if request.flags & os.O_ACCMODE:
            return t.Opened(opened.fh, t.OpenFlags.KEEP_CACHE)
        return opened


@needs_root
@pytest.mark.mount
@pytest.mark.parametrize("order", [("rb", "r+b"), ("r+b", "rb")])
async def test_a_node_can_be_opened_with_and_without_a_file_behind_at_a_time(
    mountpoint: str, tmp_path: Path, order: tuple[str, str]
) -> None:
    path = tmp_path / "behind"
    path.write_bytes(TEXT.upper())
    mixed = Mixed(path)

    def client() -> None:
        path = f"{mountpoint}/plain"
        with open(path, order[0], 0) as one, open(path, order[1], 0) as other:
            writer = one if one.writable() else other
            writer.write(b"new")

    with trio.fail_after(10), mixed.file:
        async with t.mount(mixed, mountpoint, strict=True):
            await call(client)

    assert mixed.calls["write"] == 1
    assert path.read_bytes() == TEXT.upper()
