"""A tree of files, and the stores that hold it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

from tests.fsspec.servers import Server, started

#: Bytes of the large file.
BIG = 6_000_000


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
    with started(request.param, tree, tmp_path_factory.mktemp("store")) as server:
        yield server
