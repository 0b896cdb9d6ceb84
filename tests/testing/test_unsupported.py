"""ENOSYS: operations that a FakeKernel sends once, and what it does afterwards."""

from __future__ import annotations

import errno
import os
import select
import stat

import attrs
import pytest

from tests.testing.scripted import (
    Call,
    fails,
    scripted,
)
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import OpenFlags
from triofuse.filesystem.replies import (
    Entry,
    FileAttr,
    FileLock,
    Opened,
)
from triofuse.wire.opcodes import Opcode

FILE = FileAttr(7, stat.S_IFREG | 0o644)
ENTRY = Entry(FILE)


@pytest.mark.parametrize(
    ("opcode", "call", "value"),
    [
        (Opcode.OPEN, lambda k: k.open(7), Opened(0, OpenFlags.KEEP_CACHE)),
        (
            Opcode.OPENDIR,
            lambda k: k.opendir(7),
            Opened(0, OpenFlags.KEEP_CACHE | OpenFlags.CACHE_DIR),
        ),
        (Opcode.FLUSH, lambda k: k.flush(7, 0), None),
        (Opcode.FSYNC, lambda k: k.fsync(7, 0), None),
        (Opcode.FSYNCDIR, lambda k: k.fsyncdir(7, 0), None),
        (Opcode.SYNCFS, lambda k: k.syncfs(), None),
        (Opcode.ACCESS, lambda k: k.access(7, os.R_OK), None),
        (Opcode.BMAP, lambda k: k.bmap(7, 5, 512), 0),
        (Opcode.POLL, lambda k: k.poll(7, 0, select.POLLIN), select.POLLIN),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_what_is_unsupported_is_asked_once_and_then_succeeds(
    opcode: Opcode, call: Call, value: object
) -> None:
    async with scripted() as (kernel, server):
        for _ in range(2):
            assert await call(kernel) == value

    assert server.opcodes == [opcode]


@pytest.mark.parametrize(
    ("opcode", "call", "error"),
    [
        (Opcode.LINK, lambda k: k.link(7, 1, "a"), errno.EPERM),
        (Opcode.RENAME2, lambda k: k.rename(1, "a", 1, "b", 2), errno.EINVAL),
        (Opcode.TMPFILE, lambda k: k.tmpfile(1), errno.EOPNOTSUPP),
        (Opcode.SETXATTR, lambda k: k.setxattr(7, "a", b""), errno.EOPNOTSUPP),
        (Opcode.GETXATTR, lambda k: k.getxattr(7, "a"), errno.EOPNOTSUPP),
        (Opcode.LISTXATTR, lambda k: k.listxattr(7), errno.EOPNOTSUPP),
        (Opcode.REMOVEXATTR, lambda k: k.removexattr(7, "a"), errno.EOPNOTSUPP),
        (Opcode.FALLOCATE, lambda k: k.fallocate(7, 0, 0, 1), errno.EOPNOTSUPP),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_what_is_unsupported_is_asked_once_and_then_fails(
    opcode: Opcode, call: Call, error: int
) -> None:
    async with scripted() as (kernel, server):
        for _ in range(2):
            await fails(error, call, kernel)

    assert server.opcodes == [opcode]


@pytest.mark.parametrize(
    ("opcode", "call", "error"),
    [
        (Opcode.LOOKUP, lambda k: k.lookup(1, "a"), errno.ENOSYS),
        (Opcode.READ, lambda k: k.read(7, 0), errno.ENOSYS),
        (Opcode.SETLK, lambda k: k.setlk(7, 0, FileLock()), errno.ENOSYS),
        (Opcode.IOCTL, lambda k: k.ioctl(7, 0, 0), errno.ENOTTY),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_some_are_asked_again_each_time(
    opcode: Opcode, call: Call, error: int
) -> None:
    async with scripted() as (kernel, server):
        for _ in range(2):
            await fails(error, call, kernel)

    assert server.opcodes == [opcode, opcode]


async def test_without_open_there_is_no_release() -> None:
    async with scripted() as (kernel, server):
        await kernel.open(7)
        await kernel.opendir(1)
        await kernel.release(7, 0)
        await kernel.releasedir(1, 0)

    assert server.opcodes == [Opcode.OPEN, Opcode.OPENDIR]


async def test_without_create_there_are_mknod_and_open() -> None:
    answers: dict[int, object] = {Opcode.MKNOD: ENTRY, Opcode.OPEN: Opened(5)}

    async with scripted(answers) as (kernel, server):
        for _ in range(2):
            assert await kernel.create(1, "a", os.O_RDWR) == (ENTRY, Opened(5))

    assert server.opcodes == [
        Opcode.CREATE,
        *[Opcode.MKNOD, Opcode.OPEN],
        *[Opcode.MKNOD, Opcode.OPEN],
    ]


async def test_without_statx_there_is_getattr() -> None:
    async with scripted({Opcode.GETATTR: FILE}) as (kernel, server):
        for _ in range(2):
            assert await kernel.statx(7) == FILE

    assert server.opcodes == [Opcode.STATX, Opcode.GETATTR, Opcode.GETATTR]


async def test_without_lseek_a_file_is_all_data() -> None:
    file = attrs.evolve(FILE, size=100)

    async with scripted({Opcode.GETATTR: file}) as (kernel, server):
        assert await kernel.lseek(7, 0, 5, os.SEEK_DATA) == 5
        assert await kernel.lseek(7, 0, 5, os.SEEK_HOLE) == 100
        for offset in (-1, 100):
            await fails(errno.ENXIO, kernel.lseek, 7, 0, offset, os.SEEK_DATA)

    assert server.opcodes.count(Opcode.LSEEK) == 1


async def test_without_copying_there_are_read_and_write() -> None:
    answers: dict[int, object] = {Opcode.READ: b"data", Opcode.WRITE: 4}

    async with scripted(answers) as (kernel, server):
        for _ in range(2):
            assert await kernel.copy_file_range(7, 1, 0, 8, 2, 0, 4) == 4

    assert server.opcodes == [
        Opcode.COPY_FILE_RANGE_64,
        Opcode.COPY_FILE_RANGE,
        *[Opcode.READ, Opcode.WRITE],
        *[Opcode.READ, Opcode.WRITE],
    ]


async def test_an_older_copy_is_in_32_bits() -> None:
    async with scripted({Opcode.COPY_FILE_RANGE: 4096}) as (kernel, server):
        assert await kernel.copy_file_range(7, 1, 0, 8, 2, 0, 2**40) == 4096

    request = server.requests[1]
    assert isinstance(request, r.CopyFileRange)
    assert request.len == 0xFFFFF000


@pytest.mark.parametrize(
    ("opcode", "call"),
    [
        (Opcode.STATX, lambda k: k.statx(7)),
        (Opcode.LSEEK, lambda k: k.lseek(7, 0, 0, os.SEEK_DATA)),
        (Opcode.CREATE, lambda k: k.create(1, "a")),
        (Opcode.COPY_FILE_RANGE_64, lambda k: k.copy_file_range(7, 1, 0, 8, 2, 0, 4)),
        (Opcode.IOCTL, lambda k: k.ioctl(7, 0, 0)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_another_error_is_no_reason_for_another_way(
    opcode: Opcode, call: Call
) -> None:
    async with scripted({opcode: OSError(errno.EIO, "")}) as (kernel, server):
        await fails(errno.EIO, call, kernel)

    assert server.opcodes == [opcode]
