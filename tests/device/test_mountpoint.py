"""The mountpoint stays the same while others rename and replace paths."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import trio

from tests.device.mounts import SECONDS, entries_at, mounted, needs_steps
from triofuse.device import direct_mount, fs_context, mount as mounting
from triofuse.device.fusermount import find_fusermount
from triofuse.device.mount import mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.mountpoint import Mountpoint
from triofuse.device.options import MountOptions

pytestmark = pytest.mark.mount

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="calls mount(2)")


def swap_after_looking(monkeypatch: pytest.MonkeyPatch, path: str, other: str) -> None:
    """Replace a directory by a link as soon as it has been checked."""
    look = Mountpoint.open

    def look_and_swap(place: Mountpoint, *, clear_stale: bool) -> None:
        look(place, clear_stale=clear_stale)
        os.rename(path, f"{path}-before")
        os.symlink(other, path)

    monkeypatch.setattr(Mountpoint, "open", look_and_swap)


@root_only
@pytest.mark.parametrize("way", ["steps", "mount(2)"])
@pytest.mark.parametrize("swapped", ["", "/on/the/way"])
async def test_a_link_that_is_swapped_in_leads_nowhere(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, way: str, swapped: str
) -> None:
    mine, victim = f"{mountpoint}/mine", f"{mountpoint}/victim"
    os.makedirs(f"{mine}{swapped}")
    os.makedirs(f"{victim}{swapped}")
    swap_after_looking(monkeypatch, mine, victim)
    if way == "mount(2)":
        monkeypatch.setattr(direct_mount, "_open_context", lambda _: None)

    with trio.fail_after(SECONDS):
        async with mounted(f"{mine}{swapped}"):
            assert entries_at(f"{victim}{swapped}") == []
            assert len(entries_at(f"{mine}-before{swapped}")) == 1

    assert entries_at(f"{mine}-before{swapped}") == []


@pytest.mark.skipif(find_fusermount() is None, reason="fusermount3 is missing")
@pytest.mark.parametrize(
    ("swapped", "words"),
    [("", "mount failed"), ("/on/the/way", "led to .*/victim/on/the/way")],
)
async def test_that_fusermount_mounts_elsewhere_is_an_error(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, swapped: str, words: str
) -> None:
    """fusermount3 walks the path again, with the rights of its user."""
    mine, victim = f"{mountpoint}/mine", f"{mountpoint}/victim"
    os.makedirs(f"{mine}{swapped}")
    os.makedirs(f"{victim}{swapped}")
    swap_after_looking(monkeypatch, mine, victim)
    monkeypatch.setattr(mounting, "mount_directly", lambda *_: None)
    before = os.listdir("/proc/self/fd")

    with pytest.raises(MountError, match=words) as e:
        await mount_filesystem(f"{mine}{swapped}", MountOptions())

    assert e.value.mountpoint == f"{mine}{swapped}"
    assert entries_at(f"{victim}{swapped}") == []
    assert os.listdir("/proc/self/fd") == before


@root_only
async def test_a_directory_that_vanishes_is_an_error(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(path := f"{mountpoint}/mine")
    look = Mountpoint.open

    def look_and_remove(place: Mountpoint, *, clear_stale: bool) -> None:
        look(place, clear_stale=clear_stale)
        os.rmdir(path)

    monkeypatch.setattr(Mountpoint, "open", look_and_remove)

    with pytest.raises(MountError, match="has just vanished") as e:
        await mount_filesystem(path, MountOptions())

    assert e.value.errno == errno.ENOENT


async def test_dots_and_links_lead_to_where_they_lead_now(mountpoint: str) -> None:
    os.makedirs(f"{mountpoint}/a/b")
    os.mkdir(target := f"{mountpoint}/target")
    os.symlink("../../target", f"{mountpoint}/a/b/link")

    with trio.fail_after(SECONDS):
        async with mounted(f"{mountpoint}/a/b/../b/./link/") as filesystem:
            assert filesystem.path == target
            assert len(entries_at(target)) == 1


async def test_a_loop_of_links_is_an_error(mountpoint: str) -> None:
    os.symlink("loop", path := f"{mountpoint}/loop")

    with pytest.raises(MountError) as e:
        await mount_filesystem(path, MountOptions())

    assert (e.value.errno, e.value.step) == (errno.ELOOP, "stat")


@pytest.mark.parametrize("path", ["x" * 256, "/".join(["y" * 100] * 50)])
async def test_a_name_that_is_too_long_is_an_error(mountpoint: str, path: str) -> None:
    with pytest.raises(MountError) as e:
        await mount_filesystem(f"{mountpoint}/{path}", MountOptions())

    assert e.value.errno == errno.ENAMETOOLONG


async def test_a_removed_current_directory_is_an_error(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(path := f"{mountpoint}/gone")
    monkeypatch.chdir(path)
    os.rmdir(path)

    with pytest.raises(MountError) as e:
        await mount_filesystem(".", MountOptions())
    assert e.value.errno == errno.ENOENT


async def test_a_directory_that_is_not_empty_is_covered(mountpoint: str) -> None:
    os.mkdir(f"{mountpoint}/covered")

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint):
            pass

    assert os.listdir(mountpoint) == ["covered"]


def test_a_place_that_is_closed_while_it_is_looked_at_keeps_nothing(
    mountpoint: str,
) -> None:
    """The thread may block in a filesystem long after its caller was cancelled."""
    before = os.listdir("/proc/self/fd")
    place = Mountpoint(mountpoint)

    place.close()
    place.open(clear_stale=False)

    assert place.fd == -1
    assert os.listdir("/proc/self/fd") == before


#: What a program finds open when it starts, but for the listing itself.
LIST = """
import os
for fd in os.listdir("/proc/self/fd"):
    if os.path.exists(f"/proc/self/fd/{fd}"):
        print(os.readlink(f"/proc/self/fd/{fd}"))
