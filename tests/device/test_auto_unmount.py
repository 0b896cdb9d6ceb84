"""The process that unmounts the filesystem of a killed server."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trio

import triofuse
from memfs import MemFS
from tests.conftest import at_work
from tests.device.mounts import (
    NOBODY,
    PUBLIC_PYTHON,
    SECONDS,
    Realm,
    child,
    entries_at,
    mount_tmpfs,
    mounted,
    report,
    wait_for_mounts,
    wait_until_mounted,
)
from tests.session.clients import until
from triofuse.device import direct_mount, mount as mounting
from triofuse.device.auto_unmount import Watcher
from triofuse.device.fusermount import find_fusermount
from triofuse.device.libc import MNT_DETACH, umount2
from triofuse.device.mount import Mount, mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.mountinfo import numbers_of
from triofuse.device.options import MountOptions

pytestmark = pytest.mark.mount

OPTIONS = MountOptions(auto_unmount=True)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="calls mount(2)")

#: Reads and writes until it fails.
CLIENT = 'cd "$0" && echo ready && while echo x >"$1" && cat "$1" >&2; do :; done'


def busy(
    realm: Realm, path: str, uid: int
) -> AbstractContextManager[list[subprocess.Popen[str]]]:
    """Run four clients, each with its current directory in the mount."""
    commands = [
        realm.command("sh", "-c", CLIENT, path, str(number), uid=uid)
        for number in range(4)
    ]
    return at_work(commands, stderr=subprocess.DEVNULL)


@needs_root
@pytest.mark.parametrize("way", ["steps", "mount(2)", "fusermount3"])
def test_a_killed_server_of_busy_clients_is_unmounted_within_a_second(
    public_mountpoint: str, realm: Realm, way: str
) -> None:
    arguments = {
        "steps": [],
        "mount(2)": ["--without-steps"],
        "fusermount3": ["--nobody"],
    }
    uid = NOBODY if way == "fusermount3" else 0
    if uid and (find_fusermount() is None or not PUBLIC_PYTHON):
        pytest.skip("an ordinary user can do nothing here")
    command = ["serve", public_mountpoint, "--options=auto_unmount", *arguments[way]]

    with child(*command, realm=realm) as server:
        wait_until_mounted(server)
        assert len(entries_at(public_mountpoint, realm.table)) == 1
        with busy(realm, public_mountpoint, uid) as clients:
            began = time.monotonic()
            server.kill()
            wait_for_mounts(
                lambda: not entries_at(public_mountpoint, realm.table), realm.table
            )
            took = time.monotonic() - began
            for client in clients:
                client.wait(SECONDS)

    assert took < 1


@pytest.mark.parametrize("name", ["a b", "tab\tnewline\n", "back\\040slash", "\udcff"])
def test_any_name_can_be_unmounted(mountpoint: str, name: str) -> None:
    path = os.path.join(mountpoint, name)
    os.mkdir(path)

    with child("hold", path, "--options=auto_unmount") as process:
        wait_until_mounted(process)
        assert len(entries_at(path)) == 1
        process.kill()

        wait_for_mounts(lambda: not entries_at(path))


def test_a_moved_mount_is_unmounted_where_it_is(mountpoint: str) -> None:
    os.makedirs(path := os.path.join(mountpoint, "old", "mnt"))

    with child("hold", path, "--options=auto_unmount") as process:
        wait_until_mounted(process)
        os.rename(f"{mountpoint}/old", f"{mountpoint}/new")
        process.kill()

        wait_for_mounts(lambda: not entries_at(f"{mountpoint}/new/mnt"))


@needs_root
def test_a_server_that_has_given_up_its_rights_is_unmounted(mountpoint: str) -> None:
    with child("drop", mountpoint, "--options=auto_unmount") as process:
        wait_until_mounted(process)
        process.kill()

        wait_for_mounts(lambda: not entries_at(mountpoint))


@pytest.mark.skipif(find_fusermount() is None, reason="fusermount3 is missing")
@needs_root
def test_nothing_is_left_running_after_an_ordinary_users_unmount(
    public_mountpoint: str, realm: Realm
) -> None:
    if not PUBLIC_PYTHON:
        pytest.skip("no Python that everybody can run")
    options = "--options=auto_unmount"

    output = report("once", public_mountpoint, "--nobody", options, realm=realm)

    assert output.splitlines()[-2:] == ["0 left", "no children"]


@pytest.mark.parametrize("way", ["system calls", "fusermount3"])
async def test_it_ends_with_the_unmount(
    mountpoint: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "fusermount3":
        if find_fusermount() is None:
            pytest.skip("fusermount3 is missing")
        monkeypatch.setattr(mounting, "mount_directly", lambda *_: None)

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, OPTIONS) as filesystem:
            process = process_of(filesystem)
            assert process.poll() is None

            await filesystem.unmount()

            assert process.returncode == 0
            assert entries_at(mountpoint) == []


def process_of(filesystem: Mount) -> subprocess.Popen[bytes]:
    assert filesystem._watcher is not None
    return filesystem._watcher.process


async def die(filesystem: Mount) -> None:
    """Close what the death of this process would close, and wait for the watcher."""
    close_all(filesystem)
    await trio.to_thread.run_sync(process_of(filesystem).wait, SECONDS)


def close_all(filesystem: Mount) -> None:
    assert filesystem._watcher is not None
    filesystem.device.close()
    filesystem._watcher.socket.close()


@needs_root
async def test_it_goes_on_watching_if_unmounting_does_not_succeed(
    mountpoint: str,
) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, OPTIONS) as filesystem:
            process = process_of(filesystem)
            mount_tmpfs(mountpoint)

            with pytest.raises(MountError, match="covers it"):
                await filesystem.unmount()

            assert process.poll() is None
            umount2(mountpoint, 0)
            await filesystem.unmount()
            assert process.returncode == 0


async def test_neither_ctrl_c_nor_sigterm_ends_it(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(mountpoint, OPTIONS)
        process = process_of(filesystem)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            process.send_signal(number)
        assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid

        await die(filesystem)

    assert process.returncode == 0
    assert entries_at(mountpoint) == []


async def test_signals_are_blocked_for_it_alone(mountpoint: str) -> None:
    def masks_are_equal() -> bool:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        Watcher.start(mountpoint).dismiss()
        return before == signal.pthread_sigmask(signal.SIG_BLOCK, [])

    assert await trio.to_thread.run_sync(masks_are_equal)


async def test_it_has_no_descriptor_of_ours_but_its_socket(mountpoint: str) -> None:
    junk = os.pipe()
    for fd in junk:
        os.set_inheritable(fd, True)

    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, OPTIONS) as filesystem:
            fds = f"/proc/{process_of(filesystem).pid}/fd"
            targets = {fd: os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)}
            cwd = os.readlink(f"/proc/{process_of(filesystem).pid}/cwd")

    for fd in junk:
        os.close(fd)
    assert targets.pop("0").startswith("socket:")
    assert targets.pop("1") == targets.pop("2") == os.devnull
    # libffi may keep its own file open, to map its trampolines from it.
    assert not [it for it in targets.values() if "libffi.so" not in it]
    assert cwd == "/"


@needs_root
async def test_the_next_mount_at_the_same_place_is_left_alone(mountpoint: str) -> None:
    """Its numbers are those of our mount, except unique_id."""
    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(mountpoint, OPTIONS)
        before = entries_at(mountpoint)
        umount2(mountpoint, 0)
        async with mounted(mountpoint) as foreign:
            foreign.device.close()  # so that it is dead as well
            assert entries_at(mountpoint) == before

            await die(filesystem)

            assert entries_at(mountpoint) == before


@needs_root
async def test_a_foreign_mount_on_top_is_left_alone_until_it_is_gone(
    mountpoint: str,
) -> None:
    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(mountpoint, OPTIONS)
        process = process_of(filesystem)
        mount_tmpfs(mountpoint)
        watches = f"/proc/{process.pid}/wchan"

        close_all(filesystem)
        await until(lambda: "poll" in Path(watches).read_text())
        fstypes = [entry.fstype for entry in entries_at(mountpoint)]
        umount2(mountpoint, 0)
        await trio.to_thread.run_sync(process.wait, SECONDS)

    assert fstypes == ["fuse.triofuse", "tmpfs"]
    assert entries_at(mountpoint) == []


async def test_that_somebody_else_has_unmounted_it_is_fine(mountpoint: str) -> None:
    with trio.fail_after(SECONDS):
        filesystem = await mount_filesystem(mountpoint, OPTIONS)
        umount2(mountpoint, MNT_DETACH)

        await die(filesystem)

    assert process_of(filesystem).returncode == 0


async def test_what_lives_on_elsewhere_stays_mounted(mountpoint: str) -> None:
    """Another process may have got the device before ours died."""
    with trio.fail_after(SECONDS):
        async with triofuse.mount(MemFS(), mountpoint):
            watcher = await trio.to_thread.run_sync(Watcher.start, mountpoint)
            root = os.open(mountpoint, os.O_PATH)
            numbers = numbers_of(root)
            watcher.watch(numbers.mount_id, numbers.unique_id)
            os.close(root)

            watcher.socket.close()
            await trio.to_thread.run_sync(watcher.process.wait)

            assert len(entries_at(mountpoint)) == 1


async def test_a_server_that_dies_before_it_has_mounted_leaves_it_nothing_to_do(
    mountpoint: str,
) -> None:
    watcher = await trio.to_thread.run_sync(Watcher.start, mountpoint)

    watcher.socket.close()

    assert await trio.to_thread.run_sync(watcher.process.wait) == 0


async def test_that_it_has_been_killed_does_not_hinder_unmounting(
    mountpoint: str,
) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint, OPTIONS) as filesystem:
            process_of(filesystem).kill()

            await filesystem.unmount()

            assert entries_at(mountpoint) == []
            assert process_of(filesystem).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("program", "number", "complaint"),
    [
        ("", errno.ENOSYS, "a frozen program has none"),
        ("/nonexistent/python", errno.ENOENT, "No such file"),
        (shutil.which("false") or "", errno.ENOEXEC, "a Python interpreter that works"),
        (os.devnull, errno.EACCES, "this user must be allowed"),
    ],
)
async def test_nothing_is_mounted_if_it_does_not_start(
    mountpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    number: int,
    complaint: str,
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    before = os.listdir("/proc/self/fd")

    with pytest.raises(MountError, match=complaint) as e:
        await mount_filesystem(mountpoint, OPTIONS)

    assert (e.value.errno, e.value.step) == (number, "auto_unmount")
    assert entries_at(mountpoint) == []
    assert os.listdir("/proc/self/fd") == before


@needs_root
@pytest.mark.parametrize("way", ["steps", "mount(2)", "fusermount3"])
async def test_nothing_stays_mounted_if_it_dies_at_once(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    start = Watcher.start
    if way == "mount(2)":
        monkeypatch.setattr(direct_mount, "_open_context", lambda _: None)
    elif way == "fusermount3":
        if find_fusermount() is None:
            pytest.skip("fusermount3 is missing")
        monkeypatch.setattr(mounting, "mount_directly", lambda *_: None)

    def start_and_kill(path: str) -> Watcher:
        watcher = start(path)
        watcher.process.kill()
        os.waitid(os.P_PID, watcher.process.pid, os.WEXITED | os.WNOWAIT)
        return watcher

    monkeypatch.setattr(Watcher, "start", start_and_kill)

    with pytest.raises(MountError) as e:
        await mount_filesystem(mountpoint, OPTIONS)

    assert (e.value.errno, e.value.step) == (errno.EPIPE, "auto_unmount")
    assert entries_at(mountpoint) == []


async def test_a_failed_mount_ends_it(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = Watcher.start

    def start_and_tell(path: str) -> Watcher:
        started.append(start(path))
        return started[-1]

    monkeypatch.setattr(Watcher, "start", start_and_tell)
    options = MountOptions(auto_unmount=True, extra=("colour=blue",))

    with pytest.raises(MountError, match="colour"):
        await mount_filesystem(mountpoint, options)

    assert started[0].process.returncode == 0
