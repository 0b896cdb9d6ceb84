"""Whether a caller survives its signals, as /proc shows it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from triofuse.device import callers
from triofuse.device.callers import Standing, standing_of

DYING, SURVIVES, UNSEEN = Standing.DYING, Standing.SURVIVES, Standing.UNSEEN


def mask(*signals: int) -> int:
    return sum(1 << number - 1 for number in signals)


def status(
    *,
    state: str = "D (disk sleep)",
    tracer: int = 0,
    own: int = 0,
    shared: int = 0,
    blocked: int = 0,
    ignored: int = 0,
    caught: int = 0,
    groups: str = "",
) -> bytes:
    return (
        f"Name:\tSigPnd:\\nffff\nUmask:\t0022\nState:\t{state}\nTgid:\t7\n"
        f"TracerPid:\t{tracer}\nGroups:\t{groups}\nThreads:\t3\nSigQ:\t1/96364\n"
        f"SigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n"
        f"SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\nSeccomp:\t0\n"
    ).encode()


KILL, TERM, QUIT, STOP = (
    mask(number)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT, signal.SIGSTOP)
)


@pytest.mark.parametrize(
    ("found", "standing"),
    [
        (status(), SURVIVES),
        (status(own=KILL), DYING),
        (status(own=KILL, tracer=5), DYING),
        (status(shared=KILL), DYING),
        (status(shared=TERM), DYING),
        (status(own=QUIT), DYING),
        (status(shared=mask(signal.SIGRTMAX)), DYING),
        (status(shared=TERM, blocked=TERM), SURVIVES),
        (status(own=TERM, ignored=TERM), SURVIVES),
        (status(shared=TERM, caught=TERM | QUIT), SURVIVES),
        (status(shared=TERM | QUIT, caught=TERM), DYING),
        (status(shared=QUIT, tracer=5), SURVIVES),
        (status(shared=STOP), SURVIVES),
        (status(shared=mask(signal.SIGWINCH, signal.SIGCHLD)), SURVIVES),
        (status(own=KILL, state="R (running)"), DYING),
        (status(own=KILL, state="S (sleeping)"), UNSEEN),  # this one does not wait
        (status(own=KILL, groups=" ".join(map(str, range(65536)))), DYING),
        (b"", UNSEEN),
    ],
)
def test_only_what_ends_the_caller_is_fatal(
    found: bytes, standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_status", lambda _: found)

    assert standing_of(7) is standing


def test_who_runs_is_seen() -> None:
    assert standing_of(os.getpid()) is SURVIVES


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_who_is_not_in_proc_is_unseen(pid: int) -> None:
    assert standing_of(pid) is UNSEEN


ABROAD = """
import os
from triofuse.device.callers import standing_of
print(os.getpid(), standing_of(os.getpid()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace takes root")
def test_nobody_is_seen_in_the_proc_of_another_namespace() -> None:
    command = ["unshare", "--fork", "--pid", sys.executable, "-c", ABROAD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)

    assert done.stdout == f"1 {UNSEEN}\n", done.stderr
