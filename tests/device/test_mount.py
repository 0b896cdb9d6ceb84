from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path
from typing import NoReturn

import pytest
import trio

from tests.device.mounts import (
    SECONDS,
    child,
    clear,
    entries_at,
    leave_dead,
    mount_tmpfs,
    mount_unseen,
    mounted,
    needs_steps,
    report,
    wait_until_mounted,
)
from triofuse.device import fs_context, mountinfo, unmounting
from triofuse.device.libc import umount2
from triofuse.device.mount import mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import connection_device
from triofuse.device.options import MountOptions

pytestmark = pytest.mark.mount

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="calls mount(2)")


@root_only
async def test_a_mount_is_listed_as_its_options_say(mountpoint: str) -> None:
    options = MountOptions(fsname="a,b\\c d\n#", subtype="s,t u", max_read=8192)

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, options) as filesystem:
            (entry,) = entries_at(mountpoint)

            assert entry.fstype == "fuse.s,t u"
            assert entry.source == "a,b\\c d\n#"
            assert entry.device == connection_device(filesystem.device.fd)
            assert filesystem.path == mountpoint


@root_only
async def test_the_flags_reach_the_kernel(mountpoint: str) -> None:
    text = "ro,noexec,noatime,sync,dirsync,default_permissions,allow_other"

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, MountOptions.parse(text)):
            listed = _words_at(mountpoint)

    for word in ("ro", "nosuid", "nodev", "noexec", "noatime"):
        assert word in listed[5].split(",")
    for word in ("ro", "sync", "dirsync", "default_permissions", "allow_other"):
        assert word in listed[-1].split(",")


def _words_at(path: str) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    (words,) = (line.split() for line in lines if f" {path} " in line)
    return words


