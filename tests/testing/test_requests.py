"""Requests of a FakeKernel: raw ones, and the credentials of their callers."""

from __future__ import annotations

import os
import stat

import pytest

from tests.testing.scripted import (
    DEFAULTS,
    Body,
    reply,
    scripted,
    until,
)
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import InitFlags, RenameFlags
from triofuse.filesystem.replies import (
    Entry,
    FileAttr,
)
from triofuse.testing import Caller
from triofuse.wire import layouts
from triofuse.wire.attributes import encode_entry
from triofuse.wire.opcodes import Opcode

FILE = FileAttr(7, stat.S_IFREG | 0o644)
ENTRY = Entry(FILE)


async def test_only_the_name_of_a_parent_may_lead_to_the_root() -> None:
    root = Entry(FileAttr(1, stat.S_IFDIR | 0o755))
    body = bytes(encode_entry(root, r.Lookup(0, 7, 0, 0, 0, "..")))

    async with scripted({Opcode.LOOKUP: Body(body)}) as (kernel, _):
        assert (await kernel.lookup(7, "..")).nodeid == 1
        assert kernel.lookups == {}, "the root is never forgotten"
        with pytest.raises(OSError, match="nodeid 1 is the root's"):
            await kernel.lookup(7, "name")


# --- Hostile requests


async def test_a_raw_request_returns_the_body_whatever_it_is() -> None:
    async with scripted({Opcode.LOOKUP: Body(b"nonsense")}) as (kernel, server):
        body = await kernel.request(
            Opcode.LOOKUP, 9, b"a\0", caller=Caller(uid=5, gid=6, pid=7)
        )

    assert body == b"nonsense"
    assert server.requests == [r.Lookup(4, 9, 5, 6, 7, "a")]
    assert kernel.lookups == {}
    assert kernel.refusals == []


async def test_a_raw_request_is_sent_again_after_enosys() -> None:
    async with scripted() as (kernel, server):
        for _ in range(2):
            with pytest.raises(OSError, match="not implemented"):
                await kernel.request(Opcode.FLUSH, 7, bytes(24))

    assert server.opcodes == [Opcode.FLUSH] * 2


async def test_any_bytes_can_be_sent() -> None:
    message = layouts.IN_HEADER.pack(40, Opcode.STATFS, 98, 1, 0, 0, 0, 0)

    async with scripted({Opcode.STATFS: Body(b"answer")}) as (kernel, server):
        await kernel.send_raw(message)
        await until(lambda: bool(kernel.refusals))

    assert server.messages == [message]
    assert [refusal.message for refusal in kernel.refusals] == [reply(98, b"answer")]


# --- Credentials


async def test_by_default_this_process_asks() -> None:
    async with scripted({Opcode.GETATTR: FILE}) as (kernel, server):
        await kernel.getattr(7)

    (request,) = server.requests
    assert (request.uid, request.gid, request.pid) == (
        os.getuid(),
        os.getgid(),
        os.getpid(),
    )


async def test_with_idmapped_mounts_only_a_creator_has_an_owner() -> None:
    who = Caller(uid=5, gid=6, pid=7)
    answers: dict[int, object] = {
        Opcode.GETATTR: FILE,
        Opcode.MKNOD: ENTRY,
        Opcode.RENAME2: None,
    }
    flags = DEFAULTS | InitFlags.ALLOW_IDMAP

    async with scripted(answers, flags=flags) as (kernel, server):
        await kernel.getattr(7, **who)
        await kernel.mknod(1, "a", stat.S_IFREG, **who)
        await kernel.rename(1, "a", 1, "b", RenameFlags.EXCHANGE, **who)
        await kernel.rename(1, "a", 1, "b", RenameFlags.WHITEOUT, **who)

    nobody = (0xFFFFFFFF, 0xFFFFFFFF, 7)
    who_asked = [(asked.uid, asked.gid, asked.pid) for asked in server.requests]
    assert who_asked == [nobody, (5, 6, 7), nobody, (5, 6, 7)]


async def test_a_creator_sends_along_what_was_agreed_on() -> None:
    contexts = (("security.selinux", b"a\0b"), ("security.smack", b"rubble"))
    flags = DEFAULTS | InitFlags.SECURITY_CTX | InitFlags.CREATE_SUPP_GROUP

    async with scripted({Opcode.MKNOD: ENTRY}, flags=flags) as (kernel, server):
        await kernel.mknod(1, "a", stat.S_IFREG)
        await kernel.mknod(
            1, "b", stat.S_IFREG, security_contexts=contexts, groups=(10, 20, 30)
        )

    plain, full = server.requests
    assert isinstance(plain, r.Mknod)
    assert isinstance(full, r.Mknod)
    assert len(server.messages[0]) == 40 + 16 + 2 + 8, "an empty block of contexts"
    assert (plain.security_contexts, plain.groups) == ((), ())
    assert (full.security_contexts, full.groups) == (contexts, (10, 20, 30))


async def test_a_creator_sends_nothing_along_that_was_not_agreed_on() -> None:
    async with scripted({Opcode.MKNOD: ENTRY}) as (kernel, server):
        await kernel.mknod(
            1, "a", stat.S_IFREG, security_contexts=[("b", b"c")], groups=[1]
        )

    assert len(server.messages[0]) == 40 + 16 + 2
