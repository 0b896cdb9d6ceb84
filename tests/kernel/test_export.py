"""File handles: name_to_handle_at(2) and open_by_handle_at(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.kernel.recorder import Recorder, mounted, off_thread, until

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_DAC_READ_SEARCH"),
]

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100


#: handle_bytes, handle_type and f_handle of ``struct file_handle``.
_ROOM = struct.pack("=Ii128x", 128, 0)


def name_to_handle(path: Path) -> bytes:
    """Return the ``struct file_handle`` of a path."""
    handle, mount_id = ctypes.create_string_buffer(_ROOM), ctypes.c_int()
    failed = _libc.name_to_handle_at(
        _AT_FDCWD, os.fsencode(path), handle, ctypes.byref(mount_id), 0
    )
    if failed:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return handle.raw


def open_by_handle(root: Path, handle: bytes) -> int:
    directory = os.open(root, os.O_RDONLY)
    try:
        fd = _libc.open_by_handle_at(directory, handle, os.O_RDONLY)
    finally:
        os.close(directory)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    return int(fd)


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("2")


class Exporting(Recorder):
    """Finds a node by itself, and its parent."""

    def __init__(self, *wants: t.InitFlags) -> None:
        super().__init__(*wants)
        self.parents: dict[int, int] = {}

    async def lookup(self, request: t.Lookup) -> t.Entry:
        match request.name:
            case ".":
                await self.note("lookup", request)
                return self.entry(request.nodeid)
            case "..":
                await self.note("lookup", request)
                return self.entry(self.parents[request.nodeid])
        entry = await super().lookup(request)
        self.parents[entry.nodeid] = request.nodeid
        return entry


async def reopened(exporting: Exporting, mountpoint: str, below: str) -> bytes:
    """Open a file by its handle when the kernel knows its node no more."""
    async with mounted(exporting, mountpoint) as root:
        path = root / below
        await off_thread(path.parent.mkdir, 0o755, True, True)
        await off_thread(path.write_bytes, b"text")
        handle = await off_thread(name_to_handle, path)
        nodeid = (await off_thread(path.stat)).st_ino
        await off_thread(drop_caches)
        await until(lambda: exporting.forgotten[nodeid])
        fd = await off_thread(open_by_handle, root, handle)
        try:
            return await off_thread(os.read, fd, 10)
        finally:
            await off_thread(os.close, fd)


@pytest.mark.shows("FUSE_EXPORT_SUPPORT")
async def test_with_export_support_a_handle_outlives_the_kernels_cache(
    mountpoint: str,
) -> None:
    exporting = Exporting(t.InitFlags.EXPORT_SUPPORT)

    assert await reopened(exporting, mountpoint, "file") == b"text"

    (itself,) = [r for r in exporting.asked(t.Lookup) if r.name == "."]
    assert itself.nodeid == next(iter(exporting.forgotten))


async def test_with_export_support_the_parents_of_a_directory_are_looked_up(
    mountpoint: str,
) -> None:
    exporting = Exporting(t.InitFlags.EXPORT_SUPPORT)

    async with mounted(exporting, mountpoint) as root:
        path = root / "outer" / "inner"
        await off_thread(path.mkdir, 0o755, True)
        handle = await off_thread(name_to_handle, path)
        status = await off_thread(path.stat)
        await off_thread(drop_caches)
        await until(lambda: exporting.forgotten[status.st_ino])
        fd = await off_thread(open_by_handle, root, handle)
        place = await off_thread(os.readlink, f"/proc/self/fd/{fd}")
        await off_thread(os.close, fd)

    assert place == f"{mountpoint}/outer/inner"
    assert ".." in [r.name for r in exporting.asked(t.Lookup)]


async def test_without_export_support_a_handle_is_stale_with_the_cache(
    mountpoint: str,
) -> None:
    exporting = Exporting()

    with pytest.raises(OSError, match="open_by_handle_at") as caught:
        await reopened(exporting, mountpoint, "file")

    assert caught.value.errno == errno.ESTALE


@pytest.mark.shows("FUSE_NO_EXPORT_SUPPORT")
@pytest.mark.parametrize("wanted", [False, True])
async def test_with_no_export_support_there_are_no_handles(
    mountpoint: str, wanted: bool
) -> None:
    recorder = Recorder(t.InitFlags.NO_EXPORT_SUPPORT if wanted else t.InitFlags(0))
    recorder.put("file")
    error = None

    async with mounted(recorder, mountpoint) as root:
        try:
            await off_thread(name_to_handle, root / "file")
        except OSError as exc:
            error = exc.errno

    assert error == (errno.EOPNOTSUPP if wanted else None)


@pytest.mark.shows("FUSE_INIT_EXT")
async def test_without_init_ext_the_later_flags_are_not_heard(mountpoint: str) -> None:
    class Insisting(Recorder):
        async def init(self, config: t.KernelConfig) -> None:
            config.decline(t.InitFlags.INIT_EXT)
            config.wanted |= t.InitFlags.NO_EXPORT_SUPPORT

    insisting = Insisting()
    insisting.put("file")

    with trio.fail_after(10):
        async with t.mount(insisting, mountpoint, strict=True) as session:
            path = Path(mountpoint) / "file"
            assert await off_thread(name_to_handle, path)

    assert session.agreement is not None
    assert "INIT_EXT only" in session.agreement.refused[t.InitFlags.NO_EXPORT_SUPPORT]
