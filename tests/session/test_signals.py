"""Callers that get signals while they wait: a survivor's request goes on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.session.clients import outcome, start, until
from tests.session.probe import Probe
from triofuse.device.callers import Standing, standing_of
from triofuse.session.control import signals


class Slow(Probe):
    """Makes no directory before the test releases it."""

    async def mkdir(self, request: t.Mkdir) -> t.Entry:
        self.arrived.set()
        await self._wait("mkdir")
        return t.Entry(t.FileAttr(9, 0o40755))

    async def flush(self, request: t.Flush) -> None:
        self.arrived.set()
        await self._wait("flush")

    async def _wait(self, what: str) -> None:
        try:
            await self.let_go.wait()
        except trio.Cancelled:
            self.ended.append("cancelled")
            raise
        self.ended.append(what)


class Hasty(Slow):
    """The same, but any signal interrupts it."""

    interruptible = frozenset({"mkdir"})


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Standing]:
    """The standing of callers that each check has found."""
    seen: list[Standing] = []

    def look(pid: int) -> Standing:
        seen.append(standing_of(pid))
        return seen[-1]

    monkeypatch.setattr(signals, "standing_of", look)
    return seen


#: A caller, that says how mkdir(2) ends; what goes before it is up to the test.
MKDIR = """
import ctypes, os, signal, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
path = sys.argv[1].encode()
def mkdir():
    failed = libc.mkdir(path, 0o755)
    os.write(1, os.strerror(ctypes.get_errno()).encode() if failed else b"made")
def catch(number):
    signal.signal(number, lambda *_: None)
    signal.siginterrupt(number, False)
