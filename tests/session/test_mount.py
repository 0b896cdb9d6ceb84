"""The life of a mount, on the real kernel."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import trio
import trio.lowlevel

import triofuse
from tests.session.clients import failure_of, is_mounted, outcome, read, start, until
from tests.session.probe import FILES, TEXT, Probe
from triofuse.device.mount import mount_filesystem

pytestmark = pytest.mark.mount

#: Opens a file, says so, and fails to read it once its mount has gone.
HOLD = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print("open", flush=True)
sys.stdin.readline()
os.read(fd, 1)
"""


async def test_the_mount_can_be_used_at_once_and_is_gone_afterwards(
    mountpoint: str,
) -> None:
    probe = Probe()

    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint, strict=True):
            assert is_mounted(mountpoint)
            assert await read(f"{mountpoint}/plain") == TEXT
            names = await trio.to_thread.run_sync(os.listdir, mountpoint)

    assert sorted(names) == sorted(FILES)
    assert not is_mounted(mountpoint)
    assert probe.calls["init"] == probe.calls["destroy"] == 1
    assert not probe.handles


async def test_an_unmount_from_outside_ends_the_session(mountpoint: str) -> None:
    probe = Probe()

    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint) as session:
            await trio.run_process(["umount", mountpoint])
            await session.wait_unmounted()

            assert probe.calls["destroy"] == 1


async def test_serve_returns_when_the_filesystem_is_unmounted(mountpoint: str) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(triofuse.serve, Probe(), mountpoint)
            assert await read(f"{mountpoint}/plain") == TEXT
            await trio.run_process(["umount", mountpoint])


async def test_cancelling_serve_unmounts(mountpoint: str) -> None:
    probe = Probe()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(triofuse.serve, probe, mountpoint)
            nursery.cancel_scope.cancel()

    assert not is_mounted(mountpoint)
    assert probe.calls["destroy"] == 1


async def test_an_exception_in_the_block_comes_out_as_it_is(mountpoint: str) -> None:
    with trio.fail_after(10):
        with pytest.raises(KeyError, match="mine"):
            async with triofuse.mount(Probe(), mountpoint):
                raise KeyError("mine")

    assert not is_mounted(mountpoint)


async def test_a_busy_filesystem_is_left_within_a_second(mountpoint: str) -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint):
            client = await start("cat", f"{mountpoint}/slow")
            await probe.arrived.wait()
            began = time.monotonic()
        took = time.monotonic() - began
        _, complaint = await outcome(client)

    assert took < 1
    assert not is_mounted(mountpoint)
    assert complaint


async def test_handles_that_the_kernel_forgets_to_release_are_released(
    mountpoint: str,
) -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint):
            client = await start(sys.executable, "-c", HOLD, f"{mountpoint}/plain")
            await until(lambda: len(probe.handles) == 1)
        await outcome(client)

    assert not probe.handles
    assert probe.calls["release"] == 1


async def test_an_oserror_is_the_callers_errno(mountpoint: str) -> None:
    with trio.fail_after(10):
        async with triofuse.mount(Probe(), mountpoint, strict=True):
            assert await failure_of(f"{mountpoint}/denied") == errno.EACCES
            assert await failure_of(f"{mountpoint}/absent") == errno.ENOENT


async def test_an_accidental_enosys_switches_nothing_off(mountpoint: str) -> None:
    with trio.fail_after(10):
        async with triofuse.mount(Probe(), mountpoint, strict=True):
            assert await failure_of(f"{mountpoint}/nosys") == errno.EOPNOTSUPP


async def test_a_bug_costs_its_caller_an_eio_and_nobody_else_anything(
    mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(10):
        async with triofuse.mount(Probe(), mountpoint):
            assert await failure_of(f"{mountpoint}/bug") == errno.EIO
            assert await read(f"{mountpoint}/plain") == TEXT

    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "Probe.read failed" in record.getMessage()
    assert "nodeid=4" in record.getMessage()
    assert record.exc_info is not None


async def test_in_strict_mode_a_bug_ends_the_session(mountpoint: str) -> None:
    with trio.fail_after(10):
        with pytest.raises(ZeroDivisionError):
            async with triofuse.mount(Probe(), mountpoint, strict=True):
                await failure_of(f"{mountpoint}/bug")
                await trio.sleep_forever()

    assert not is_mounted(mountpoint)


async def test_a_filesystem_that_cannot_start_is_not_mounted(mountpoint: str) -> None:
    class Broken(Probe):
        async def init(self, config: triofuse.KernelConfig) -> None:
            raise LookupError("no database")

    broken = Broken()
    with trio.fail_after(10):
        with pytest.raises(LookupError, match="no database"):
            async with triofuse.mount(broken, mountpoint):
                raise AssertionError

    assert not is_mounted(mountpoint)
    assert broken.calls["destroy"] == 0


async def test_a_killed_client_is_gone_at_once_and_its_handler_cancelled(
    mountpoint: str,
) -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint, strict=True):
            client = await start("cat", f"{mountpoint}/slow")
            await probe.arrived.wait()
            client.kill()
            await outcome(client)

            assert client.returncode == -signal.SIGKILL
            assert probe.ended == ["cancelled"]
            assert await read(f"{mountpoint}/plain") == TEXT
            await until(lambda: not probe.handles)


