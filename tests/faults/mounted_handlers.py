"""Faults of handlers, and what the kernel makes of them."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

import triofuse as t
from tests.faults.fault import raising, returning
from tests.faults.stage import MountedFault, Stage
from tests.faults.victim import FINE, NODE, Victim, Wrong


def _serving(
    method: str, wrong: Wrong, act: Callable[[Stage], Awaitable[str]]
) -> Callable[[Stage], Awaitable[str]]:
    async def happen(stage: Stage) -> str:
        stage.victim.wrong[method] = wrong
        async with t.mount(stage.victim, stage.mountpoint):
            await stage.serve_others()
            answer = await act(stage)
            await stage.serve_others()
        return answer

    return happen


async def _read(stage: Stage) -> str:
    return await stage.read()


async def _write(stage: Stage) -> str:
    return await stage.call(Path(stage.path()).write_bytes, FINE)


async def _stat(stage: Stage) -> str:
    return await stage.call(os.stat, stage.path())


async def _list(stage: Stage) -> str:
    return await stage.call(os.listdir, stage.mountpoint)


async def _open_without_descriptors(victim: Victim, request: t.Open) -> t.Opened:
    """Open what cannot be opened, for this process has no descriptors left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        os.open("/dev/null", os.O_RDONLY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    raise AssertionError


async def _as_a_directory(victim: Victim, request: t.Getattr) -> t.FileAttr:
    if request.nodeid == 1:
        return victim.attr(1)
    return attrs.evolve(victim.attr(NODE), mode=stat.S_IFDIR | 0o755)


async def _own_mount(stage: Stage) -> str:
    """A handler calls into its own mount, from the thread that serves it."""

    async def wrong(victim: Victim, request: t.Read) -> bytes:
        os.stat(stage.path("other"))
        raise AssertionError

    return await _serving("read", wrong, _read)(stage)


_LONG = [t.DirEntry("x" * 300, NODE), t.DirEntry("other", NODE)]

HANDLERS = [
    MountedFault(
        "the disk is full",
        "ENOSPC",
        _serving("write", raising(OSError(errno.ENOSPC, "full")), _write),
    ),
    MountedFault(
        "the server has no descriptors left",
        "EMFILE",
        _serving("open", _open_without_descriptors, _read),
    ),
    MountedFault(
        "a handler calls into its own mount", "EDEADLK", _own_mount, "gets EDEADLK"
    ),
    MountedFault(
        "a bug on a mount",
        "EIO",
        _serving("read", raising(ValueError("a bug")), _read),
        "Victim.read failed",
    ),
    MountedFault(
        "a file that turns into a directory",
        "EIO",
        _serving("getattr", _as_a_directory, _stat),
    ),
    MountedFault(
        "a listing with a name longer than NAME_MAX",
        "2 entries",
        _serving("readdirplus", returning(_LONG), _list),
    ),
]
