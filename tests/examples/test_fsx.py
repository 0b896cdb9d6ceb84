"""Random operations on the writable examples, whichever way the kernel caches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

import triofuse
from memfs import MemFS
from passthrough import Passthrough
from triofuse import Entry, InitFlags, Opened, OpenFlags

pytestmark = pytest.mark.mount

ROOT = Path(__file__).parents[2]

#: Of each filesystem in each mode.  For 200,000 take the program, and some minutes.
OPERATIONS = 1000

Make = Callable[[Path], triofuse.Filesystem]


class Direct(triofuse.Filesystem):
    """Past the kernel's page cache, and so without shared mappings."""

    async def open(self, request: triofuse.Open) -> Opened:
        return _uncached(await super().open(request))

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        entry, opened = await super().create(request)
        return entry, _uncached(opened)


def _uncached(opened: Opened) -> Opened:
    return attrs.evolve(opened, flags=OpenFlags.DIRECT_IO)


class DirectMapped(Direct):
    """Past the page cache, but for mappings."""

    async def init(self, config: triofuse.KernelConfig) -> None:
        await super().init(config)
        config.want(InitFlags.DIRECT_IO_ALLOW_MMAP)


class Writeback(triofuse.Filesystem):
    """Written to when the kernel sees fit; it then knows size and times best."""

    async def init(self, config: triofuse.KernelConfig) -> None:
        await super().init(config)
        config.want(InitFlags.WRITEBACK_CACHE)

    async def open(self, request: triofuse.Open) -> Opened:
        return await super().open(attrs.evolve(request, flags=_readable(request.flags)))

    async def create(self, request: triofuse.Create) -> tuple[Entry, Opened]:
        readable = attrs.evolve(request, flags=_readable(request.flags))
        return await super().create(readable)


def _readable(flags: int) -> int:
    """Return open(2)'s flags for a file of which the kernel reads what it fills up."""
    writes_only = flags & os.O_ACCMODE == os.O_WRONLY
    return flags & ~os.O_ACCMODE | os.O_RDWR if writes_only else flags


class DirectMemFS(Direct, MemFS):
    pass


class DirectMappedMemFS(DirectMapped, MemFS):
    pass


class WritebackMemFS(Writeback, MemFS):
    pass


class DirectPassthrough(Direct, Passthrough):
    pass


class DirectMappedPassthrough(DirectMapped, Passthrough):
    pass


class WritebackPassthrough(Writeback, Passthrough):
    pass


class Forgetful(MemFS):
    """One that leaves the last byte of a hole as it was."""

    async def fallocate(self, request: triofuse.Fallocate) -> None:
        hole = request.mode & triofuse.FallocateMode.PUNCH_HOLE
        shorter = attrs.evolve(request, length=request.length - 1)
        await super().fallocate(shorter if hole else request)


MODES: dict[str, Make] = {
    "memfs": lambda _: MemFS(),
    "memfs-direct": lambda _: DirectMemFS(),
    "memfs-direct-mapped": lambda _: DirectMappedMemFS(),
    "memfs-writeback": lambda _: WritebackMemFS(),
    "passthrough": partial(Passthrough, backed=False),
    "passthrough-backed": Passthrough,
    "passthrough-direct": partial(DirectPassthrough, backed=False),
    "passthrough-direct-mapped": partial(DirectMappedPassthrough, backed=False),
    "passthrough-writeback": partial(WritebackPassthrough, backed=False),
}


async def exercise(
    filesystem: triofuse.Filesystem, mountpoint: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run fsx.py on a filesystem."""
    module = [sys.executable, "-m", "tests.examples.fsx", f"{mountpoint}/file"]
    command = [*module, "--operations", str(OPERATIONS), *options]
    run = partial(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    async with triofuse.mount(filesystem, mountpoint, strict=True):
        return await trio.to_thread.run_sync(run)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("mode", MODES)
async def test_a_file_is_what_random_operations_made_of_it(
    mode: str, seed: int, mountpoint: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    options = ["--seed", str(seed), *(["--no-mmap"] if mode.endswith("direct") else [])]

    done = await exercise(MODES[mode](source), mountpoint, *options)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"seed {seed}: {OPERATIONS} operations\n"


async def test_a_byte_that_a_hole_leaves_is_found(mountpoint: str) -> None:
    done = await exercise(Forgetful(), mountpoint)

    assert done.returncode == 1
    assert "bytes differ" in done.stderr
    assert "punch_hole" in done.stderr
