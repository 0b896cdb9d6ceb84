"""A mount is gone when its server is, whatever the server has done to itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from tests.device.mounts import SECONDS
from tests.session.clients import is_mounted, read
from tests.session.probe import TEXT
from triofuse.device.libc import MNT_DETACH, umount2

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="gives up being root"),
]

#: Does what the second argument says when the file "change" is looked up.
PROGRAM = textwrap.dedent(
    """
    import ctypes, logging, multiprocessing, os, resource, signal, stat, sys
    import textwrap, threading
    import trio
    sys.path[:0] = {path!r}
    import triofuse
    from tests.session.probe import Probe

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    libc = ctypes.CDLL(None, use_errno=True)
    place, change, options = sys.argv[1:]

    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    class Changing(Probe):
        async def init(self, config):
            await super().init(config)
            print("serving", flush=True)

        async def lookup(self, request):
            if request.name == "change":
                exec(textwrap.dedent(change), globals())
            return await super().lookup(request)

    triofuse.run(Changing(), place, triofuse.MountOptions.parse(options))
    if "unshare" in change:  # into a namespace where nobody else can look
        with open("/proc/self/mountinfo") as mounts:
            assert f" {{place}} " not in mounts.read(), "a copy is left mounted"
    print("ended", flush=True)
    """
)


@contextmanager
def server(
    mountpoint: str, change: str = "", options: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Have a program serve a filesystem."""
    program = PROGRAM.format(path=sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", program, mountpoint, change, options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def changed(process: subprocess.Popen[str], mountpoint: str) -> None:
    """Wait until the server has done to itself what it was told."""
    assert process.stdout is not None
    await trio.to_thread.run_sync(process.stdout.readline)
    with pytest.raises(FileNotFoundError):
        await trio.to_thread.run_sync(os.stat, f"{mountpoint}/change")


async def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    return await trio.to_thread.run_sync(process.communicate)


CHANGES = {
    "all descriptors are in use": """
        try:
            while True: os.dup(0)
        except OSError:
            pass
        """,
    "no descriptor is allowed": "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
    "no thread can be started": "threading.Thread.start = no_thread",
    "its root is elsewhere": "os.chroot('/proc')",
    "its directory is in the mount": """
        threading.Thread(target=os.chdir, args=(place,)).start()
        """,
    "its mounts are its own": "assert not libc.unshare(0x20000)",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_a_server_takes_from_itself_is_not_needed_to_unmount(
    mountpoint: str, change: str
) -> None:
    with trio.fail_after(SECONDS), server(mountpoint, CHANGES[change]) as process:
        await changed(process, mountpoint)

        process.send_signal(signal.SIGTERM)
        output, complaints = await end(process)

    assert output == "ended\n", complaints
    assert "cannot be unmounted" not in complaints
    assert not is_mounted(mountpoint)


BECOME_NOBODY = "os.setgid(65534); os.setuid(65534)"


async def test_who_may_not_unmount_any_more_has_it_done_by_auto_unmount(
    mountpoint: str,
) -> None:
    options = "auto_unmount,allow_other"
    with (
        trio.fail_after(SECONDS),
        server(mountpoint, BECOME_NOBODY, options) as process,
    ):
        await changed(process, mountpoint)

        process.send_signal(signal.SIGTERM)
        output, complaints = await end(process)

    assert output == "ended\n", complaints
    assert "cannot be unmounted" not in complaints
    assert not is_mounted(mountpoint)


async def test_who_may_not_unmount_any_more_is_told_the_remedy(mountpoint: str) -> None:
    with (
        trio.fail_after(SECONDS),
        server(mountpoint, BECOME_NOBODY, "allow_other") as process,
    ):
        await changed(process, mountpoint)

        process.send_signal(signal.SIGTERM)
        _, complaints = await end(process)

    assert f"cannot unmount {mountpoint}: " in complaints
    assert "auto_unmount" in complaints
    umount2(mountpoint, MNT_DETACH)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_the_log_names_the_signal_that_ends_a_server(
    mountpoint: str, number: signal.Signals
) -> None:
    with trio.fail_after(SECONDS), server(mountpoint) as process:
        await changed(process, mountpoint)

        process.send_signal(number)
        output, complaints = await end(process)

    assert (output, process.returncode) == ("ended\n", 0)
    assert f" ends on {number.name}\n" in complaints
    assert not is_mounted(mountpoint)


async def test_a_closed_terminal_is_ignored_by_whom_nohup_has_started(
    mountpoint: str,
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with trio.fail_after(SECONDS), server(mountpoint) as process:
        signal.signal(signal.SIGHUP, before)
        await changed(process, mountpoint)

        process.send_signal(signal.SIGHUP)
        assert await read(f"{mountpoint}/plain") == TEXT
        process.send_signal(signal.SIGTERM)
        _, complaints = await end(process)

    assert "SIGHUP" not in complaints