"""


def inherited() -> list[str]:
    """Return the open files of a child to which no descriptor was passed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LIST],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if not line.startswith("pipe:")]


@pytest.mark.parametrize("way", ["system calls", "fusermount3"])
async def test_no_child_inherits_anything_of_a_mount(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "fusermount3":
        if find_fusermount() is None:
            pytest.skip("fusermount3 is missing")
        monkeypatch.setattr(mounting, "mount_directly", lambda *_: None)
    options = MountOptions(auto_unmount=True)

    with trio.fail_after(SECONDS):
        before = await trio.to_thread.run_sync(inherited)
        async with mounted(mountpoint, options):
            during = await trio.to_thread.run_sync(inherited)

    assert during == before


@root_only
async def test_no_child_inherits_anything_of_a_mount_that_is_being_made(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may start a process at any moment."""
    needs_steps()
    seen = []

    def look_and_move(root: int, place: int) -> None:
        seen.extend(inherited())
        fs_context.move_mount(root, place)

    monkeypatch.setattr(direct_mount, "move_mount", look_and_move)

    with trio.fail_after(SECONDS):
        before = await trio.to_thread.run_sync(inherited)
        async with mounted(mountpoint, MountOptions(auto_unmount=True)):
            pass

    assert seen == before


@root_only
async def test_the_kernels_last_words_are_asked_for_once(mountpoint: str) -> None:
    needs_steps()
    context = fs_context.FsContext.open("fuse")
    try:
        for word in ("one", "two"):
            with pytest.raises(OSError, match=f"Unknown parameter '{word}'") as e:
                context.configure([(word, None)])
            assert e.value.strerror == f"fuse: Unknown parameter '{word}'"
        with pytest.raises(OSError, match="Invalid argument"):
            context.configure([("source", "x" * 1000)])
    finally:
        context.close()
