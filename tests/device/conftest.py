"""Fixtures: a mountpoint of an unprivileged user, and a mount namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.device.mounts import NOBODY, Realm


@pytest.fixture
def public_mountpoint() -> Iterator[str]:
    """An empty directory of the user nobody, in one that all users may search."""
    parent = os.path.realpath(tempfile.mkdtemp(prefix="triofuse-"))
    os.chmod(parent, 0o711)
    path = os.path.join(parent, "mnt")
    os.mkdir(path)
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(parent)


@pytest.fixture
def realm() -> Iterator[Realm]:
    """A mount namespace that ends with the test, with all its mounts."""
    if os.geteuid() != 0:
        pytest.skip("makes namespaces")
    command = ["unshare", "--mount", "sh", "-c", "echo ready; exec cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield Realm(process.pid)
        finally:
            process.kill()
