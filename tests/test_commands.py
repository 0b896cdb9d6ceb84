"""Every command that a text of this repository names works, from a fresh clone."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "examples" / "README.md"

#: A line of a console, or what stands in backticks or is indented in a docstring.
COMMAND = re.compile(
    r"(?:^\$ |`|^ {4,})"
    r"((?:[A-Z_]+=\w+ )?(?:\.venv/bin/)?(?:python3? (?:-m )?[\w./]+|pytest )[^`\n#]*)",
    re.MULTILINE,
)

#: What only sets up, what other tests run, and what needs more than the clone.
NOT_TRIED = (
    "python3 -m venv",
    "pip install",
    "python examples/tour.py",
    "python -m pytest",
    "python -m tests.fuzz.atheris_wire",
    "python -m tests.fsspec.",
    "python -m tests.examples.tutorial",
    "python examples/lessons/watch.py",
    "python examples/lessons/12_raw.py",
)


def commands() -> list[str]:
    """Return what README, CHANGELOG, tables and docstrings tell people to run."""
    texts = [
        *ROOT.glob("*.md"),
        *ROOT.glob("tests/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
    for folder in ("triofuse", "examples", "tests"):
        texts += ROOT.glob(f"{folder}/**/*.py")
    found = {
        " ".join(command.replace(".venv/bin/", "").split())
        for text in texts
        for line in COMMAND.findall(_told(text))
        for command in line.split(" && ")
    }
    return sorted(it for it in found if not it.startswith(NOT_TRIED))


def _told(path: Path) -> str:
    """Return what of a file is addressed to people: of code, the docstrings."""
    text = path.read_text()
    if path == TUTORIAL:  # tests/examples/test_tutorial.py runs what its shells show
        return re.sub(r"^```console.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    if path.suffix == ".md":
        return text
    return "\n".join(re.findall(r'"""(.*?)"""', text, re.DOTALL))


def words_of(command: str) -> tuple[dict[str, str], list[str], list[str]]:
    """Split a command into what it adds to the environment, program and arguments."""
    words = [word.strip("[]") for word in shlex.split(command)]
    environment = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if words[0] == "pytest":
        return environment, [sys.executable, "-m", "pytest"], words[1:]
    count = 3 if words[1] == "-m" else 2
    return environment, [sys.executable, *words[1:count]], words[count:]


def source_of(clone: Path, program: list[str]) -> str:
    """Return what the program of a command is made of."""
    name = program[-1]
    if not name.endswith(".py"):
        name = name.replace(".", "/")
        name += "/__main__.py" if (clone / name).is_dir() else ".py"
    return (clone / name).read_text()


@pytest.mark.parametrize("command", commands())
def test_a_command_that_is_named_works_from_a_fresh_clone(
    command: str, clone: Path
) -> None:
    """What takes arguments tells its usage, which has all options that are named."""
    environment, program, arguments = words_of(command)
    if program[-1] == "pytest":
        trial = [*arguments, "--collect-only", "-q"]
    elif re.search(r"argparse|\bmain\((?!\))", source_of(clone, program)):
        trial = ["--help"]
    else:
        trial = arguments
    clean = {key: os.environ[key] for key in os.environ.keys() - {"PYTEST_ADDOPTS"}}

    done = subprocess.run(
        [*program, *trial],
        cwd=clone,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    if trial == ["--help"]:
        options = {word for word in arguments if word.startswith("-")}
        assert options <= set(re.findall(r"(?<![-\w])--?[\w-]+", done.stdout))


def test_commands_are_found_where_they_stand() -> None:
    """In a console of the README, in backticks, and in docstrings."""
    named = {
        "python -m tests.benchmarks --picture tests/benchmarks/figures.svg",
        "python -m tests.faults.soak",
        "TRIOFUSE_FUZZ=50 pytest tests/fuzz",
        "python examples/hello.py MOUNTPOINT",
        "python examples/lessons/13_image.py IMAGE MOUNTPOINT",
        "python examples/lessons/05_slow.py mnt --trace trace.json",
    }

    assert named <= set(commands())
