"""A place that an ordinary user can mount on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from tests.device.mounts import NOBODY


@pytest.fixture
def public_mountpoint() -> Iterator[str]:
    """An empty directory of nobody's, in one that everybody may search."""
    parent = os.path.realpath(tempfile.mkdtemp(prefix="triofuse-"))
    os.chmod(parent, 0o711)
    path = os.path.join(parent, "mnt")
    os.mkdir(path)
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(parent)
