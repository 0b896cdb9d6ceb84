"""Faults of filesystems: listings that fail half way."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from typing import Any

import triofuse as t
from tests.faults.fault import Fault, Scene, breaking
from tests.faults.victim import Victim
from triofuse.wire.layouts import READ_IN
from triofuse.wire.opcodes import Opcode


def _half(victim: Victim, *, lookups: bool) -> Iterator[t.DirEntry]:
    for number in range(10, 15):
        entry = victim.found(number) if lookups else None
        yield t.DirEntry(f"{number}", number, stat.S_IFREG, entry=entry)
    raise ValueError("half way")


def _failing_on_close() -> Iterator[t.DirEntry]:
    try:
        for number in range(10, 5000):
            yield t.DirEntry(f"{number}", number, stat.S_IFREG)
    finally:
        raise ValueError("on closing")


async def _half_listing(victim: Victim, request: t.Readdir) -> Any:
    return _half(victim, lookups=False)


async def _half_listing_plus(victim: Victim, request: t.Readdirplus) -> Any:
    return _half(victim, lookups=True)


async def _bad_entry(victim: Victim, request: t.Readdirplus) -> list[t.DirEntry]:
    good = [
        t.DirEntry(f"{number}", number, stat.S_IFREG, entry=victim.found(number))
        for number in range(10, 13)
    ]
    bad = victim.found(13)
    bad.attr.size = -1
    return [*good, t.DirEntry("bad", 13, stat.S_IFREG, entry=bad)]


async def _list_and_close(scene: Scene) -> str:
    """List a directory that fails when its listing is closed half way."""

    async def wrong(victim: Victim, request: t.Readdirplus) -> Any:
        return _failing_on_close()

    scene.victim.wrong["readdirplus"] = wrong
    opened = await scene.kernel.opendir(1)
    body = READ_IN.pack(opened.fh, 0, 4096, 0, 0, 0)
    assert await scene.kernel.request(Opcode.READDIRPLUS, 1, body, room=4096)
    await scene.kernel.releasedir(1, opened.fh)
    return "success"


async def _list_and_leave(scene: Scene) -> str:
    opened = await scene.kernel.opendir(1)
    try:
        return await _list_at(scene, opened.fh)
    finally:
        await scene.kernel.releasedir(1, opened.fh)


async def _list_at(scene: Scene, fh: int) -> str:
    try:
        return f"{len(await scene.kernel.readdirplus(1, fh))} entries"
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]


async def _list_a_bad_entry(scene: Scene) -> str:
    scene.victim.wrong["readdirplus"] = _bad_entry
    return await _list_and_leave(scene)


async def _list_half(scene: Scene) -> str:
    scene.victim.wrong["readdirplus"] = _half_listing_plus
    return await _list_and_leave(scene)


LISTINGS = [
    Fault(
        "readdir returns a generator that fails half way",
        "EIO",
        breaking("readdir", _half_listing),
        "Victim.readdir failed",
    ),
    Fault(
        "readdirplus returns a generator that fails half way",
        "EIO",
        _list_half,
        "Victim.readdirplus failed",
    ),
    Fault(
        "readdirplus returns an entry with a negative size behind good ones",
        "EIO",
        _list_a_bad_entry,
        "Victim.readdirplus() returned",
    ),
    Fault(
        "a listing fails when it is closed",
        "success",
        _list_and_close,
        "closing the listing",
    ),
]