async def test_an_interrupt_passes_when_every_handler_is_busy(mountpoint: str) -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint, max_handlers=1) as session:
            first = await start("cat", f"{mountpoint}/slow")
            await probe.arrived.wait()
            second = await start(
                "cat", f"{mountpoint}/plain"
            )  # waits for the only handler
            await until(lambda: session.statistics().queued == 1)
            second.send_signal(signal.SIGINT)
            await outcome(second)
            first.kill()
            await outcome(first)

            assert second.returncode == -signal.SIGINT
            assert probe.ended == ["cancelled"]
            assert await read(f"{mountpoint}/plain") == TEXT


async def test_an_open_whose_caller_is_gone_is_released(mountpoint: str) -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint, strict=True):
            client = await start("cat", f"{mountpoint}/stubborn")
            await probe.arrived.wait()
            client.kill()
            probe.let_go.set()
            await outcome(client)
            await until(lambda: probe.ended == ["open"])
            await until(lambda: not probe.handles)

            assert probe.calls["release"] == 1


async def test_lookups_and_forgets_balance(mountpoint: str) -> None:
    probe = Probe()

    def storm() -> None:
        for _ in range(200):
            for name in FILES:
                os.stat(f"{mountpoint}/{name}")
        Path("/proc/sys/vm/drop_caches").write_text("2")

    with trio.fail_after(20):
        async with triofuse.mount(probe, mountpoint, strict=True):
            await trio.to_thread.run_sync(storm)
            await until(lambda: not any(probe.lookups.values()))


async def test_a_sleeping_handler_keeps_nobody_waiting(mountpoint: str) -> None:
    probe = Probe()
    with trio.fail_after(10):
        async with triofuse.mount(probe, mountpoint, strict=True):
            client = await start("cat", f"{mountpoint}/slow")
            await probe.arrived.wait()
            began = time.monotonic()
            await read(f"{mountpoint}/plain")
            took = time.monotonic() - began
            probe.let_go.set()
            out, _ = await outcome(client)

    assert took < 0.5
    assert out == TEXT.decode()


async def test_an_inherited_descriptor_is_served_and_left_mounted(
    mountpoint: str,
) -> None:
    options = triofuse.MountOptions()
    with trio.fail_after(10):
        mounted = await mount_filesystem(mountpoint, options)
        async with triofuse.mount(Probe(), f"/dev/fd/{mounted.device.fd}", strict=True):
            assert await read(f"{mountpoint}/plain") == TEXT
        assert is_mounted(mountpoint)
        await mounted.unmount()


async def test_a_session_runs_on_a_descriptor_of_somebody_elses(
    mountpoint: str,
) -> None:
    with trio.fail_after(10):
        mounted = await mount_filesystem(mountpoint, triofuse.MountOptions())
        session = triofuse.Session.from_fd(Probe(), mounted.device.fd, strict=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(session.run)
            assert await read(f"{mountpoint}/plain") == TEXT
            assert session.agreement is not None
            assert session.agreement.max_write >= 4096
            await mounted.unmount()


async def test_two_mounts_live_in_one_loop(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    with trio.fail_after(10):
        async with (
            triofuse.mount(Probe(), places[0], strict=True),
            triofuse.mount(Probe(), places[1], strict=True),
        ):
            assert await read(f"{places[0]}/plain") == TEXT
            await trio.run_process(["umount", str(places[0])])
            assert await read(f"{places[1]}/plain") == TEXT


async def test_a_hundred_mounts_leave_nothing_behind(tmp_path: Path) -> None:
    probes = [Probe() for _ in range(100)]
    before = sorted(os.listdir("/proc/self/fd"))

    async def use(probe: Probe, place: Path) -> None:
        place.mkdir()
        async with triofuse.mount(probe, place, strict=True):
            assert await read(f"{place}/plain") == TEXT

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number, probe in enumerate(probes):
                nursery.start_soon(use, probe, tmp_path / str(number))

    assert all(probe.calls["destroy"] == 1 for probe in probes)
    assert not any(probe.handles for probe in probes)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_allow_root_lets_in_root_and_the_owner_only(mountpoint: str) -> None:
    options = triofuse.MountOptions(allow_root=True)
    script = f"import os; os.setuid(65534); open('{mountpoint}/plain').read()"
    with trio.fail_after(20):
        async with triofuse.mount(Probe(), mountpoint, options):
            assert await read(f"{mountpoint}/plain") == TEXT
            result = await trio.run_process(
                [sys.executable, "-c", script], capture_stderr=True, check=False
            )

    assert b"PermissionError" in result.stderr
