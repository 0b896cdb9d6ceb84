"""Programs of others, run with triofuse in place of fusepy and mfusepy."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.compat.programs import wait_until_mounted
from triofuse.compat.__main__ import STANDINS

pytestmark = pytest.mark.mount

SECONDS = 60
ROOT = Path(__file__).parents[2]


def start(mountpoint: str, *command: str) -> subprocess.Popen[str]:
    """Start a Python program with the stand-ins, and wait until it has mounted."""
    path = os.pathsep.join([STANDINS, str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_until_mounted(mountpoint)
    return process


def end(mountpoint: str, process: subprocess.Popen[str]) -> None:
    subprocess.run(["umount", mountpoint], check=True)
    try:
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def make_tree(path: Path) -> None:
    """Make files of many sizes, directories and links."""
    numbers = random.Random(1)
    for directory in range(10):
        (path / f"d{directory}" / "sub").mkdir(parents=True)
        for number in range(20):
            size = numbers.choice([0, 10, 5000, 200_000])
            name = path / f"d{directory}" / "sub" / f"f{number}"
            name.write_bytes(numbers.randbytes(size))
    os.link(path / "d1" / "sub" / "f1", path / "hard")
    os.symlink("d2", path / "link")


def differences(one: Path, other: Path) -> str:
    command = ["diff", "-r", "--no-dereference", str(one), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout + done.stderr


FSSPEC = """
import sys
import fsspec
from fsspec.fuse import run

kind, root, mountpoint, threads = sys.argv[1:]
fs = fsspec.filesystem(kind)
if kind == "memory":
    for name, data in {"a": b"hello", "d/b": bytes(300_000)}.items():
        fs.pipe_file(f"{root}/{name}", data)
run(fs, root, mountpoint, foreground=True, threads=threads == "True")
"""


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_fsspec_reads_and_writes(
    kind: str, threads: bool, mountpoint: str, tmp_path: Path
) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "a").write_bytes(b"hello")
    (source / "d" / "b").write_bytes(bytes(300_000))
    where = str(source) if kind == "file" else "/source"

    process = start(mountpoint, "-c", FSSPEC, kind, where, mountpoint, str(threads))
    try:
        root = Path(mountpoint)
        assert differences(root, source) == ""
        (root / "new").write_bytes(b"written" * 10_000)
        assert (root / "new").read_bytes() == b"written" * 10_000
        (root / "a").unlink()
        (root / "q").mkdir()
        (root / "q").rmdir()
        assert sorted(os.listdir(root)) == ["d", "new"]
    finally:
        end(mountpoint, process)


def test_ratarmount_shows_an_archive_as_it_is(mountpoint: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("ratarmount") is None:
        pytest.skip("ratarmount is not installed")
    source, archive = tmp_path / "source", tmp_path / "archive.tar"
    make_tree(source)
    with tarfile.open(archive, "w") as file:
        file.add(source, ".")

    process = start(mountpoint, "-m", "ratarmount", "-f", str(archive), mountpoint)
    try:
        assert differences(Path(mountpoint), source) == ""
    finally:
        end(mountpoint, process)
