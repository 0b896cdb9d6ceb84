from __future__ import annotations

import contextlib
import errno
import os

import pytest
import trio
import trio.testing

from tests.device.mounts import SECONDS, entries_at, mount_tmpfs, mounted
from triofuse.device import unmounting
from triofuse.device.libc import MNT_DETACH, umount2
from triofuse.device.mount import mount_filesystem
from triofuse.device.mount_error import MountError
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
    """The kernel gives it the very numbers that ours had: only one is unique."""
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
    """What is unmounted lazily is named by a descriptor, not by its path."""
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
