"""git over a slow mount: its progress timer fails nothing, and kill ends it at once."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import triofuse
from memfs import MemFS
from tests.session.clients import outcome, start, until

#: Seconds that each request takes, and between two signals.
LATENCY = 0.02
PERIOD = 0.03

#: What a clone waits for; the rest, RELEASE and its kin, nobody waits for.
SLOW = [
    *("lookup", "getattr", "setattr", "mkdir", "create", "symlink", "link", "unlink"),
    *("rename", "rename2", "open", "read", "write", "opendir", "readdirplus"),
]

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(shutil.which("git") is None, reason="there is no git"),
]


class SlowMemory(MemFS):
    """memfs on the other side of the world.

    Attributes:
      asked: How often it was asked to make a directory or to create a file.
    """

    asked = 0


def _slowly(method: str) -> Callable[[SlowMemory, Any], Awaitable[Any]]:
    async def call(self: SlowMemory, request: Any) -> Any:
        self.asked += method in ("mkdir", "create")
        await trio.sleep(LATENCY)
        return await getattr(MemFS, method)(self, request)

    return call


for _method in SLOW:
    setattr(SlowMemory, _method, _slowly(_method))


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A repository with one commit of three files."""
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    for name in ("one", "two", "folder/three"):
        (source / name).write_text(f"{name}\n" * 100)
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "--template="], ["add", "."], ["commit", "-qm", "1"]):
        subprocess.run([*git, *words], check=True)
    return str(source)


def clone(repository: str, where: str) -> tuple[str, ...]:
    return ("git", "clone", "--progress", "--template=", repository, where)


def has_caught(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^SigCgt:\t(\w+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> number - 1 & 1)


async def tick(process: subprocess.Popen[str]) -> None:
    """Send the signal of git's timer; or stop and continue, which it survives too."""
    while process.poll() is None:
        if has_caught(process.pid, signal.SIGALRM):
            process.send_signal(signal.SIGALRM)
        else:
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
        await trio.sleep(PERIOD)


async def test_a_clone_bears_signals_all_the_time(
    mountpoint: str, repository: str
) -> None:
    with trio.fail_after(110):
        async with triofuse.mount(SlowMemory(), mountpoint) as session:
            git = await start(*clone(repository, f"{mountpoint}/clone"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick, git)
                _, said = await outcome(git)
            assert session.statistics().interrupted == 0
            same = ["diff", "-r", "--exclude=.git", repository, f"{mountpoint}/clone"]
            await trio.run_process(same, capture_stdout=True)

    assert git.returncode == 0, said


@pytest.mark.parametrize("survived", [False, True])
async def test_a_clone_that_is_killed_is_gone(
    survived: bool, mountpoint: str, repository: str
) -> None:
    took: list[float] = []
    with trio.fail_after(50):
        async with triofuse.mount(SlowMemory(), mountpoint) as session:
            for number in range(4):  # the machine may be busy with something else
                memory = session.filesystem
                assert isinstance(memory, SlowMemory)
                memory.asked = 0
                git = await start(*clone(repository, f"{mountpoint}/{number}"))
                await until(lambda: memory.asked >= 5 + number)  # noqa: B023
                if survived:
                    git.send_signal(signal.SIGSTOP)
                    git.send_signal(signal.SIGCONT)
                    await trio.sleep(LATENCY / 2)
                began = time.perf_counter()
                git.kill()
                await outcome(git)
                took.append(time.perf_counter() - began)
                assert git.returncode == -signal.SIGKILL

    assert min(took) < 0.1
