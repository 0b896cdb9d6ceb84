"""What the tutorial shows, and what really happens.

``python -m tests.examples.tutorial`` writes into examples/README.md what it sees; with
numbers behind it, that of these lessons.

The law: a block of a console is what a shell prints; one that is called ``console
watch`` has behind each command what the kernel sends meanwhile.  ``...`` stands for
anything: within a line, or, alone in it, for any number of lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.conftest import ROOT, mounts_below
from tests.examples.conftest import EXAMPLES, wait_mounted

TEXT = EXAMPLES / "README.md"

_SECTION = re.compile(r"^## (\d+)\. .*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+(?: watch)?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Lesson:
    """A section of the tutorial.

    Attributes:
      number: Its number.
      text: The text.
    """

    number: int
    text: str

    def blocks(self, kind: str) -> list[str]:
        """Return the blocks of a kind: python, console or console watch."""
        return [block for found, block in _BLOCK.findall(self.text) if found == kind]

    @property
    def files(self) -> list[Path]:
        """The programs that it links to."""
        return [EXAMPLES / name for name in re.findall(r"\]\((\S+\.py)\)", self.text)]

    @property
    def program(self) -> Path:
        """The program of the lesson itself."""
        (program,) = EXAMPLES.glob(f"lessons/{self.number:02}_*.py")
        return program


def lessons() -> list[Lesson]:
    """Return all lessons of the tutorial."""
    found = _SECTION.finditer(TEXT.read_text())
    return [Lesson(int(section[1]), section[0]) for section in found]


def steps(block: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block, and what follows it."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        yield command, shown


def agrees(shown: str, seen: str) -> bool:
    """Whether what the text shows is what was seen."""
    pattern = "".join(
        "(?:.*\n)*" if line == "...\n" else re.escape(line).replace(r"\.\.\.", ".*")
        for line in shown.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, seen) is not None


@contextmanager
def desk(place: Path) -> Iterator[Callable[[str], str]]:
    """Have a shell where a reader has one: in a clone, with an empty ``mnt``."""
    place.joinpath("mnt").mkdir()
    for name in ("examples", "pyproject.toml"):
        place.joinpath(name).symlink_to(ROOT / name)
    programs = place / "bin"
    programs.mkdir()
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    clean = {key: os.environ[key] for key in os.environ.keys() - {"PYTEST_ADDOPTS"}}
    path = f"{programs}:{clean.get('PATH', '')}"
    environment = clean | {"PATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    environment["TIMEFORMAT"] = "%R seconds"

    def run(command: str) -> str:
        with tempfile.TemporaryFile("w+") as said:  # the server would hold a pipe open
            subprocess.run(
                ["bash", "-c", command],
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=60,
            )
            said.seek(0)
            return said.read()

    try:
        yield run
    finally:
        for mountpoint in reversed(mounts_below(str(place))):
            subprocess.run(["umount", mountpoint], check=False)


def watched(block: str, place: Path) -> Iterator[tuple[str, str]]:
    """Run a lesson and the commands of a block; yield what the kernel sends for each."""
    commands = [command for command, _ in steps(block)]
    start = next(n for n, command in enumerate(commands) if command.endswith(" &"))
    with desk(place) as run, tempfile.NamedTemporaryFile("r") as log:
        for command in commands[:start]:
            yield command, run(command)
        words = commands[start].removeprefix("python ").removesuffix(" &").split()
        with open(log.name, "w") as output:
            server = subprocess.Popen(
                [sys.executable, *words],
                cwd=place,
                stdout=output,
                stderr=output,
                text=True,
            )
        try:
            wait_mounted(str(place / "mnt"), server)
            yield commands[start], ""
            printed = _Printed(Path(log.name))
            printed.up_to_statfs()  # that of wait_mounted
            for command in commands[start + 1 :]:
                run(command)
                _statfs(place / "mnt")
                yield command, printed.up_to_statfs()
        finally:
            run("umount mnt")
            try:
                server.wait(timeout=20)
            finally:
                server.kill()
                server.wait()


def _statfs(mountpoint: Path) -> None:
    """Have the kernel send STATFS, and nothing else: no path is walked for it."""
    root = os.open(mountpoint, os.O_PATH)
    try:
        os.fstatvfs(root)
    finally:
        os.close(root)


@attrs.define
class _Printed:
    """The lines that a lesson prints into a file."""

    log: Path
    _read: int = 0

    def up_to_statfs(self) -> str:
        """Return the lines up to the next STATFS."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            lines = self.log.read_text()[self._read :].splitlines(keepends=True)
            for number, line in enumerate(lines):
                if line.startswith("STATFS") and line.endswith("\n"):
                    self._read += len("".join(lines[: number + 1]))
                    return "".join(_plain(lines[:number]))
        message = f"nothing more came: {self.log.read_text()}"
        raise AssertionError(message)


def _plain(lines: list[str]) -> Iterator[str]:
    """Leave out trailing spaces, and what programs ask only on some systems."""
    for line in lines:
        if "'security.selinux'" not in line:
            yield line.rstrip() + "\n"


def _renewed(block: str, seen: list[str]) -> str:
    """Return a block with what was seen, where that is something else."""
    return "".join(
        f"$ {command}\n{shown if agrees(shown, really) else really}"
        for (command, shown), really in zip(steps(block), seen, strict=True)
    )


def _sessions(lesson: Lesson) -> Iterator[tuple[str, list[str]]]:
    """Yield each block of a shell, and what it prints behind each command."""
    with tempfile.TemporaryDirectory() as place, desk(Path(place)) as run:
        for block in lesson.blocks("console"):
            yield block, [run(command) for command, _ in steps(block)]


def _traces(lesson: Lesson) -> Iterator[tuple[str, list[str]]]:
    """Yield each block of a trace, and what the kernel sends behind each command."""
    for block in lesson.blocks("console watch"):
        with tempfile.TemporaryDirectory() as place:
            yield block, [lines for _, lines in watched(block, Path(place))]


def main() -> None:
    """Write what is seen into the text."""
    text, wanted = TEXT.read_text(), {int(number) for number in sys.argv[1:]}
    for lesson in lessons():
        if not wanted or lesson.number in wanted:
            print(lesson.program.name, flush=True)
            for block, seen in (*_sessions(lesson), *_traces(lesson)):
                text = text.replace(block, _renewed(block, seen))
    TEXT.write_text(text)


if __name__ == "__main__":
    main()
