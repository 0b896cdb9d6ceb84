"""Programs as they are: git, dpkg, pip; what a power cut leaves of what they did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.disks.survey import BROKEN, LOST, OK, survey
from triofuse.faults import EXT4, POSIX, Disk, Model

pytestmark = pytest.mark.mount


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")


def run(
    *command: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    names = ("GIT_AUTHOR", "GIT_COMMITTER")
    env = {f"{name}_NAME": "a" for name in names} | {
        f"{name}_EMAIL": "a@example.org" for name in names
    }
    env |= {"GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def must(*command: str | Path, cwd: Path | None = None) -> None:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stderr


# --- git


def check_git(path: Path, marks: tuple[str, ...]) -> str:
    """Two commits if one was said to be made; all that is reachable is there."""
    repository = path / "repository"
    log = run("git", "log", "--format=%s", cwd=repository)
    if log.returncode or run("git", "fsck", cwd=repository).returncode:
        return BROKEN
    return LOST if log.stdout.split() != ["two", "one"] and marks else OK


@pytest.mark.parametrize(
    ("settings", "model", "may_be", "seen"),
    [
        # The rename of the branch is not synced, but in order: the commit is whole.
        ("all", EXT4, {OK, LOST}, {LOST}),
        # git syncs no directory: a file system must do that by itself.
        ("all", POSIX, {OK, LOST, BROKEN}, {LOST, BROKEN}),
        ("none", EXT4, {OK, LOST, BROKEN}, {LOST, BROKEN}),
    ],
)
def test_git_keeps_what_core_fsync_asks_for(
    disk: Disk, settings: str, model: Model, may_be: set[str], seen: set[str]
) -> None:
    needs("git")
    repository = disk / "repository"
    must("git", "init", "-q", repository)
    for name, value in [
        ("core.fsync", settings),
        ("core.fsyncMethod", "fsync"),
        ("maintenance.auto", "false"),  # it would go on in the background
    ]:
        must("git", "config", name, value, cwd=repository)
    (repository / "file").write_text("one")
    must("git", "add", "file", cwd=repository)
    must("git", "commit", "-qm", "one", cwd=repository)

    def program(path: Path) -> None:
        (repository / "file").write_text("two")
        must("git", "commit", "-qam", "two", cwd=repository)
        disk.mark("two")

    found = survey(disk, program, check_git, model, limit=4)

    assert found.kinds <= may_be, found
    assert seen <= found.kinds, found


# --- dpkg and pip: what they unpack is not synced


def test_dpkg_unpacks_without_syncing(disk: Disk, tmp_path: Path) -> None:
    """``dpkg -x`` is tar: that dpkg syncs is true of installing only."""
    needs("dpkg-deb")
    (tmp_path / "tree/DEBIAN").mkdir(parents=True)
    (tmp_path / "tree/DEBIAN/control").write_text(
        "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\n"
        "Description: a\n"
    )
    (tmp_path / "tree/file").write_bytes(b"x" * 5000)
    must("dpkg-deb", "-b", tmp_path / "tree", tmp_path / "a.deb")

    def program(path: Path) -> None:
        must("dpkg", "-x", tmp_path / "a.deb", path / "root")
        disk.mark("unpacked")

    def check(path: Path, marks: tuple[str, ...]) -> str:
        file = path / "root/file"
        if marks and not file.exists():
            return LOST
        return OK if not marks or file.read_bytes() == b"x" * 5000 else BROKEN

    assert {LOST, BROKEN} <= survey(disk, program, check, EXT4).kinds


def test_pip_installs_without_syncing(disk: Disk, tmp_path: Path) -> None:
    if run(sys.executable, "-m", "pip", "--version").returncode:
        pytest.skip("no pip here")
    wheel = _wheel(tmp_path)

    def program(path: Path) -> None:
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps")
        must(*pip, "--no-compile", "--target", path / "site", wheel)
        disk.mark("installed")

    def check(path: Path, marks: tuple[str, ...]) -> str:
        module = path / "site/module_of_a.py"
        if marks and not module.exists():
            return LOST
        return OK if not marks or module.read_text() == "x = 1\n" else BROKEN

    found = survey(disk, program, check, EXT4, limit=4)

    assert LOST in found.kinds, found


def _wheel(directory: Path) -> Path:
    import zipfile

    wheel = directory / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("module_of_a.py", "x = 1\n")
        info = "a-1.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        names = [
            "module_of_a.py",
            *(f"{info}/{n}" for n in ("METADATA", "WHEEL", "RECORD")),
        ]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return wheel
