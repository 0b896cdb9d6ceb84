"""Values that a filesystem does not give are not replaced by false ones."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import triofuse as t
from triofuse.testing import open_kernel

DIRECTORY, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
TEXT = b"not all of it is a hole\n" * 1000


class Growing(t.Filesystem):
    """Keeps one object of attributes, whose size it changes."""

    def __init__(self, **fields: Any) -> None:
        self.root = t.FileAttr(1, DIRECTORY, nlink=2)
        self.attr = t.FileAttr(2, FILE, attr_valid=0, **fields)

    async def lookup(self, request: t.Lookup) -> t.Entry:
        return t.Entry(self.attr, entry_valid=0)

    async def getattr(self, request: t.Getattr) -> t.FileAttr:
        return self.root if request.nodeid == 1 else self.attr

    async def read(self, request: t.Read) -> bytes:
        return TEXT[request.offset : request.offset + request.size]


@pytest.mark.mount
async def test_tar_keeps_what_is_in_a_file_whose_blocks_nobody_gave(
    mountpoint: str, tmp_path: Path
) -> None:
    def archived() -> bytes:
        archive = str(tmp_path / "tar")
        there = ["-C", mountpoint, "file"]
        subprocess.run(["tar", "--sparse", "-cf", archive, *there], check=True)
        done = subprocess.run(["tar", "-xOf", archive], capture_output=True, check=True)
        return done.stdout

    with trio.fail_after(20):
        async with t.mount(Growing(size=len(TEXT)), mountpoint):
            kept = await trio.to_thread.run_sync(archived)

    assert kept == TEXT


@pytest.mark.mount
@pytest.mark.parametrize(
    ("fields", "blocks"),
    [({}, [0, 1, 1, 2]), ({"blocks": 0}, [0] * 4), ({"blocks": 9}, [9] * 4)],
)
async def test_blocks_follow_the_size_unless_they_were_given(
    mountpoint: str, fields: dict[str, int], blocks: list[int]
) -> None:
    growing = Growing(**fields)
    seen = []

    with trio.fail_after(20):
        async with t.mount(growing, mountpoint):
            for growing.attr.size in (0, 1, 512, 513):
                status = await trio.to_thread.run_sync(os.stat, f"{mountpoint}/file")
                seen.append(status.st_blocks)

    assert seen == blocks


async def test_a_birth_comes_with_blocks_that_follow_the_size_too() -> None:
    class Born(Growing):
        async def statx(self, request: t.Statx) -> t.FileAttr:
            return self.attr

    async with open_kernel(Born(size=1025)) as kernel:
        assert (await kernel.statx(2)).blocks == 3


async def test_attributes_are_equal_if_they_show_the_same() -> None:
    growing = Growing(size=1025)

    async with open_kernel(growing) as kernel:
        shown = await kernel.getattr(2)

    assert shown.blocks == 3
    assert shown == growing.attr
    assert shown != attrs.evolve(growing.attr, blocks=0)
    assert shown != attrs.evolve(growing.attr, size=1024)
    assert growing.attr != "something else"


@pytest.mark.mount
async def test_the_owner_is_who_mounts_and_the_times_do_not_change(
    mountpoint: str,
) -> None:
    class Anew(Growing):
        async def getattr(self, request: t.Getattr) -> t.FileAttr:
            return t.FileAttr(request.nodeid, DIRECTORY, attr_valid=0)

    with trio.fail_after(20):
        async with t.mount(Anew(), mountpoint):
            statuses = [
                await trio.to_thread.run_sync(os.stat, mountpoint) for _ in range(2)
            ]

    assert (statuses[0].st_uid, statuses[0].st_gid) == (os.getuid(), os.getgid())
    times = [(s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns) for s in statuses]
    assert times[0] == times[1]
    age = time.time() - statuses[0].st_mtime
    assert 0 <= age < 86400  # since the program began


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_the_owner_is_who_serves_after_privileges_were_dropped() -> None:
    program = (
        "import os, trio, triofuse\n"
        "from triofuse.testing import open_kernel\n"
        "class Made(triofuse.Filesystem):\n"
        "    async def getattr(self, request):\n"
        "        return triofuse.FileAttr(request.nodeid, 0o40755)\n"
        "async def main():\n"
        "    before = triofuse.FileAttr(1, 0o40755)\n"
        "    os.setgid(7); os.setuid(8)\n"
        "    async with open_kernel(Made()) as kernel:\n"
        "        attr = await kernel.getattr(1)\n"
        "    print(before.uid, attr.uid, attr.gid)\n"
        "trio.run(main)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "0 8 7\n"
