"""The table of POSIX behaviours, on every writable example, and on tmpfs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import mounts_below
from tests.examples.conftest import ASKED, WRITABLE, example, serving
from tests.examples.posix import BEHAVIOURS, ROOT_BEHAVIOURS, Behaviour
from tests.examples.posix.files import a_range_is_zeroed


@pytest.fixture(
    scope="module",
    params=[
        "tmpfs",
        *(pytest.param(n, marks=pytest.mark.mount) for n in [*WRITABLE, ASKED]),
    ],
)
def root(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A filesystem; tmpfs shows that the table itself is right."""
    if request.param == "tmpfs":
        home = Path("/dev/shm", f"triofuse-posix-{os.getpid()}")
        home.mkdir()
        yield home
        shutil.rmtree(home)
        return
    home = Path(tempfile.mkdtemp(prefix="triofuse-"))
    home.chmod(0o755)  # pytest's own folders let in their owner only
    mountpoint = home / "mnt"
    mountpoint.mkdir()
    command = example(request.param, str(mountpoint), home / "source")
    with serving(*command, mountpoint=str(mountpoint)):
        yield mountpoint
    assert not mounts_below(str(mountpoint))
    shutil.rmtree(home)


@pytest.fixture
def directory(root: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    home = root / f"{abs(hash(request.node.name)):x}"
    home.mkdir()
    yield home
    shutil.rmtree(home)


def _name(behaviour: Behaviour) -> str:
    return behaviour.__name__


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=_name)
def test_posix(behaviour: Behaviour, directory: Path) -> None:
    if behaviour is a_range_is_zeroed and directory.is_relative_to("/dev/shm"):
        pytest.skip("tmpfs has no FALLOC_FL_ZERO_RANGE")
    behaviour(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("behaviour", ROOT_BEHAVIOURS, ids=_name)
def test_posix_for_root(behaviour: Behaviour, directory: Path) -> None:
    behaviour(directory)
