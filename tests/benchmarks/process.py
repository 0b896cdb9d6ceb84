"""What /proc tells of a process, and where it may run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["cpu_seconds", "hog", "memory", "peak_rss", "pin"]

#: The clock of a process that counts its CPU time as the scheduler does.
_CPUCLOCK_SCHED = 2


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process; 0 is no process.

    Threads that have ended count too.

    Source: clock_getcpuclockid(3); in nanoseconds, by the scheduler's account.
    """
    if pid == 0:
        return 0.0
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def memory(pid: int) -> tuple[int, int]:
    """Return RSS and PSS of a process, bytes."""
    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    rss, pss = (1024 * int(words[words.index(key) + 1]) for key in ("Rss:", "Pss:"))
    return rss, pss


def peak_rss(pid: int, *, reset: bool = False) -> int:
    """Return the highest RSS so far, bytes; ``reset`` begins anew."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    words = Path(f"/proc/{pid}/status").read_text().split()
    return 1024 * int(words[words.index("VmHWM:") + 1])


def pin(pid: int, cpus: Iterable[int]) -> None:
    """Let all threads of a process run on these CPUs only."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), cpus)


@contextlib.contextmanager
def hog(cpus: Iterable[int]) -> Iterator[None]:
    """Have a program compute on these CPUs, without a pause, for a block."""
    program = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            pin(process.pid, cpus)
            yield
        finally:
            process.kill()
