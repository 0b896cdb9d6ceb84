"""Fixtures of the session's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.session.shelf import CONTENTS, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    path = tmp_path / "behind"
    path.write_bytes(CONTENTS)
    shelf = Shelf(path)
    with shelf.file:
        yield shelf
