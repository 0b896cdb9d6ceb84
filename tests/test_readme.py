"""What the README says works as it stands."""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import triofuse
from triofuse.running.factory import Factory

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)
SHOW, CHECK, DRAW = COMMANDS
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_part_has_two_commands_and_both_run_in_ci() -> None:
    first = README.partition("\n## A filesystem")[0]

    told = re.findall(r"^\$ (.+)$", first, re.MULTILINE)

    assert told == [SHOW, CHECK]
    assert SHOW.endswith(" .venv/bin/python examples/tour.py")
    assert CHECK.endswith(" .venv/bin/python -m pytest")
    run = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert run.count(SHOW) == run.count(CHECK) == 1


@pytest.mark.mount
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (SHOW, "the copy is the same"),
        (f"{CHECK} -q tests/test_layering.py", " passed"),
    ],
    ids=["show", "check"],
)
def test_a_command_does_its_set_up_itself(command: str, said: str, clone: Path) -> None:
    """In a copy of the checkout; of the tests one file must do."""
    # The set-up waits for a package index, and may well take minutes.
    faulthandler.cancel_dump_traceback_later()
    shutil.rmtree(clone / ".venv", ignore_errors=True)
    clean = {key: os.environ[key] for key in os.environ.keys() - {"PYTEST_ADDOPTS"}}

    done = subprocess.run(
        ["sh", "-c", command],
        cwd=clone,
        env=clean,
        capture_output=True,
        text=True,
        timeout=900,
    )

    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def here(command: str) -> list[str]:
    """Return a command without its set-up, with this interpreter."""
    last = command.rpartition(" && ")[2]
    return last.replace(".venv/bin/python", sys.executable).split()


@pytest.mark.mount
def test_the_main_command_mounts_and_shows_a_filesystem() -> None:
    tour = subprocess.run(
        here(SHOW), cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert tour.returncode == 0, tour.stderr
    assert "the copy is the same" in tour.stdout
    assert "compiled" in tour.stdout
    assert "unmounted" in tour.stdout


@pytest.mark.mount
def test_the_picture_can_be_drawn_anew(tmp_path: Path) -> None:
    picture = tmp_path / "figures.svg"
    shorter = "--quick --rounds 1 --server triofuse --only stat --picture"
    command = [*here(DRAW), *shorter.split(), str(picture)]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)

    assert picture.read_text().startswith("<svg")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to hide /dev/fuse")
def test_without_the_device_the_main_command_says_what_is_missing() -> None:
    hide = 'mount -t tmpfs none /dev && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "sh", *here(SHOW)]

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
async def test_the_tree_of_the_readme_serves(mountpoint: str) -> None:
    source, _, last = BLOCKS[0].rstrip().rpartition("\n")
    names: dict[str, object] = {}
    exec(source, names)
    tree = names["tree"]
    assert last == 'triofuse.run(tree, "/mnt/hello")'
    assert isinstance(tree, triofuse.Tree)

    def use() -> tuple[list[str], str]:
        Path(mountpoint, "notes", "a").write_text("x")
        assert len(Path(mountpoint, "now").read_text()) == 25
        return sorted(os.listdir(mountpoint)), Path(mountpoint, "hello").read_text()

    with trio.fail_after(10):
        async with triofuse.mount(tree, mountpoint, strict=True):
            listed, text = await trio.to_thread.run_sync(use)

    assert (listed, text) == (["hello", "notes", "now"], "Hello from trio!\n")


@pytest.mark.mount
async def test_the_filesystem_of_the_readme_serves(mountpoint: str) -> None:
    source, _, last = BLOCKS[1].rstrip().rpartition("\n")
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
    exec(BLOCKS[1].rpartition("\n\n")[0].replace("triofuse.run", "#"), names)
    exec(BLOCKS[-1], names)
    test = names["test_hello_can_be_read"]
    assert callable(test)

    with trio.fail_after(10):
        await test()


def test_the_command_takes_what_the_readme_says() -> None:
    names = {"MyFilesystem": triofuse.Filesystem, "Path": Path, "triofuse": triofuse}

    exec(f"from __future__ import annotations\n{BLOCKS[3]}", names)

    factory = Factory.of(names["make"])  # type: ignore[arg-type]
    assert factory.source_needed
    assert all(map(factory.takes, ("size=100", "verbose")))
