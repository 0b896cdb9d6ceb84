"""The examples that are trees of nodes: short, and right."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import subprocess
import sys
import time
import tokenize
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, serving, wait_mounted

#: The most lines of code, without blank ones, comments and docstrings.
MOST = {"json_tree": 15, "zipfs": 30, "counters": 20, "sqlitefs": 120, "deny": 15}

_SPACE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(source: str) -> int:
    """Count the lines that are neither blank, nor comments, nor docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SPACE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED):
            first = node.body[0]
            if ast.get_docstring(node) and first.end_lineno:
                lines -= set(range(first.lineno, first.end_lineno + 1))
    return len(lines)


def test_lines_are_counted_as_people_do() -> None:
    source = (
        '"""Says."""\n\n# Why.\nx = [\n    1,\n]\n\ndef f():\n    """Doc."""\n    y()\n'
    )

    assert lines_of_code(source) == 5


@pytest.mark.parametrize("name", MOST)
def test_an_example_is_short(name: str) -> None:
    assert lines_of_code((EXAMPLES / f"{name}.py").read_text()) <= MOST[name]


@pytest.mark.mount
def test_a_json_document_is_a_tree(mountpoint: str, tmp_path: Path) -> None:
    document = tmp_path / "document"
    document.write_text(
        json.dumps({"a": {"b": "text", "n": [1, 2.5, None]}, "x/y": ""})
    )
    root = Path(mountpoint)

    with serving(
        str(EXAMPLES / "json_tree.py"), str(document), mountpoint, mountpoint=mountpoint
    ):
        assert (root / "a" / "b").read_text() == "text"
        assert [(root / "a" / "n" / name).read_text() for name in "012"] == [
            "1",
            "2.5",
            "null",
        ]
        assert sorted(os.listdir(root)) == ["a", "x%2Fy"]


LARGE = 100 << 20


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 files in 60 directories, and one of 100 MB."""
    path = tmp_path_factory.mktemp("zip") / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr("empty/", "")
        for number in range(6000):
            made.writestr(f"d{number % 60}/file-{number}", f"{number}\n")
        made.writestr("large", bytes(range(256)) * (LARGE >> 8))
    return path


@pytest.mark.mount
def test_a_zip_archive_is_a_tree(mountpoint: str, archive: Path) -> None:
    root = Path(mountpoint)
    command = [str(EXAMPLES / "zipfs.py"), str(archive), mountpoint]

    with serving(*command, mountpoint=mountpoint):
        took = []
        for _ in range(10):
            begun = time.monotonic()
            found = subprocess.run(["find", root], capture_output=True, timeout=20)
            took.append(time.monotonic() - begun)

        assert len(found.stdout.splitlines()) == 6000 + 60 + 3
        assert min(took) < 0.2, took
        assert (root / "d7" / "file-67").read_text() == "67\n"
        assert os.listdir(root / "empty") == []
        assert os.stat(root / "large").st_size == LARGE
        copied = subprocess.run(
            ["cmp", root / "large", "-"],
            input=bytes(range(256)) * (LARGE >> 8),
            timeout=30,
        )
        assert copied.returncode == 0
        with open(root / "large", "rb") as file:  # backwards, too
            file.seek(1 << 20)
            assert file.read(3) == b"\0\1\2"


@pytest.mark.mount
def test_counters_are_files_of_unknown_size(mountpoint: str) -> None:
    root = Path(mountpoint)
    command = [sys.executable, str(EXAMPLES / "counters.py"), mountpoint]

    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as server:
        wait_mounted(mountpoint, server)
        assert server.stdin is not None
        server.stdin.write("one two one\n")
        server.stdin.flush()
        _until(lambda: sorted(os.listdir(root)) == ["one", "two"])
        assert (root / "one").read_text() == "2\n"
        server.stdin.write("one\n" * 10)
        server.stdin.flush()
        _until(lambda: (root / "one").read_text() == "12\n")
        server.stdin.close()
        assert server.wait(timeout=20) == 0


def _until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < deadline


@pytest.mark.mount
def test_a_layer_denies(mountpoint: str) -> None:
    root = Path(mountpoint)
    command = [sys.executable, str(EXAMPLES / "deny.py"), "-f", mountpoint]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        wait_mounted(mountpoint, server)
        (root / "x").touch()
        (root / "keep-x").touch()
        (root / "x").unlink()
        with pytest.raises(PermissionError):
            (root / "keep-x").unlink()
        assert os.listdir(root) == ["keep-x"]
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=20)

    assert said == f"user {os.geteuid()} would like to remove 'keep-x'\n"


@pytest.mark.mount
def test_a_database_has_all_that_files_have(mountpoint: str, tmp_path: Path) -> None:
    root, content = Path(mountpoint), os.urandom(200_000)
    command = [str(EXAMPLES / "sqlitefs.py"), str(tmp_path / "db"), mountpoint]

    with serving(*command, mountpoint=mountpoint):
        (root / "d" / "e").mkdir(parents=True)
        (root / "d" / "file").write_bytes(content)
        os.link(root / "d" / "file", root / "linked")
        os.symlink("d/file", root / "symbolic")
        os.mkfifo(root / "pipe")
        os.utime(root / "linked", ns=(1, 2))
        with open(root / "gone", "w+b") as file:
            os.unlink(root / "gone")
            file.write(b"still here")
            file.seek(0)
            assert file.read() == b"still here"
            assert os.fstat(file.fileno()).st_nlink == 0
        os.rename(root / "d" / "file", root / "d" / "e" / "moved")
        before = _listed(root)
    with serving(*command, mountpoint=mountpoint):
        after = _listed(root)
        assert (root / "linked").read_bytes() == content
        assert (root / "d" / "e" / "moved").stat().st_nlink == 2
        os.truncate(root / "linked", 70_000)
        os.truncate(root / "linked", 100_000)
        assert (root / "d" / "e" / "moved").read_bytes() == content[:70_000] + bytes(
            30_000
        )

    assert before == after
    assert len(after) == 6


def _listed(root: Path) -> list[tuple[str, ...]]:
    """Return names and attributes, without those that reading changes."""
    found = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        shown = status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns
        found.append((str(path), *map(str, shown)))
    return found
