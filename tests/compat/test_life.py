"""init, main, terminate and close of `triofuse.compat.pyfuse3`, on a real mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

import triofuse.compat.pyfuse3 as pyfuse3
from tests.compat.world import TEXT, Files, in_thread, mounted

pytestmark = pytest.mark.mount

READ = "import sys; open(sys.argv[1], 'rb').read()"


def table() -> str:
    return Path("/proc/self/mounts").read_text()


def test_init_mounts_before_any_event_loop_runs(mountpoint: str) -> None:
    pyfuse3.init(Files(), mountpoint, {"fsname=before", "subtype=loop"})

    assert f"before {mountpoint} fuse.loop " in table()
    pyfuse3.close()
    assert f" {mountpoint} " not in table()


def test_a_second_init_says_why_not(mountpoint: str, tmp_path: Path) -> None:
    pyfuse3.init(Files(), mountpoint)
    try:
        with pytest.raises(RuntimeError, match=f"{mountpoint} is mounted: call close"):
            pyfuse3.init(Files(), str(tmp_path))
    finally:
        pyfuse3.close()

    pyfuse3.init(Files(), mountpoint)  # after close() it may be called again
    pyfuse3.close()


def test_init_says_what_is_wrong(mountpoint: str) -> None:
    with pytest.raises(RuntimeError, match="No such file"):
        pyfuse3.init(Files(), f"{mountpoint}/none")
    with pytest.raises(RuntimeError, match="allow_other"):
        pyfuse3.init(Files(), mountpoint, {"alow_other"})
    with pytest.raises(TypeError, match="mountpoint must be a str"):
        pyfuse3.init(Files(), Path(mountpoint))  # type: ignore[arg-type]


async def test_main_needs_init() -> None:
    with pytest.raises(RuntimeError, match=r"init\(\) before main\(\)"):
        await pyfuse3.main()
    with pytest.raises(RuntimeError, match="init"):
        pyfuse3.terminate()
    pyfuse3.close()  # nothing to close


async def test_the_token_is_set_while_main_runs(mountpoint: str) -> None:
    async with mounted(Files(), mountpoint):
        await in_thread(os.stat, mountpoint)
        assert pyfuse3.trio_token is trio.lowlevel.current_trio_token()
    assert pyfuse3.trio_token is None


async def test_close_refuses_while_main_runs(mountpoint: str) -> None:
    async with mounted(Files(), mountpoint):
        await in_thread(os.stat, mountpoint)
        with pytest.raises(RuntimeError, match="main"):
            pyfuse3.close()


async def test_main_returns_when_the_filesystem_is_unmounted(mountpoint: str) -> None:
    pyfuse3.init(Files(), mountpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await in_thread(os.stat, mountpoint)
        await in_thread(subprocess.check_call, ["umount", mountpoint])
    pyfuse3.close()


async def test_terminate_may_be_called_in_another_thread(mountpoint: str) -> None:
    pyfuse3.init(Files(), mountpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await in_thread(os.stat, mountpoint)
        await in_thread(pyfuse3.terminate)
    assert f" {mountpoint} " in table()  # until close()
    pyfuse3.close()


async def test_terminate_may_be_called_in_a_signal_handler(mountpoint: str) -> None:
    former = signal.signal(signal.SIGUSR1, lambda *_: pyfuse3.terminate())
    try:
        pyfuse3.init(Files(), mountpoint)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pyfuse3.main)
            await in_thread(os.stat, mountpoint)
            os.kill(os.getpid(), signal.SIGUSR1)
        pyfuse3.close()
    finally:
        signal.signal(signal.SIGUSR1, former)


async def test_terminate_lets_running_handlers_end(mountpoint: str) -> None:
    files = Files()
    texts: list[bytes] = []

    async def read() -> None:
        texts.append(await in_thread((Path(mountpoint) / "slow").read_bytes))

    pyfuse3.init(files, mountpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        nursery.start_soon(read)
        await files.slow_began.wait()
        pyfuse3.terminate()
        await trio.sleep(0)
        files.let_go.set()
    pyfuse3.close()

    assert texts == [TEXT]


async def test_a_killed_client_of_a_sleeping_handler_is_gone_at_once(
    mountpoint: str,
) -> None:
    files = Files()
    async with mounted(files, mountpoint):
        path = f"{mountpoint}/slow"
        client = await in_thread(subprocess.Popen, [sys.executable, "-c", READ, path])
        await files.slow_began.wait()
        began = time.monotonic()
        client.kill()
        await in_thread(client.wait)
        took = time.monotonic() - began

        assert files.named("slow read ends") == []
        assert files.named("release") == []  # the handler still uses the file
        files.let_go.set()
        await files.wait_for("release")

    names = [call[0] for call in files.calls]
    assert names.index("slow read ends") < names.index("release")
    assert took < 1, f"{took * 1000:.0f} ms"


async def test_a_client_that_survives_its_signal_gets_its_data(mountpoint: str) -> None:
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())\n"
    )
    files = Files()
    async with mounted(files, mountpoint):
        client = await in_thread(
            lambda: subprocess.Popen(
                [sys.executable, "-c", program, f"{mountpoint}/slow"],
                stdout=subprocess.PIPE,
            )
        )
        await files.slow_began.wait()
        client.send_signal(signal.SIGUSR1)
        await trio.sleep(0.05)
        files.let_go.set()
        out, _ = await in_thread(client.communicate)

    assert out == TEXT


async def test_close_without_unmount_leaves_a_dead_mount(mountpoint: str) -> None:
    pyfuse3.init(Files(), mountpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await in_thread(os.stat, mountpoint)
        nursery.cancel_scope.cancel()
    pyfuse3.close(unmount=False)

    with pytest.raises(OSError) as caught:
        os.statvfs(mountpoint)
    assert caught.value.errno == errno.ENOTCONN
    subprocess.check_call(["umount", mountpoint])


async def test_nothing_written_is_lost_with_the_writeback_cache(
    mountpoint: str,
) -> None:
    files = Files()
    files.enable_writeback_cache = True

    def write() -> None:
        with (Path(mountpoint) / "message").open("r+b") as file:
            file.write(b"written")

    pyfuse3.init(files, mountpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await in_thread(write)
        pyfuse3.terminate()
    pyfuse3.close()

    assert b"".join(call[2] for call in files.named("write")).startswith(b"written")


DAEMON = """
import os, sys, trio
import triofuse.compat.pyfuse3 as pyfuse3
from tests.compat.world import Files

async def main():
    pyfuse3.init(Files(), sys.argv[1], {"fsname=daemon"})
    if os.fork():
        os._exit(0)
    os.setsid()
    await pyfuse3.main()
    pyfuse3.close()

trio.run(main)
"""


def test_a_program_may_fork_between_init_and_main(mountpoint: str) -> None:
    subprocess.run([sys.executable, "-c", DAEMON, mountpoint], check=True, timeout=60)

    assert (Path(mountpoint) / "message").read_bytes() == TEXT
    subprocess.check_call(["umount", mountpoint])


def test_a_mount_that_was_not_closed_is_unmounted_at_exit(mountpoint: str) -> None:
    program = (
        "import sys, triofuse.compat.pyfuse3 as p\n"
        "p.init(p.Operations(), sys.argv[1])\n"
        "assert sys.argv[1] in open('/proc/self/mounts').read()\n"
    )
    subprocess.run([sys.executable, "-c", program, mountpoint], check=True, timeout=60)

    assert f" {mountpoint} " not in table()
