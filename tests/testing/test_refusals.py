"""Replies that a FakeKernel refuses."""

from __future__ import annotations

import errno
import stat

import pytest
import trio

from tests.testing.scripted import (
    SILENCE,
    Body,
    Call,
    fails,
    reply,
    scripted,
    until,
)
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import IoctlFlags
from triofuse.filesystem.replies import (
    DirEntry,
    Entry,
    FileAttr,
    FileLock,
)
from triofuse.wire import layouts
from triofuse.wire.layouts import Layout
from triofuse.wire.opcodes import Opcode

FILE = FileAttr(7, stat.S_IFREG | 0o644)
ENTRY = Entry(FILE)


def body_of(layout: Layout, **fields: int) -> bytes:
    return layout.pack(
        *(fields.get(name.replace(".", "_"), 0) for name in layout.fields)
    )


def entry_body(**fields: int) -> bytes:
    return body_of(
        layouts.ENTRY_OUT, **{"nodeid": 7, "attr_mode": stat.S_IFREG, **fields}
    )


def dirent(name: bytes, *, off: int = 1, padded: bool = True) -> bytes:
    record = layouts.DIRENT.pack(7, off, len(name), 8) + name
    return record + bytes(-len(record) % 8) if padded else record


# --- Replies that cannot be

REFUSED: list[tuple[Call, Opcode, bytes, int]] = [
    # Of the wrong size: the write of the server fails as well.
    (lambda k: k.lookup(1, "a"), Opcode.LOOKUP, b"", errno.EINVAL),
    (lambda k: k.lookup(1, "a"), Opcode.LOOKUP, entry_body() + b"x", errno.EINVAL),
    (lambda k: k.lookup(1, "a"), Opcode.LOOKUP, entry_body()[:120], errno.EINVAL),
    (lambda k: k.unlink(1, "a"), Opcode.UNLINK, b"x", errno.EINVAL),
    (lambda k: k.read(7, 0, 0, 4), Opcode.READ, b"12345", errno.EINVAL),
    (lambda k: k.readdir(size=24), Opcode.READDIR, dirent(b"a"), errno.EINVAL),
    (lambda k: k.getxattr(7, "a", 4), Opcode.GETXATTR, b"12345", errno.EINVAL),
    (lambda k: k.getxattr_size(7, "a"), Opcode.GETXATTR, b"1234", errno.EINVAL),
    (lambda k: k.listxattr(7, 1), Opcode.LISTXATTR, b"a\0", errno.EINVAL),
    (lambda k: k.readlink(7), Opcode.READLINK, b"x" * 4096, errno.EINVAL),
    (lambda k: k.ioctl(7, 0, 0), Opcode.IOCTL, bytes(17), errno.EINVAL),
    (lambda k: k.ioctl(7, 0, 0), Opcode.IOCTL, bytes(15), errno.EINVAL),
    # What cannot be: only the caller gets an error.
    (lambda k: k.lookup(1, "a"), Opcode.LOOKUP, entry_body(nodeid=1), 0),
    (lambda k: k.lookup(1, "a"), Opcode.LOOKUP, entry_body(attr_mode=0o644), 0),
    (lambda k: k.lookup(1, "a"), Opcode.LOOKUP, entry_body(attr_size=2**63), 0),
    (lambda k: k.mkdir(1, "a"), Opcode.MKDIR, entry_body(), 0),
    (lambda k: k.mkdir(1, "a"), Opcode.MKDIR, entry_body(nodeid=0), 0),
    (lambda k: k.symlink(1, "a", "b"), Opcode.SYMLINK, entry_body(), 0),
    (lambda k: k.mknod(1, "a", stat.S_IFIFO), Opcode.MKNOD, entry_body(), 0),
    (
        lambda k: k.create(1, "a"),
        Opcode.CREATE,
        entry_body(attr_mode=stat.S_IFDIR) + bytes(16),
        0,
    ),
    (lambda k: k.getattr(7), Opcode.GETATTR, bytes(104), 0),
    (lambda k: k.statx(7), Opcode.STATX, bytes(288), 0),
    (lambda k: k.readlink(7), Opcode.READLINK, b"a\0b", 0),
    (lambda k: k.write(7, 0, 0, b"1234"), Opcode.WRITE, bytes([5]) + bytes(7), 0),
    (lambda k: k.listxattr(7, 9), Opcode.LISTXATTR, b"user.x", 0),
    (lambda k: k.readdir(), Opcode.READDIR, dirent(b"a/b"), 0),
    (lambda k: k.readdir(), Opcode.READDIR, dirent(b""), 0),
    (lambda k: k.readdir(), Opcode.READDIR, dirent(b"x" * 4096), 0),
    (
        lambda k: k.getlk(7, 0, FileLock()),
        Opcode.GETLK,
        body_of(layouts.LK_OUT, lk_type=3),
        0,
    ),
    (
        lambda k: k.getlk(7, 0, FileLock()),
        Opcode.GETLK,
        body_of(layouts.LK_OUT, lk_start=5),
        0,
    ),
    (
        lambda k: k.ioctl(7, 0, 0),
        Opcode.IOCTL,
        body_of(layouts.IOCTL_OUT, flags=IoctlFlags.RETRY),
        0,
    ),
]


