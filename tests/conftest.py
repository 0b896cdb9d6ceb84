"""What every test has: a place to mount on, and a watch over what is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _why_not() -> str | None:
    """Return why nothing can be mounted here, or None if it can."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as exc:
        return f"cannot open /dev/fuse: {exc.strerror}"
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return "not root, and there is no fusermount3"
    probe = ["unshare", "--mount", "true"]
    if os.geteuid() == 0 and subprocess.run(probe, capture_output=True).returncode:
        return "root here may not mount"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _why_not()
    if reason is not None:
        for item in items:
            if item.get_closest_marker("mount"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what is tracked here, or would be."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    if tracked.returncode:
        pytest.skip("not in a git checkout")
    copy = tmp_path_factory.mktemp("clone")
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return copy


def mounts_below(path: str) -> list[str]:
    """Return where something is mounted at or below a path."""
    table = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    places = [line.split()[1] for line in table]
    return [place for place in places if f"{place}/".startswith(f"{path}/")]


@contextmanager
def at_work(
    commands: Iterable[Sequence[str]], stderr: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Have clients at work, each of which has said that it is ready.

    Args:
      commands: One for each client.
      stderr: As for ``subprocess.Popen``.
    """
    pipe = subprocess.PIPE
    clients = [
        subprocess.Popen(command, stdout=pipe, stderr=stderr, text=True)
        for command in commands
    ]
    try:
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        yield clients
    finally:
        for client in clients:
            client.kill()
            client.communicate()


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[str]:
    """An empty directory; whoever leaves something mounted there fails."""
    place = tmp_path / "mnt"
    place.mkdir()
    yield str(place)
    left = mounts_below(str(place))
    for path in reversed(left):
        subprocess.run(["umount", "-l", path], check=False)
    assert not left, f"still mounted: {left}"


@pytest.fixture(autouse=True)
def _no_leaked_descriptors() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    after = set(os.listdir("/proc/self/fd"))
    paths = {fd: _readlink(fd) for fd in after - before}
    leaked = {fd: path for fd, path in paths.items() if "/dev/fuse" in path}
    assert not leaked


def _readlink(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
