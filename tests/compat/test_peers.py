"""The tests of others, with triofuse in place of their library.

``.ci/peers`` installs them.  What is not there is skipped.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.mount

PEERS = Path(os.environ.get("TRIOFUSE_PEERS", "~/.cache/triofuse-peers")).expanduser()


def found(pattern: str) -> Path:
    """Return what a pattern finds; skip the test if it is nothing."""
    for path in sorted(PEERS.glob(pattern)):
        return path
    pytest.skip(f"{PEERS} has no {pattern}: .ci/peers installs it")


def outcome(
    python: str, *arguments: str, folder: Path, **variables: str
) -> tuple[int, str]:
    """Run tests in a folder, with triofuse standing in; return status and output."""
    command = [python, "-m", "triofuse.compat", "-m", "pytest", "-q", *arguments]
    environment = {
        key: os.environ[key] for key in os.environ.keys() - {"PYTEST_ADDOPTS"}
    }
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=900,
    )
    return done.returncode, done.stdout + done.stderr


def test_pyfuse3s_own_tests_pass(tmp_path: Path) -> None:
    source = found("pyfuse3-*/test").parent
    if shutil.which("fusermount") is None:
        pytest.skip("pyfuse3's tests unmount with fusermount: install fuse3")
    copy = Path(shutil.copytree(source, tmp_path / "pyfuse3"))

    status, said = outcome(sys.executable, "--installed", "test", folder=copy)

    assert status == 0, said
    assert "19 passed" in said


def test_borgs_tests_of_mounts_pass(tmp_path: Path) -> None:
    python = found("borg/installed").parent / "bin" / "python"
    faulthandler.cancel_dump_traceback_later()  # they take a minute or two

    status, said = outcome(
        str(python),
        "--pyargs",
        "borg.testsuite.archiver",
        "-k",
        "(fuse or mount) and not Remote and not Binary",
        folder=tmp_path,
        BORG_FUSE_IMPL="pyfuse3",
    )

    assert status == 0, said
    assert "10 passed" in said