@pytest.mark.parametrize(
    ("call", "opcode", "body", "error"),
    REFUSED,
    ids=[f"{number}-{row[1].name}" for number, row in enumerate(REFUSED)],
)
async def test_a_reply_that_cannot_be_is_eio_to_the_caller(
    call: Call, opcode: Opcode, body: bytes, error: int
) -> None:
    async with scripted({opcode: Body(body)}) as (kernel, _server):
        with pytest.raises(
            OSError, match=f"reply to {opcode.name} is refused"
        ) as failure:
            await call(kernel)

        assert failure.value.errno == errno.EIO
        assert [refusal.errno for refusal in kernel.refusals] == [error]
        assert kernel.refusals[0].message[16:] == body
        assert kernel.lookups == {}
        assert kernel.pending == {}


async def test_a_body_beside_an_error_is_eio_to_the_caller() -> None:
    async with scripted({Opcode.UNLINK: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, errno.EIO, kernel.unlink, 1, "a")
            await until(lambda: bool(server.requests))
            await server.send(reply(4, b"x", error=-errno.ENOENT))

    assert [refusal.errno for refusal in kernel.refusals] == [errno.EINVAL]


@pytest.mark.parametrize(
    "message",
    [
        reply(4)[:15],
        layouts.OUT_HEADER.pack(17, 0, 4),
        layouts.OUT_HEADER.pack(15, 0, 4),
        reply(4, error=1),
        reply(4, error=-512),
        reply(4, error=-(2**31)),
    ],
)
async def test_a_message_that_is_no_reply_leaves_the_request_pending(
    message: bytes,
) -> None:
    async with scripted({Opcode.UNLINK: SILENCE}) as (kernel, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.unlink, 1, "a")
            await until(lambda: bool(server.requests))
            await server.send(message)
            await until(lambda: bool(kernel.refusals))
            assert list(kernel.pending) == [4]
            await server.send(reply(4))

    assert [refusal.errno for refusal in kernel.refusals] == [errno.EINVAL]


@pytest.mark.parametrize("unique", [4, 5, 6, 2, 2**63])
async def test_a_reply_to_no_request_in_flight_is_enoent(unique: int) -> None:
    async with scripted({Opcode.UNLINK: None}) as (kernel, server):
        await kernel.unlink(1, "a")
        await server.send(reply(unique))
        await until(lambda: bool(kernel.refusals))

    (refusal,) = kernel.refusals
    assert refusal.errno == errno.ENOENT
    assert refusal.reason == f"no request in flight is {unique}"


async def test_a_record_that_is_not_complete_is_ignored() -> None:
    pages = [
        dirent(b"a", off=5) + dirent(b"b", off=6, padded=False),
        dirent(b"b", off=6) + b"\0" * 23,
        b"",
    ]

    def page(request: r.Readdir) -> Body:
        return Body(pages[[0, 5, 6].index(request.offset)])

    async with scripted({Opcode.READDIR: page}) as (kernel, _server):
        listed = await kernel.readdir()

    assert listed == [
        DirEntry("a", 7, stat.S_IFREG, 5),
        DirEntry("b", 7, stat.S_IFREG, 6),
    ]
