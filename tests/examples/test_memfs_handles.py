"""File handles of memfs, which outlive what the kernel knows of a node."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import triofuse
from memfs import MemFS
from tests.examples.posix import fails
from tests.examples.test_memfs_acl import needs_root
from triofuse.mirror import libc

pytestmark = [pytest.mark.mount, needs_root]


async def on_mount(
    filesystem: MemFS, root: str, action: Callable[[], bytes | str | None]
) -> bytes | str | None:
    """Do something on a new mount, whose kernel side knows of no node but the root."""
    async with triofuse.mount(filesystem, root, strict=True):
        return await trio.to_thread.run_sync(action)


def handle_of(path: Path) -> bytes:
    fd = os.open(path, os.O_PATH)
    try:
        return libc.handle_of(fd)[0]
    finally:
        os.close(fd)


def path_of(root: str, handle: bytes) -> str:
    """Open a handle and return the path of what it leads to."""
    mount = os.open(root, os.O_RDONLY)
    try:
        fd = libc.open_handle(mount, handle)
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    finally:
        os.close(mount)


def made(root: str) -> bytes:
    inner = Path(root, "outer", "inner")
    inner.mkdir(parents=True)
    return handle_of(inner)


async def test_a_handle_leads_to_a_node_that_the_kernel_has_forgotten(
    mountpoint: str,
) -> None:
    memfs = MemFS()
    handle = await on_mount(memfs, mountpoint, lambda: made(mountpoint))
    assert isinstance(handle, bytes)

    found = await on_mount(memfs, mountpoint, lambda: path_of(mountpoint, handle))

    assert found == f"{mountpoint}/outer/inner"


@pytest.mark.parametrize("gone", ["removed", "another filesystem"])
async def test_a_handle_of_what_is_gone_is_stale(gone: str, mountpoint: str) -> None:
    memfs = MemFS()
    handle = await on_mount(memfs, mountpoint, lambda: made(mountpoint))
    assert isinstance(handle, bytes)
    if gone == "removed":
        inner = f"{mountpoint}/outer/inner"
        await on_mount(memfs, mountpoint, lambda: os.rmdir(inner))
    else:
        memfs = MemFS()
        await on_mount(memfs, mountpoint, lambda: made(mountpoint))

    def open_it() -> None:
        with fails(errno.ESTALE):
            path_of(mountpoint, handle)

    await on_mount(memfs, mountpoint, open_it)
