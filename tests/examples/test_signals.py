"""Programs that get signals all the time: a profiler's, a progress bar's, a timer's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import triofuse
from passthrough import Passthrough

#: On a local filesystem none of these calls fails with EINTR, so few programs try them
#: again.  Python itself does for open(2) and fsync(2), and so is asked for others.
CALLS = """
import os, signal, sys
os.chdir(sys.argv[1])
signals = 0
def count(*_):
    global signals
    signals += 1
signal.signal(signal.SIGALRM, count)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while signals < 300:
    os.mkdir("one")
    os.chmod("one", 0o700)
    os.rename("one", "two")
    os.stat("two")
    os.rmdir("two")
    os.mknod("file")
    os.truncate("file", 5)
    os.unlink("file")
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.mount
def test_a_signal_ends_no_call_that_waits_for_nothing(mounted: Path) -> None:
    command = [sys.executable, "-c", CALLS, str(mounted)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=50)

    assert (done.returncode, done.stderr) == (0, "")


async def test_a_signal_ends_no_fsync(tmp_path: Path) -> None:
    passthrough = Passthrough(tmp_path, backed=False)
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)

    with trio.CancelScope() as interrupted:
        interrupted.cancel()
        await passthrough.fsync(triofuse.Fsync(0, 2, 0, 0, 0, fd, 0))

    assert not interrupted.cancelled_caught
    os.close(fd)
    await passthrough.destroy()
