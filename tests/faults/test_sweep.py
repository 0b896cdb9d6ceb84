"""A short sweep; ``python -m tests.faults.sweep`` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.sweep import ENDINGS

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces"),
]


def test_nothing_stays_mounted_whenever_a_server_is_ended() -> None:
    command = [sys.executable, "-m", "tests.faults.sweep", "--instants", "27"]

    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.stdout.endswith("\nnothing is left mounted\n"), done.stdout
    assert done.stdout.count("{'gone': 3}") == len(ENDINGS)


#: Forks this process, whose threads are at rest, and lives in the child.
PROGRAM = """
import sys
import attrs
from tests.faults.sweep import ENDINGS, PHASES, Instant, live
(killed,) = (ending for ending in ENDINGS if ending.name.startswith("SIGKILL"))
bare = attrs.evolve(killed, auto_unmount=False)
for phase in PHASES[1:]:
    print(live(bare, sys.argv[1], Instant(phase, 100))[0])
"""


def test_a_sweep_sees_what_stays_mounted(mountpoint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mountpoint],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.stdout == "is left mounted\n" * 2
