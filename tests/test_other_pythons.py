"""What other Pythons lack is not needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: What PyPy 3.11 has not got.
LACKS = """
import gc, os
for name in (
    "O_ACCMODE", "O_PATH", "O_TMPFILE", "SEEK_DATA", "SEEK_HOLE", "copy_file_range",
    "eventfd", "pidfd_open", "setns", "splice", "unshare",
):
    if hasattr(os, name):
        delattr(os, name)
"""

USE = """
import errno, runpy, sys, trio
import triofuse
from triofuse.testing import open_kernel

class Empty(triofuse.Filesystem):
    async def lookup(self, request):
        return triofuse.Entry(triofuse.FileAttr(2, 0o100644))

async def main():
    async with open_kernel(Empty()) as kernel:
        await kernel.open(2, os.O_RDONLY)
        try:
            await kernel.open(2, os.O_WRONLY)
        except OSError as exc:
            assert exc.errno == errno.EROFS, exc

trio.run(main)
"""

EXAMPLES = """
import sys, trio
sys.path.insert(0, "examples")
from memfs import MemFS
from passthrough import Passthrough
from triofuse.testing import open_kernel

async def main(filesystem):
    async with open_kernel(filesystem) as kernel:
        entry, first = await kernel.create(1, "a", os.O_RDWR, 0o600)
        node, second = await kernel.create(1, "b", os.O_RDWR, 0o600)
        assert await kernel.write(entry.nodeid, first.fh, 0, b"abc") == 3
        copied = await kernel.copy_file_range(
            entry.nodeid, first.fh, 0, node.nodeid, second.fh, 0, 3
        )
        assert copied == 3
        assert await kernel.read(node.nodeid, second.fh, 0, 9) == b"abc"
        await kernel.open(node.nodeid, os.O_WRONLY)

source = sys.argv[1]
trio.run(main, MemFS(1 << 20))
trio.run(main, Passthrough(source))
"""


def run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LACKS + program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_files_are_opened_without_the_names_that_pypy_lacks() -> None:
    run(USE)


def test_the_complete_examples_need_no_name_that_pypy_lacks(tmp_path: Path) -> None:
    run(EXAMPLES, str(tmp_path))
