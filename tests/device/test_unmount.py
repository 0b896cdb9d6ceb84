from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from typing import NoReturn

import attrs
import pytest
import trio
import trio.testing

import triofuse
from memfs import MemFS
from tests.device.mounts import SECONDS, entries_at, mount_tmpfs, mounted
from triofuse.device import unmounting
from triofuse.device.libc import MNT_DETACH, MountNumbers, mount_point_of, umount2
from triofuse.device.mount import mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import numbers_here
from triofuse.device.options import MountOptions

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts other filesystems"),
]


async def test_unmounting_twice_is_unmounting_once(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            await filesystem.unmount()
            assert entries_at(mountpoint) == []

            mount_tmpfs(mountpoint)
            await filesystem.unmount()

    assert [entry.fstype for entry in entries_at(mountpoint)] == ["tmpfs"]
    umount2(mountpoint, 0)


async def test_two_tasks_may_unmount_at_once(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(filesystem.unmount)
                nursery.start_soon(filesystem.unmount)

            assert entries_at(mountpoint) == []


async def test_a_filesystem_whose_device_is_closed_is_unmounted(
    mountpoint: str,
) -> None:
    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(mountpoint, MountOptions())
        filesystem.device.close()

        await filesystem.unmount()

    assert entries_at(mountpoint) == []


async def test_what_is_in_use_is_unmounted_lazily(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            user = os.open(mountpoint, os.O_PATH)
            try:
                await filesystem.unmount()
            finally:
                os.close(user)

            assert entries_at(mountpoint) == []


async def test_a_foreign_mount_on_top_is_left_alone(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            mount_tmpfs(mountpoint)

            with pytest.raises(MountError, match=r"cannot unmount .*covers it") as e:
                await filesystem.unmount()

            assert e.value.errno == errno.EBUSY
            fstypes = [entry.fstype for entry in entries_at(mountpoint)]
            assert fstypes == ["fuse.triofuse", "tmpfs"]

            umount2(mountpoint, 0)
            await filesystem.unmount()

    assert entries_at(mountpoint) == []


async def test_a_foreign_mount_above_is_left_alone(mountpoint: str) -> None:
    os.mkdir(path := os.path.join(mountpoint, "below"))

    with trio.fail_after(SECONDS):
        async with mounted(path) as filesystem:
            mount_tmpfs(mountpoint)

            with pytest.raises(MountError, match="covers the way") as e:
                await filesystem.unmount()

            assert e.value.errno == errno.ENOENT
            assert len(entries_at(mountpoint)) == len(entries_at(path)) == 1
            umount2(mountpoint, 0)
            await filesystem.unmount()

    assert entries_at(path) == []


async def test_that_somebody_else_has_unmounted_it_is_fine(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            umount2(mountpoint, MNT_DETACH)

            await filesystem.unmount()


async def test_the_next_mount_at_the_same_place_is_left_alone(mountpoint: str) -> None:
    """The kernel reuses the numbers of our mount; only unique_id differs."""
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            (before,) = entries_at(mountpoint)
            umount2(mountpoint, 0)
            async with mounted(mountpoint) as foreign:
                (after,) = entries_at(mountpoint)
                assert after == before

                await filesystem.unmount()

                assert entries_at(mountpoint) == [after]
                await foreign.unmount()


async def test_a_mount_is_found_where_it_has_been_moved_to(mountpoint: str) -> None:
    os.makedirs(path := os.path.join(mountpoint, "old", "mnt"))

    with trio.fail_after(SECONDS):
        async with mounted(path) as filesystem:
            os.rename(f"{mountpoint}/old", f"{mountpoint}/new")
            assert len(entries_at(f"{mountpoint}/new/mnt")) == 1

            await filesystem.unmount()

    assert entries_at(f"{mountpoint}/new/mnt") == []


async def test_a_mount_that_takes_its_place_at_the_last_moment_is_left_alone(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lazy unmount names the mount by its descriptor, not by its path."""
    os.makedirs(path := f"{mountpoint}/old/mnt")

    def take_its_place(target: str, flags: int) -> None:
        if flags & MNT_DETACH:
            os.rename(f"{mountpoint}/old", f"{mountpoint}/new")
            os.makedirs(path)
            mount_tmpfs(path)
        umount2(target, flags)

    with trio.fail_after(SECONDS):
        async with mounted(path) as filesystem:
            user = os.open(path, os.O_PATH)
            monkeypatch.setattr(unmounting, "umount2", take_its_place)
            await filesystem.unmount()
            monkeypatch.undo()
            os.close(user)

    assert [entry.fstype for entry in entries_at(path)] == ["tmpfs"]
    assert entries_at(f"{mountpoint}/new/mnt") == []
    umount2(path, 0)


@pytest.mark.parametrize("in_use", [False, True])
async def test_a_directory_that_is_swapped_on_the_way_leads_to_no_other_mount(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, in_use: bool
) -> None:
    """The owner may swap it at any time: here just before umount2(2)."""
    for name in ("mine", "victim"):
        os.makedirs(f"{mountpoint}/{name}/mnt")
    mount_tmpfs(victim := f"{mountpoint}/victim/mnt")
    swapped: list[str] = []

    def swap(target: str, flags: int) -> None:
        if not swapped:
            os.rename(f"{mountpoint}/mine", f"{mountpoint}/before")
            os.symlink("victim", f"{mountpoint}/mine")
            swapped.append(target)
        umount2(target, flags)

    with trio.fail_after(SECONDS):
        async with mounted(f"{mountpoint}/mine/mnt") as filesystem:
            user = os.open(f"{mountpoint}/mine/mnt", os.O_PATH) if in_use else -1
            monkeypatch.setattr(unmounting, "umount2", swap)
            await filesystem.unmount()
            if in_use:
                os.close(user)

    assert swapped
    assert len(entries_at(victim)) == 1
    assert entries_at(f"{mountpoint}/before/mnt") == []
    umount2(victim, 0)


async def test_a_mount_whose_directory_is_on_the_move_is_found(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine times it is moved right after it was found."""
    os.makedirs(f"{mountpoint}/0/mnt")
    looked = 0

    def look_and_move(unique_id: int) -> str:
        nonlocal looked
        place = mount_point_of(unique_id)
        if looked < 9:
            os.rename(f"{mountpoint}/{looked}", f"{mountpoint}/{looked + 1}")
            looked += 1
        return place

    with trio.fail_after(SECONDS):
        async with mounted(f"{mountpoint}/0/mnt") as filesystem:
            monkeypatch.setattr(unmounting, "mount_point_of", look_and_move)
            await filesystem.unmount()

    assert looked == 9
    assert entries_at(f"{mountpoint}/9/mnt") == []


async def test_what_others_have_mounted_on_it_goes_with_it_and_is_logged(
    mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(SECONDS):
        async with triofuse.mount(MemFS(), mountpoint):
            below = f"{mountpoint}/a\rb"
            await trio.to_thread.run_sync(os.mkdir, below)
            await trio.to_thread.run_sync(mount_tmpfs, below)

    assert entries_at(below) == entries_at(mountpoint) == []
    assert f"what is mounted on it is unmounted with it: {below!r}" in caplog.text


async def test_that_nobody_can_be_asked_who_uses_it_does_not_hinder_unmounting(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> NoReturn:
        raise OSError(errno.EMFILE, "all gone")

    monkeypatch.setattr(unmounting, "users_of", fail)
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            user = os.open(mountpoint, os.O_PATH)
            await filesystem.unmount()
            os.close(user)

            assert entries_at(mountpoint) == []


async def test_a_cancelled_unmount_leaves_the_mount_for_the_next_one(
    mountpoint: str,
) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            with trio.CancelScope() as scope:
                scope.cancel()
                await filesystem.unmount()
            assert scope.cancelled_caught
            assert len(entries_at(mountpoint)) == 1

            await filesystem.unmount()

            assert entries_at(mountpoint) == []


async def test_threads_that_wait_for_the_filesystem_do_not_keep_it_mounted(
    mountpoint: str,
) -> None:
    async def ask() -> None:
        with contextlib.suppress(OSError):
            await trio.to_thread.run_sync(os.listdir, mountpoint)

    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(mountpoint, MountOptions())
        limiter = trio.to_thread.current_default_thread_limiter()
        async with trio.open_nursery() as nursery:
            for _ in range(int(limiter.total_tokens)):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert limiter.available_tokens == 0

            await filesystem.unmount()

            assert entries_at(mountpoint) == []
            filesystem.device.close()


async def _bind(source: str, target: str) -> None:
    command = ["mount", "--bind", source, target]
    await trio.to_thread.run_sync(subprocess.check_call, command)


async def test_copies_made_by_mount_bind_go_with_it(
    mountpoint: str, tmp_path: Path
) -> None:
    (place := tmp_path / "elsewhere").mkdir()
    elsewhere = str(place)
    with trio.fail_after(SECONDS):
        async with triofuse.mount(MemFS(), mountpoint):
            await _bind(mountpoint, elsewhere)
            await _bind(mountpoint, mountpoint)
            assert len(entries_at(mountpoint)) == 2

    assert entries_at(mountpoint) == entries_at(elsewhere) == []


async def test_a_foreign_mount_below_a_copy_is_left_alone(
    mountpoint: str, tmp_path: Path
) -> None:
    (place := tmp_path / "elsewhere").mkdir()
    elsewhere = str(place)
    mount_tmpfs(elsewhere)
    with trio.fail_after(SECONDS):
        async with triofuse.mount(MemFS(), mountpoint):
            await _bind(mountpoint, elsewhere)

    assert [entry.fstype for entry in entries_at(elsewhere)] == ["tmpfs"]
    umount2(elsewhere, 0)


@pytest.mark.parametrize("end", ["abandon", "undo"])
async def test_a_program_that_has_closed_the_device_is_unmounted(
    mountpoint: str, end: str
) -> None:
    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(mountpoint, MountOptions())
        os.close(filesystem.device.fd)  # as closerange(2) does

        with contextlib.suppress(OSError):
            await trio.to_thread.run_sync(getattr(filesystem, end))

        while entries_at(mountpoint):
            await trio.lowlevel.checkpoint()


def test_a_mount_whose_numbers_are_hidden_is_known_by_the_one_that_shows(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user, as a server becomes by setuid(2), is not told the unique one."""
    mount_tmpfs(mountpoint)
    seen = entries_at(mountpoint)[0]
    ours = attrs.evolve(seen, unique_id=numbers_here(mountpoint).unique_id)
    hidden = MountNumbers(seen.mount_id, 0, seen.device)
    monkeypatch.setattr(unmounting, "numbers_here", lambda _: hidden)

    unmounting.unmount(ours)

    assert entries_at(mountpoint) == []
