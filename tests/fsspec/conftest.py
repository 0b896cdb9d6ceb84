"""A tree of files, and the stores that hold it."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fsspec.servers import Server

#: Bytes of the large file.
BIG = 6_000_000

HERE = Path(__file__).parent

if importlib.util.find_spec("fsspec") is None:
    collect_ignore = [path.name for path in HERE.glob("test_*.py")]

    def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
        """Say what is left out."""
        words = "tests/fsspec is left out: pip install -e '.[stores]' brings fsspec"
        terminalreporter.write_line(words)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files of several sizes, and names with odd letters."""
    root = tmp_path_factory.mktemp("tree")
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "hello").write_text("hello\n")
    (root / "empty").write_text("")
    (root / "dir" / "a b+c%41ä").write_text("one\ntwo\n")
    (root / "dir" / "sub" / "deep").write_text("deep\n")
    (root / "big").write_bytes(random.Random(1).randbytes(BIG))
    return root


@pytest.fixture(scope="module")
def store(
    request: pytest.FixtureRequest,
    tree: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A store with this tree in it, of the kind that is the parameter."""
    from tests.fsspec.servers import started

    with started(request.param, tree, tmp_path_factory.mktemp("store")) as server:
        yield server