async def test_the_device_neither_blocks_nor_is_inherited(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            assert not os.get_blocking(filesystem.device.fd)
            assert not os.get_inheritable(filesystem.device.fd)


@pytest.mark.parametrize(
    "name", ["a b", "tab\tnewline\n", "back\\slash", "#hash", "\udcff\udcfe", "\\040"]
)
async def test_any_name_can_be_mounted_on(mountpoint: str, name: str) -> None:
    path = os.path.join(mountpoint, name)
    os.mkdir(path)

    with trio.fail_after(SECONDS):
        async with mounted(path) as filesystem:
            assert len(entries_at(path)) == 1
            await filesystem.unmount()

    assert entries_at(path) == []


async def test_the_path_is_made_canonical(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink(mountpoint, f"{mountpoint}-link")
    monkeypatch.chdir(os.path.dirname(mountpoint))

    with trio.fail_after(SECONDS):
        async with mounted("./mnt-link/") as filesystem:
            assert filesystem.path == mountpoint
            assert len(entries_at(mountpoint)) == 1


async def test_a_pathlike_object_will_do(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(Path(mountpoint), MountOptions())
        await filesystem.unmount()
    filesystem.device.close()


async def test_a_regular_file_can_be_mounted_on(mountpoint: str) -> None:
    path = os.path.join(mountpoint, "file")
    os.mknod(path)

    with trio.fail_after(SECONDS):
        async with mounted(path) as filesystem:
            assert len(entries_at(path)) == 1
            await filesystem.unmount()

    assert stat.S_ISREG(os.stat(path).st_mode)


async def test_two_mounts_at_one_place_are_told_apart(mountpoint: str) -> None:
    os.mkdir(other := os.path.join(mountpoint, "other"))

    with trio.fail_after(SECONDS):
        async with mounted(other) as first, mounted(mountpoint) as second:
            await second.unmount()

            assert len(entries_at(other)) == 1
            await first.unmount()


async def test_a_kernel_that_tells_less_will_do(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 6.8 no mount number is unique, and fdinfo does not name the mount."""

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(mountinfo, "numbers_at", refuse)
    monkeypatch.setattr(unmounting, "mount_point_of", refuse)

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            await filesystem.unmount()

            assert entries_at(mountpoint) == []


async def test_running_out_of_descriptors_leaves_nothing_behind(
    mountpoint: str,
) -> None:
    before = os.listdir("/proc/self/fd")
    highest = max(map(int, before))
    numbers = set()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    with trio.fail_after(SECONDS):
        for limit in range(3, highest + 10):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                filesystem = await mount_filesystem(mountpoint, MountOptions())
            except MountError as exc:
                filesystem = None
                numbers.add(exc.errno)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if filesystem is not None:
                await filesystem.unmount()
                filesystem.device.close()
            assert entries_at(mountpoint) == []
            assert os.listdir("/proc/self/fd") == before

    assert filesystem is not None
    assert numbers == {errno.EMFILE}


async def test_nothing_is_mounted_for_who_is_cancelled_already(mountpoint: str) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await mount_filesystem(mountpoint, MountOptions())

    assert scope.cancelled_caught
    assert entries_at(mountpoint) == []


async def test_a_missing_mountpoint_is_an_error_that_names_it(mountpoint: str) -> None:
    path = os.path.join(mountpoint, "missing")

    with pytest.raises(MountError, match=r"cannot mount on .*missing.*create it") as e:
        await mount_filesystem(path, MountOptions())

    assert (e.value.errno, e.value.filename) == (errno.ENOENT, path)


async def test_a_mountpoint_is_a_directory_or_a_regular_file(mountpoint: str) -> None:
    os.mkfifo(fifo := os.path.join(mountpoint, "fifo"))
    os.mknod(file := os.path.join(mountpoint, "file"))

    for path in (fifo, f"{file}/below"):
        with pytest.raises(MountError, match="Not a directory") as e:
            await mount_filesystem(path, MountOptions())
        assert e.value.errno == errno.ENOTDIR


@root_only
async def test_an_option_that_the_kernel_refuses_is_named(mountpoint: str) -> None:
    before = os.listdir("/proc/self/fd")

    with pytest.raises(MountError, match="colour") as e:
        await mount_filesystem(mountpoint, MountOptions(extra=("colour=blue",)))

    assert (e.value.errno, e.value.step) == (errno.EINVAL, "mount(2)")
    assert os.listdir("/proc/self/fd") == before


@root_only
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("colour=blue", "fuse: Unknown parameter 'colour'"),
        ("blue", "fuse: Unknown parameter 'blue'"),
        ("blksize=x", "fuse: Bad value for 'blksize'"),
    ],
)
async def test_the_words_of_the_kernel_are_in_the_error(
    mountpoint: str, option: str, words: str
) -> None:
    needs_steps()

    with pytest.raises(MountError) as e:
        await mount_filesystem(mountpoint, MountOptions(extra=(option,)))

    assert str(e.value) == f"cannot mount on {mountpoint}: {words}"
    assert e.value.words == words


@root_only
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
async def test_mount_does_where_its_steps_cannot_be_taken(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fs_context, "_call", refuse)
    text = "ro,noatime,default_permissions,allow_other,fsname=x,subtype=y"

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, MountOptions.parse(text)) as filesystem:
            by_mount = _words_at(mountpoint)
            await filesystem.unmount()
        monkeypatch.undo()
        async with mounted(mountpoint, MountOptions.parse(text)):
            by_steps = _words_at(mountpoint)

    assert by_mount[3:] == by_steps[3:]
    with pytest.raises(MountError, match=r"Invalid argument .*colour=blue"):
        monkeypatch.setattr(fs_context, "_call", refuse)
        await mount_filesystem(mountpoint, MountOptions(extra=("colour=blue",)))


@root_only
@pytest.mark.parametrize("length", [255, 256, 3000])
async def test_a_name_may_be_long(mountpoint: str, length: int) -> None:
    options = MountOptions(fsname="x" * length)

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, options):
            (entry,) = entries_at(mountpoint)

    assert entry.source == options.fsname


@root_only
async def test_options_that_the_kernel_would_cut_off_are_refused(
    mountpoint: str,
) -> None:
    options = MountOptions(extra=(f"x={'y' * 4096}",))

    with pytest.raises(MountError, match="too long"):
        await mount_filesystem(mountpoint, options)


@root_only
def test_who_may_not_mount_is_told_what_to_install(public_mountpoint: str) -> None:
    arguments = ("once", public_mountpoint, "--nobody", "--without-fusermount")

    output = report(*arguments, namespaces=("--mount",))

    assert "mount(2): Operation not permitted (be root" in output
    assert "install fuse3" in output


@root_only
def test_a_missing_device_is_an_error_with_a_remedy(mountpoint: str) -> None:
    output = report("once", mountpoint, "--without-device", namespaces=("--mount",))

    assert "cannot open /dev/fuse: No such file or directory" in output
    assert "modprobe fuse" in output
    assert "--device /dev/fuse" in output


@root_only
def test_a_missing_proc_is_an_error_with_a_remedy(mountpoint: str) -> None:
    output = report("once", mountpoint, "--without-proc", namespaces=("--mount",))

    assert output.startswith(f"cannot mount on {mountpoint}: /proc/self/fd: No such")
    assert "(mount /proc)" in output


async def test_a_stale_mountpoint_is_an_error_with_a_remedy(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        await leave_dead(mountpoint)

        with pytest.raises(MountError, match="clear_stale") as e:
            await mount_filesystem(mountpoint, MountOptions())

    assert e.value.errno == errno.ENOTCONN
    clear(mountpoint)


async def test_stale_mounts_are_cleared_away_if_wanted(mountpoint: str) -> None:
    for _ in range(3):
        with child("hold", mountpoint, "--options=clear_stale") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "mounted\n"
    assert len(entries_at(mountpoint)) == 1

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, MountOptions(clear_stale=True)):
            assert len(entries_at(mountpoint)) == 1


@root_only
async def test_stale_mounts_on_top_of_each_other_are_all_cleared_away(
    mountpoint: str,
) -> None:
    with trio.fail_after(SECONDS):
        # Nobody answers INIT, so what looks at the mountpoint first would wait.
        for fd in [mount_unseen(mountpoint) for _ in range(3)]:
            os.close(fd)
        assert len(entries_at(mountpoint)) == 3

        async with mounted(mountpoint, MountOptions(clear_stale=True)):
            assert len(entries_at(mountpoint)) == 1


@root_only
async def test_others_that_are_mounted_on_a_stale_mount_are_not_cleared_away(
    mountpoint: str,
) -> None:
    with trio.fail_after(SECONDS):
        with child("serve", mountpoint) as server:
            wait_until_mounted(server)
            await trio.to_thread.run_sync(os.makedirs, below := f"{mountpoint}/a/b\t")
            await trio.to_thread.run_sync(mount_tmpfs, below)

        with pytest.raises(MountError, match="mounted on the one that has died") as e:
            await mount_filesystem(mountpoint, MountOptions(clear_stale=True))

    assert f"unmount first what is mounted on it: {below!r} (tmpfs)" in e.value.remedy
    assert e.value.errno == errno.EBUSY
    assert len(entries_at(mountpoint)) == len(entries_at(below)) == 1
    clear(below)
    clear(mountpoint)


@root_only
async def test_a_mount_whose_name_has_a_carriage_return_hinders_no_other(
    mountpoint: str,
) -> None:
    os.mkdir(odd := f"{mountpoint}/a\rb")
    os.mkdir(place := f"{mountpoint}/place")
    mount_tmpfs(odd)

    with trio.fail_after(SECONDS):
        async with mounted(place, MountOptions(auto_unmount=True)):
            assert len(entries_at(place)) == 1

    assert entries_at(place) == []
    umount2(odd, 0)


@root_only
async def test_what_is_below_a_stale_mount_is_not_cleared_away(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        await leave_dead(mountpoint)

        with pytest.raises(MountError, match="not connected") as e:
            await mount_filesystem(f"{mountpoint}/x", MountOptions(clear_stale=True))

    assert e.value.errno == errno.ENOTCONN
    assert len(entries_at(mountpoint)) == 1
    clear(mountpoint)


async def test_an_inherited_descriptor_is_taken_over(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as starter:
            os.set_blocking(starter.device.fd, True)
            os.set_inheritable(starter.device.fd, True)

            path = f"/dev/fd/{starter.device.fd}"
            filesystem = await mount_filesystem(path, MountOptions())
            await filesystem.unmount()

            assert (filesystem.path, filesystem.device.fd) == (path, starter.device.fd)
            assert not os.get_blocking(starter.device.fd)
            assert not os.get_inheritable(starter.device.fd)
            assert len(entries_at(mountpoint)) == 1


@pytest.mark.parametrize(
    ("device", "number"), [("/dev/null", errno.ENODEV), ("/dev/fuse", errno.ENOTCONN)]
)
async def test_an_inherited_descriptor_must_be_a_mounted_device(
    device: str, number: int
) -> None:
    fd = os.open(device, os.O_RDWR)
    try:
        with pytest.raises(MountError, match=f"/dev/fd/{fd}") as e:
            await mount_filesystem(f"/dev/fd/{fd}", MountOptions())
    finally:
        os.close(fd)

    assert e.value.errno == number
    assert e.value.remedy


async def test_an_inherited_descriptor_must_be_open() -> None:
    with pytest.raises(MountError, match="must pass the descriptor") as e:
        await mount_filesystem("/dev/fd/99999", MountOptions())

    assert e.value.errno == errno.EBADF
