"""Programs that call `triofuse.main`, and what the tests look at."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

#: A filesystem that says in its one file how it was made, and logs what happens to it.
PROGRAM = f'''#!{sys.executable}
from __future__ import annotations

import sys
sys.path[:0] = {[path for path in sys.path if path]!r}

import errno
import os
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import triofuse
from triofuse import DirEntry, Entry, FileAttr, FuseError

ROOT = FileAttr.directory(1)


class Said(triofuse.Filesystem):
    def __init__(self, said: str, journal: str) -> None:
        self.said = said.encode()
        self.journal = journal

    def note(self, event: str) -> None:
        if self.journal:
            with open(self.journal, "a") as file:
                print(event, file=file)

    async def lookup(self, request):
        if request.name != "said":
            raise FuseError(errno.ENOENT)
        return Entry(FileAttr.file(2, len(self.said)))

    async def getattr(self, request):
        return ROOT if request.nodeid == 1 else FileAttr.file(2, len(self.said))

    async def readdir(self, request):
        return [DirEntry("said", 2)]

    async def read(self, request):
        return self.said[request.offset:][:request.size]

    async def write(self, request):
        return request.size

    async def setattr(self, request):
        return FileAttr.file(2)

    async def destroy(self):
        self.note("destroyed")


@asynccontextmanager
async def make(
    source: Path, *, count: int = 3, shout: bool = False, journal: str = "",
    fail: str = "",
):
    """Say how it was made.

    Args:
      source: What is shown.
      count: How often, for
        example.
      shout: Whether to shout.
    """
    if fail == "context":
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(source))
    if fail == "bug":
        raise ZeroDivisionError("a bug")
    if fail == "hang":
        with open(journal, "a") as file:
            print("hangs", file=file)
        await trio.sleep_forever()
    said = Said(f"{{source}} {{count}} {{shout}} {{os.getcwd()}}", journal)
    said.note("entered")
    try:
        yield said
    finally:
        if fail == "exit":
            said.note("leaves")
            try:
                await trio.sleep_forever()
            finally:
                said.note("cancelled")
        await trio.lowlevel.checkpoint()
        said.note("left")


if __name__ == "__main__":
    triofuse.main(make)
'''


def write_program(path: Path) -> Path:
    """Write the program, which can be run."""
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without its output on a terminal."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [str(word) for word in command],
        **{
            "stdin": subprocess.DEVNULL,
            "capture_output": True,
            "text": True,
            "timeout": 30,
            **options,
        },
    )


def mount_line(mountpoint: str) -> list[str]:
    """Return source, place, type and options of a mount; nothing if there is none."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1] == mountpoint:
            return line.split()[:4]
    return []


def server_of(program: Path) -> list[int]:
    """Return the processes that run a program."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(program) in words:
                found.append(int(entry.name))
    return found


def wait_gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 20)[0], f"process {pid} does not end"
    finally:
        os.close(fd)


def wait_for(path: Path, line: str) -> None:
    """Wait until a file has a line."""
    deadline = time.monotonic() + 20
    while not path.exists() or line not in path.read_text().splitlines():
        assert time.monotonic() < deadline, f"there is no {line!r} in {path}"
        time.sleep(0.01)
