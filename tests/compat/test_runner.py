"""``python -m triofuse.compat PROGRAM``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMPAT = [sys.executable, "-m", "triofuse.compat"]


def run(*command: str) -> str:
    done = subprocess.run(
        [*COMPAT, *command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that imports pyfuse3 in each way, and a module beside it."""
    (tmp_path / "beside.py").write_text("word = 'beside'\n")
    path = tmp_path / "program.py"
    path.write_text(
        "import subprocess, sys\n"
        "import beside, pyfuse3, pyfuse3.asyncio\n"
        "from pyfuse3 import FUSEError, Operations\n"
        "from pyfuse3._pyfuse3 import InodeT\n"
        "print(pyfuse3.__name__, pyfuse3.asyncio.enable.__module__, beside.word)\n"
        "print(sys.argv[1:], __name__, pyfuse3.Operations is Operations)\n"
    )
    return path


def test_a_program_gets_ours_for_pyfuse3(program: Path) -> None:
    assert run(str(program), "a", "-b") == (
        "triofuse.compat.pyfuse3 triofuse.compat.pyfuse3.guest beside\n"
        "['a', '-b'] __main__ True"
    )


def test_its_child_programs_get_ours_too(tmp_path: Path, program: Path) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import subprocess, sys\n"
        f"subprocess.check_call([sys.executable, {str(program)!r}, 'c'])\n"
    )

    assert run(str(parent)).startswith("triofuse.compat.pyfuse3 ")


def test_a_module_may_be_run(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(program.parent))

    assert run("-m", "program", "x").endswith("['x'] __main__ True")


def test_a_program_is_found_in_path(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    assert "triofuse.compat.pyfuse3" in run("program.py")


def test_what_cannot_be_run_is_said() -> None:
    missing = subprocess.run([*COMPAT, "none"], capture_output=True, text=True)
    nothing = subprocess.run(COMPAT, capture_output=True, text=True)

    assert missing.returncode == nothing.returncode == 2
    assert (
        missing.stderr == "none: there is no such file, and no such program in PATH\n"
    )
    assert nothing.stderr.startswith("usage: python -m triofuse.compat PROGRAM")
    assert run("--help").startswith("usage: python -m triofuse.compat PROGRAM")
