"""``missing_fsync.py`` finds each of the classic mistakes, and nothing where all is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "missing_fsync.py"


def run(way: str, mountpoint: str, model: str) -> tuple[int, str]:
    command = [sys.executable, str(EXAMPLE), way, mountpoint, "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.mount
@pytest.mark.parametrize("model", ["posix", "ext4", "nothing"])
def test_the_right_way_survives_in_all_states(mountpoint: str, model: str) -> None:
    status, output = run("right", mountpoint, model)

    assert status == 0, output
    assert output.startswith("right in all of ")


@pytest.mark.mount
@pytest.mark.parametrize(
    ("way", "model", "found", "story"),
    [
        ("in-place", "posix", "b''", "survived (POSIX): truncate config to 0"),
        ("in-place", "ext4", "b''", "survived (ext4-ordered): truncate config to 0"),
        ("rename", "posix", "b''", "lost: write config.new 0+14"),
        ("rename", "nothing", "b''", "lost: write config.new 0+14"),
        (
            "rename-synced",
            "posix",
            r"b'colour = red\n'",
            "lost: rename config.new -> config",
        ),
        (
            "rename-synced",
            "ext4",
            r"b'colour = red\n'",
            "lost: rename config.new -> config",
        ),
    ],
)
def test_a_mistake_is_found_and_its_story_told(
    mountpoint: str, way: str, model: str, found: str, story: str
) -> None:
    status, output = run(way, mountpoint, model)

    assert status == 1, output
    assert f"found {found} in place of" in output
    assert f"  {story}\n" in output


@pytest.mark.mount
def test_ext4_forgives_a_rename_without_fsync_onto_another_file(
    mountpoint: str,
) -> None:
    """Its auto_da_alloc was made for this mistake."""
    status, output = run("rename", mountpoint, "ext4")

    assert status == 0, output
