"""Each system call of a FakeKernel: the request that it sends, the value it returns."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from tests.testing.calls import CALLS, ENTRY, FH, OPENED, WHO, by, entry_of
from tests.testing.scripted import Body, Call, fails, scripted
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import (
    IoctlFlags,
    RenameFlags,
    WriteFlags,
)
from triofuse.filesystem.replies import (
    DirEntry,
    Entry,
    FileAttr,
    Statfs,
)
from triofuse.testing import Notification, Offer
from triofuse.wire.control import BatchForget, Destroy, NotifyReply
from triofuse.wire.opcodes import NotifyCode, Opcode
from triofuse.wire.operations import OPERATIONS

#: Made of several requests, see below.
LISTINGS = {Opcode.READDIR, Opcode.READDIRPLUS}
INSTEAD = {Opcode.COPY_FILE_RANGE}


def test_there_is_a_call_for_every_operation() -> None:
    assert CALLS.keys() | LISTINGS | INSTEAD == OPERATIONS.keys()


@pytest.mark.parametrize("opcode", CALLS, ids=lambda opcode: opcode.name)
async def test_a_call_sends_its_request_and_returns_the_answer(opcode: Opcode) -> None:
    call, request, value = CALLS[opcode]

    async with scripted({opcode: value}) as (kernel, server):
        assert await call(kernel) == value

    assert server.requests == [request]
    assert server.opcodes == [opcode]
    assert kernel.refusals == []
    assert kernel.pending == {}


@pytest.mark.parametrize("opcode", CALLS, ids=lambda opcode: opcode.name)
async def test_an_error_is_raised_as_the_builtin_exception(opcode: Opcode) -> None:
    call, _, _ = CALLS[opcode]
    refused = OSError(errno.EACCES, "")

    async with scripted({opcode: refused}) as (kernel, _server):
        if opcode in (Opcode.RELEASE, Opcode.RELEASEDIR, Opcode.POLL, Opcode.BMAP):
            await call(kernel)  # these ignore errors
            return
        with pytest.raises(PermissionError) as failure:
            await call(kernel)

    assert failure.value.strerror == "Permission denied"


# --- Lookups


async def test_what_is_looked_up_is_counted_until_it_is_forgotten() -> None:
    directory = entry_of(stat.S_IFDIR)
    directory.nodeid = 8
    answers: dict[int, object] = {
        Opcode.LOOKUP: ENTRY,
        Opcode.LINK: ENTRY,
        Opcode.MKDIR: directory,
        Opcode.CREATE: (ENTRY, OPENED),
    }

    async with scripted(answers) as (kernel, server):
        await kernel.lookup(1, "a")
        await kernel.link(7, 1, "b")
        await kernel.create(1, "c")
        await kernel.mkdir(1, "d")
        assert kernel.lookups == {7: 3, 8: 1}

        await kernel.forget(7)
        await kernel.batch_forget([(7, 2), (8, 1)])
        assert not +kernel.lookups

    forgets = server.requests[4:]
    assert forgets == [
        r.Forget(12, 7, 0, 0, 0, 1),
        BatchForget(14, 0, 0, 0, 0, ((7, 2), (8, 1))),
    ]


async def test_a_negative_entry_is_no_lookup() -> None:
    async with scripted({Opcode.LOOKUP: Entry.negative(2)}) as (kernel, _server):
        assert await kernel.lookup(1, "a") == Entry.negative(2)
        assert kernel.lookups == {}


async def test_everything_can_be_forgotten_at_once() -> None:
    async with scripted() as (kernel, server):
        kernel.lookups.update(dict.fromkeys(range(2, 1002), 1))
        await kernel.forget_all()
        assert kernel.lookups == {}

    batches = [
        batch.items for batch in server.requests if isinstance(batch, BatchForget)
    ]
    assert [len(batch) for batch in batches] == [500, 500]
    assert {pair for batch in batches for pair in batch} == {
        (nodeid, 1) for nodeid in range(2, 1002)
    }


# --- Calls of several requests


async def test_a_read_larger_than_a_request_is_several() -> None:
    content = os.urandom(600_000)

    def read(request: r.Read) -> bytes:
        return content[request.offset : request.offset + request.size]

    async with scripted({Opcode.READ: read}) as (kernel, server):
        assert await kernel.read(7, FH, 10, 1 << 20) == content[10:]

    sizes = [asked.size for asked in server.requests if isinstance(asked, r.Read)]
    assert kernel.negotiated.max_read == 1 << 18
    assert sizes == [1 << 18] * 3


async def test_a_read_of_nothing_asks_nothing() -> None:
    async with scripted() as (kernel, server):
        assert await kernel.read(7, FH, 0, 0) == b""
        assert await kernel.write(7, FH, 0, b"") == 0

    assert server.requests == []


async def test_a_write_larger_than_a_request_is_several() -> None:
    content = os.urandom(300_000)
    file = bytearray(len(content))

    def write(request: r.Write) -> int:
        file[request.offset : request.offset + request.size] = request.data
        return request.size

    async with scripted({Opcode.WRITE: write}) as (kernel, _server):
        assert await kernel.write(7, FH, 0, content) == len(content)

    assert file == content


async def test_a_short_write_ends_the_call() -> None:
    async with scripted({Opcode.WRITE: 5}) as (kernel, server):
        assert await kernel.write(7, FH, 0, bytes(1 << 20)) == 5

    assert len(server.requests) == 1


async def test_writeback_has_no_caller() -> None:
    async with scripted({Opcode.WRITE: 4}) as (kernel, server):
        await kernel.write(7, FH, 0, b"data", write_flags=WriteFlags.CACHE, **WHO)

    (request,) = server.requests
    assert (request.uid, request.gid, request.pid) == (0, 0, 0)


async def test_an_attribute_is_asked_for_its_size_first() -> None:
    answers: dict[int, object] = {
        Opcode.GETXATTR: b"value",
        Opcode.LISTXATTR: ["user.x"],
    }

    async with scripted(answers) as (kernel, server):
        assert await kernel.getxattr_size(7, "user.x") == 5
        assert await kernel.getxattr(7, "user.x") == b"value"
        assert await kernel.listxattr_size(7) == 7
        assert await kernel.listxattr(7) == ["user.x"]

    asked = (r.Getxattr, r.Listxattr)
    sizes = [request.size for request in server.requests if isinstance(request, asked)]
    assert sizes == [0, 0, 5, 0, 0, 7]


ENTRIES = [DirEntry(f"file{number}", number, stat.S_IFREG) for number in range(2, 60)]
NAMES = [".", "..", *(entry.name for entry in ENTRIES)]


async def test_a_directory_is_listed_page_by_page() -> None:
    async with scripted({Opcode.READDIR: ENTRIES}) as (kernel, server):
        entries = await kernel.readdir(1, FH, size=256, **WHO)
        rest = await kernel.readdir(1, FH, 50)

    assert [entry.name for entry in entries] == NAMES
    assert [entry.offset for entry in entries] == list(range(1, 61))
    assert [entry.name for entry in rest] == NAMES[50:]
    assert server.requests[0] == r.Readdir(*by(1), FH, 0, 256, 0, 0, 0)
    assert server.requests[1] == r.Readdir(6, *by(1)[1:], FH, 8, 256, 0, 0, 0)


async def test_a_listing_with_entries_looks_them_up() -> None:
    entries = [
        DirEntry(".", 1, entry=entry_of(stat.S_IFDIR)),
        DirEntry("a", 7, entry=ENTRY),
        DirEntry("b", 7, entry=ENTRY),
        DirEntry("c", 9),
    ]

    async with scripted({Opcode.READDIRPLUS: entries}) as (kernel, _server):
        listed = await kernel.readdirplus(1, FH, size=300)
        assert kernel.lookups == {7: 2}

    assert [entry.name for entry in listed] == [".", "a", "b", "c"]
    assert [entry.entry for entry in listed[1:]] == [ENTRY, ENTRY, None]


async def test_a_listed_entry_that_cannot_be_used_is_forgotten_at_once() -> None:
    root = Entry(FileAttr(1, stat.S_IFREG))
    shapeless = Entry(FileAttr(8, 0o644))
    entries = [
        DirEntry(".", 1),
        DirEntry("root", 1, entry=root),
        DirEntry("shapeless", 8, entry=shapeless),
        DirEntry("good", 7, entry=ENTRY),
    ]

    async with scripted({Opcode.READDIRPLUS: entries}) as (kernel, server):
        await kernel.readdirplus()
        assert kernel.lookups == {7: 1}

    forgets = [request for request in server.requests if isinstance(request, r.Forget)]
    assert sorted(forget.nodeid for forget in forgets) == [1, 8]


# --- Calls that older protocols do not have


async def test_an_old_protocol_forgets_one_by_one() -> None:
    async with scripted(minor=15) as (kernel, server):
        await kernel.batch_forget([(7, 2), (8, 1)])

    assert server.opcodes == [Opcode.FORGET, Opcode.FORGET]


@pytest.mark.parametrize(
    ("minor", "call", "error"),
    [
        (22, lambda k: k.rename(1, "a", 1, "b", RenameFlags.NOREPLACE), errno.EINVAL),
        (17, lambda k: k.ioctl(1, FH, 0, flags=IoctlFlags.DIR), errno.ENOTTY),
    ],
)
async def test_an_old_protocol_has_no_such_call(
    minor: int, call: Call, error: int
) -> None:
    async with scripted(minor=minor) as (kernel, server):
        await fails(error, call, kernel)

    assert server.requests == []


@pytest.mark.parametrize("minor", [3, 8, 11, 45])
async def test_the_structs_are_those_of_the_protocol(minor: int) -> None:
    attr = FileAttr(7, stat.S_IFREG, size=5, blksize=0, attr_valid=0)
    entry = Entry(attr)
    answers: dict[int, object] = {
        Opcode.LOOKUP: entry,
        Opcode.MKNOD: entry,
        Opcode.CREATE: (entry, OPENED),
        Opcode.GETATTR: attr,
        Opcode.STATFS: Statfs(1, 2, 3, 4, 5, 6, 7, 8 if minor > 3 else 0),
        Opcode.WRITE: 4,
    }

    async with scripted(answers, minor=minor) as (kernel, server):
        assert kernel.negotiated.minor == minor
        assert await kernel.lookup(1, "a") == entry
        assert await kernel.mknod(1, "b", stat.S_IFREG) == entry
        assert await kernel.create(1, "c") == (entry, OPENED)
        assert await kernel.getattr(7) == attr
        assert await kernel.statfs() == answers[Opcode.STATFS]
        assert await kernel.write(7, FH, 0, b"data") == 4

    assert kernel.refusals == []
    sizes = dict(zip(server.opcodes, map(len, server.messages), strict=True))
    assert sizes[Opcode.MKNOD] == 40 + (8 if minor < 12 else 16) + 2
    assert sizes[Opcode.CREATE] == 40 + (8 if minor < 12 else 16) + 2
    assert sizes[Opcode.WRITE] == 40 + (24 if minor < 9 else 40) + 4


async def test_an_old_kernel_offers_less_in_fewer_bytes() -> None:
    for minor, size in [(5, 8), (6, 16), (35, 16), (36, 64)]:
        async with scripted(offer=Offer(minor=minor)) as (_kernel, server):
            pass

        assert [len(body) for body in server.inits] == [size]


# --- Requests that no system call makes


async def test_a_cache_answers_a_retrieve() -> None:
    fields = {"notify_unique": 99, "nodeid": 7, "offset": 5, "size": 4}
    retrieve = Notification(NotifyCode.RETRIEVE, fields)

    async with scripted() as (kernel, server):
        await kernel.notify_reply(retrieve, b"data")

    (request,) = server.requests
    assert request == NotifyReply(99, 7, 0, 0, 0, 5, 4, memoryview(b"data"))


async def test_the_end_of_a_block_device_is_announced() -> None:
    async with scripted({Opcode.DESTROY: Body()}) as (kernel, server):
        await kernel.destroy()

    assert server.requests == [Destroy(4, 0, 0, 0, 0)]