"""

#: What is done in a thread beside one that sleeps.
IN_THREAD = "t = threading.Thread(target=mkdir); t.start(); t.join()"


@pytest.mark.mount
@pytest.mark.parametrize(
    ("how", "prepared"),
    [
        (signal.SIGALRM, "catch(signal.SIGALRM); mkdir()"),
        (signal.SIGTERM, "catch(signal.SIGTERM); mkdir()"),
        (signal.SIGSTOP, "mkdir()"),
        (signal.SIGRTMIN + 3, "catch(signal.SIGRTMIN + 3); mkdir()"),
    ],
)
async def test_a_signal_that_the_caller_survives_changes_nothing(
    how: int, prepared: str, mountpoint: str, seen: list[Standing]
) -> None:
    slow = Slow()
    with trio.fail_after(20):
        async with t.mount(slow, mountpoint, strict=True) as session:
            script = f"{MKDIR}{prepared}"
            caller = await start(sys.executable, "-c", script, f"{mountpoint}/new")
            await slow.arrived.wait()
            os.kill(caller.pid, how)
            await until(lambda: len(seen) > 3)
            os.kill(caller.pid, signal.SIGCONT)
            slow.let_go.set()
            said = await outcome(caller)

            assert session.statistics().interrupted == 0

    assert set(seen) == {Standing.SURVIVES}
    assert (caller.returncode, said) == (0, ("made", ""))


@pytest.mark.mount
@pytest.mark.parametrize("prepared", ["mkdir()", IN_THREAD])
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT, signal.SIGRTMIN + 3]
)
async def test_a_caller_that_is_killed_is_gone(
    how: int, prepared: str, mountpoint: str, seen: list[Standing]
) -> None:
    slow = Slow()
    with trio.fail_after(20):
        async with t.mount(slow, mountpoint, strict=True):
            no_core = "import resource; resource.setrlimit(4, (0, 0));"
            script = f"{MKDIR}{no_core}{prepared}"
            caller = await start(sys.executable, "-c", script, f"{mountpoint}/new")
            await slow.arrived.wait()
            os.kill(caller.pid, how)
            await outcome(caller)

    assert seen[-1] is Standing.DYING
    assert (caller.returncode, slow.ended) == (-how, ["cancelled"])


@pytest.mark.mount
async def test_a_caller_that_has_survived_a_signal_can_be_killed(
    mountpoint: str, seen: list[Standing]
) -> None:
    took: list[float] = []
    for _ in range(5):  # the machine may be busy with something else, once
        slow = Slow()
        seen.clear()
        with trio.fail_after(20):
            async with t.mount(slow, mountpoint, strict=True):
                script = f"{MKDIR}catch(signal.SIGALRM); mkdir()"
                caller = await start(sys.executable, "-c", script, f"{mountpoint}/new")
                await slow.arrived.wait()
                caller.send_signal(signal.SIGALRM)
                await until(lambda: len(seen) > 1)
                began = time.perf_counter()
                caller.kill()
                await outcome(caller)
                took.append(time.perf_counter() - began)

        assert (caller.returncode, slow.ended) == (-signal.SIGKILL, ["cancelled"])
    assert min(took) < 0.1


@pytest.mark.mount
async def test_what_the_filesystem_names_gives_way_to_any_signal(
    mountpoint: str,
) -> None:
    hasty = Hasty()
    with trio.fail_after(20):
        async with t.mount(hasty, mountpoint, strict=True):
            script = f"{MKDIR}catch(signal.SIGALRM); mkdir()"
            caller = await start(sys.executable, "-c", script, f"{mountpoint}/new")
            await hasty.arrived.wait()
            caller.send_signal(signal.SIGALRM)
            said = await outcome(caller)

    assert said == ("Interrupted system call", "")


@pytest.mark.mount
async def test_a_signal_during_close_changes_nothing(
    mountpoint: str, seen: list[Standing]
) -> None:
    slow = Slow()
    close = "fd = os.open(path, os.O_RDONLY); os.close(fd); print('closed')"
    with trio.fail_after(20):
        async with t.mount(slow, mountpoint, strict=True):
            script = f"{MKDIR}catch(signal.SIGALRM); {close}"
            caller = await start(sys.executable, "-c", script, f"{mountpoint}/plain")
            await slow.arrived.wait()
            caller.send_signal(signal.SIGALRM)
            await until(lambda: len(seen) > 1)
            slow.let_go.set()
            said = await outcome(caller)

    assert (said, slow.ended) == (("closed\n", ""), ["flush"])


#: Polls a file by poll(2) and by epoll(7), with a timer's signal meanwhile.
POLL = """
import ctypes, os, select, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
fd = os.open(sys.argv[1], os.O_RDONLY)
asked = ctypes.create_string_buffer(struct.pack("ihh", fd, select.POLLIN, 0))
count = libc.poll(asked, 1, 10_000)
name = os.strerror(ctypes.get_errno()) if count < 0 else count
print(name, struct.unpack("ihh", asked.raw[:8])[2], flush=True)
epoll = select.epoll()
epoll.register(fd, select.EPOLLIN)
print(epoll.poll(10) == [(fd, select.EPOLLIN)])
"""


class Waiting(Slow):
    """Answers a POLL when the test says, and has something to read from the third on."""

    async def poll(self, request: t.Poll) -> int:
        self.calls["poll"] += 1
        if self.calls["poll"] > 2:
            return select.POLLIN
        self.arrived.set()
        await self._wait("poll")
        return 0

    async def flush(self, request: t.Flush) -> None:
        pass


@pytest.mark.mount
async def test_a_signal_during_poll_makes_no_file_fail(mountpoint: str) -> None:
    waiting = Waiting()
    with trio.fail_after(20):
        async with t.mount(waiting, mountpoint, strict=True):
            caller = await start(sys.executable, "-c", POLL, f"{mountpoint}/plain")
            for _ in ("poll", "epoll"):
                await waiting.arrived.wait()
                waiting.arrived = trio.Event()
                caller.send_signal(signal.SIGALRM)
            said = await outcome(caller)

    assert said == ("Interrupted system call 0\nTrue\n", "")
    assert waiting.ended == ["cancelled", "cancelled"]


#: Waits for mkdir(2) in a pid namespace of its own.
ABROAD = ["unshare", "--fork", "--pid", "--kill-child", sys.executable, "-c"]


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace takes root")
async def test_a_caller_in_a_namespace_below_is_seen(
    mountpoint: str, seen: list[Standing]
) -> None:
    slow = Slow()
    with trio.fail_after(20):
        async with t.mount(slow, mountpoint, strict=True):
            script = f"{MKDIR}catch(signal.SIGALRM); mkdir()"
            caller = await start(*ABROAD, script, f"{mountpoint}/new")
            await slow.arrived.wait()
            os.kill(child_of(caller.pid), signal.SIGALRM)
            await until(lambda: len(seen) > 1)
            slow.let_go.set()
            said = await outcome(caller)

    assert set(seen) == {Standing.SURVIVES}
    assert said == ("made", "")


#: Serves `Slow` in a pid namespace of its own, where others are not to be seen.
SERVER_ABROAD = """
import sys, trio, triofuse
from tests.session.test_signals import Slow
class Telling(Slow):
    async def mkdir(self, request):
        print(request.pid, flush=True)
        return await super().mkdir(request)
async def main():
    async with triofuse.mount(Telling(), sys.argv[1]) as session:
        print("ready", flush=True)
        await session.wait_unmounted()
trio.run(main)
"""


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace takes root")
def test_a_caller_that_cannot_be_seen_is_gone_soon_after_it_was_killed(
    mountpoint: str,
) -> None:
    command = [*ABROAD, SERVER_ABROAD, mountpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n"
            command = [sys.executable, "-c", f"{MKDIR}mkdir()", f"{mountpoint}/new"]
            with subprocess.Popen(command) as caller:
                assert server.stdout.readline() == "0\n"
                caller.kill()
                assert caller.wait(20) == -signal.SIGKILL
            subprocess.run(["umount", mountpoint], check=True)
            assert server.wait(20) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("names", [{"raed"}, "read", {"read", "forget"}])
async def test_what_is_no_method_cannot_be_interruptible(names: object) -> None:
    class Misspelt(Probe):
        interruptible = names  # type: ignore[assignment]

    with pytest.raises(ValueError, match=r"Misspelt.interruptible.*(raed|read|forget)"):
        async with t.mount(Misspelt(), "/nowhere"):
            raise AssertionError
