"""Filesystems to mirror that a test cannot expect to find in place."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mount(*words: str | Path) -> None:
    command = ["mount", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


def _unmount(path: Path) -> None:
    subprocess.run(["umount", str(path)], check=True)


@contextmanager
def ext4(home: Path, *options: str, mebibytes: int = 32) -> Iterator[Path]:
    """Make an ext4 of its own and mount it."""
    image, path = home / "image", home / "source"
    with open(image, "wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run(["mkfs.ext4", "-q", *options, str(image)], check=True)
    path.mkdir()
    _mount("-o", "loop", image, path)
    try:
        path.chmod(0o755)
        yield path
    finally:
        _unmount(path)


@contextmanager
def overlay(home: Path) -> Iterator[Path]:
    """Mount an overlayfs, as containers have: it has no file handles."""
    upper, path = home / "upper", home / "source"
    upper.mkdir()
    path.mkdir()
    _mount("-t", "tmpfs", "upper", upper)
    try:
        lower, over, work = (upper / name for name in ("lower", "over", "work"))
        for directory in (lower, over, work):
            directory.mkdir()
        layers = f"lowerdir={lower},upperdir={over},workdir={work}"
        _mount("-t", "overlay", "overlay", "-o", layers, path)
        try:
            path.chmod(0o755)
            yield path
        finally:
            _unmount(path)
    finally:
        _unmount(upper)
