"""What the README says works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import triofuse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_two_commands_set_up_one_shows_and_one_tests() -> None:
    assert COMMANDS == [
        "python3 -m venv .venv",
        ".venv/bin/pip install -e '.[test]'",
        ".venv/bin/python examples/tour.py",
        ".venv/bin/python -m pytest",
        ".venv/bin/python -m tests.benchmarks --picture tests/benchmarks/figures.svg",
    ]


def test_the_set_up_commands_set_up(tmp_path: Path) -> None:
    """In a copy of the checkout, up to a test that runs there."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    if tracked.returncode:
        pytest.skip("not in a git checkout")
    for name in filter(None, tracked.stdout.decode().split("\0")):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())

    for command in COMMANDS[:2]:
        subprocess.run(command, shell=True, cwd=tmp_path, check=True, timeout=300)
    one = f"{COMMANDS[3]} -q tests/test_layering.py"
    subprocess.run(one, shell=True, cwd=tmp_path, check=True, timeout=300)


def here(command: str) -> list[str]:
    """Return a command with this interpreter in place of the README's."""
    return command.replace(".venv/bin/python", sys.executable).split()


@pytest.mark.mount
def test_the_main_command_mounts_and_shows_a_filesystem() -> None:
    tour = subprocess.run(
        here(COMMANDS[2]), cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert tour.returncode == 0, tour.stderr
    assert "the copy is the same" in tour.stdout
    assert "compiled" in tour.stdout
    assert "unmounted" in tour.stdout


@pytest.mark.mount
def test_the_picture_can_be_drawn_anew(tmp_path: Path) -> None:
    picture = tmp_path / "figures.svg"
    shorter = "--quick --rounds 1 --server triofuse --only stat --picture"
    command = [*here(COMMANDS[4]), *shorter.split(), str(picture)]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)

    assert picture.read_text().startswith("<svg")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to hide /dev/fuse")
def test_without_the_device_the_main_command_says_what_is_missing() -> None:
    hide = 'mount -t tmpfs none /dev && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "sh", *here(COMMANDS[2])]

    tour = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    if "unshare failed" in tour.stderr or "mount: /dev" in tour.stderr:
        pytest.skip("may not unshare")
    assert tour.returncode == 1
    assert "/dev/fuse" in tour.stderr
    assert "modprobe fuse" in tour.stderr
    assert "Traceback" not in tour.stderr


@pytest.mark.mount
async def test_the_filesystem_of_the_readme_serves(mountpoint: str) -> None:
    source, _, last = BLOCKS[0].rstrip().rpartition("\n")
    names: dict[str, object] = {}
    exec(source, names)
    hello = names["Hello"]
    assert last == 'triofuse.run(Hello(), "/mnt/hello")'
    assert isinstance(hello, type)

    with trio.fail_after(10):
        async with triofuse.mount(hello(), mountpoint, strict=True):
            path = Path(mountpoint, "hello")
            text = await trio.to_thread.run_sync(path.read_text)

    assert text == "Hello from trio!\n"


async def test_the_test_of_the_readme_passes() -> None:
    names: dict[str, object] = {}
    exec(BLOCKS[0].rpartition("\n\n")[0].replace("triofuse.run", "#"), names)
    exec(BLOCKS[2], names)
    test = names["test_hello_can_be_read"]
    assert callable(test)

    with trio.fail_after(10):
        await test()
