"""Fixtures that mount filesystems: `fuse_mount` and `disk`.

Installed as a module of its own, ``pytest_triofuse``: pytest imports it at each start,
so it imports nothing of triofuse and trio before a fixture is used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from triofuse.faults import Disk
    from triofuse.plugin.mounts import Mounts

_MOUNTS = pytest.StashKey["Mounts"]()

#: The part of a timeout after which a test is said to hang, before it is ended.
_EARLY = 0.8


@pytest.fixture
def fuse_mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Mount a filesystem until the end of the test: ``mount = fuse_mount(MyFS())``.

    It is served from a thread with a loop of its own, so the test may use it freely, be
    it plain, trio's or asyncio's.  ``fuse_mount(filesystem, path, options, **session)``
    returns a `triofuse.background.BackgroundMount`, which is a path as well.  Where
    nothing can be mounted the test is skipped.
    """
    mounts = _mounts(request, tmp_path)

    def mount(*arguments: Any, **options: Any) -> Any:
        with _Skipping():
            return mounts.mount(*arguments, **options)

    yield mount
    mounts.close()


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk in memory, mounted at ``tmp_path/disk``, that fails when it is told to.

    See `triofuse.faults.Disk`: ``disk.path``, ``disk.fail("write", ENOSPC, after=3)``,
    ``disk.power_cut()``, ``disk.operations``...
    """
    from triofuse.faults import Disk

    mounts = _mounts(request, tmp_path)
    place = tmp_path / "disk"
    place.mkdir()
    made = Disk()
    with _Skipping():
        mounts.start(made.mount(place))
    yield made
    mounts.close()


def _mounts(request: pytest.FixtureRequest, tmp_path: Path) -> Mounts:
    """Return the mounts of a test, which are watched if it has a timeout."""
    if sys.platform != "linux":
        pytest.skip("FUSE mounts need Linux")
    known: Mounts | None = request.node.stash.get(_MOUNTS, None)
    if known is not None:
        return known
    from triofuse.plugin.mounts import Mounts

    mounts = request.node.stash[_MOUNTS] = Mounts(tmp_path)
    seconds, ends = _timeout(request)
    if seconds:
        mounts.on_hang = lambda text: _print(request.config, request.node.nodeid, text)
        mounts.watch(seconds * _EARLY if ends else seconds, abort=ends)
    return mounts


class _Skipping:
    """Skips the test where nothing can be mounted."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, _: object) -> None:
        if exc is not None and type(exc).__name__ == "CannotMount":
            pytest.skip(str(exc))


def _timeout(request: pytest.FixtureRequest) -> tuple[float, bool]:
    """Return the seconds that a test may take, and whether it is ended after them."""
    config = request.config
    if config.pluginmanager.hasplugin("timeout"):
        marker = request.node.get_closest_marker("timeout")
        given = [*marker.args, marker.kwargs.get("timeout")] if marker else []
        given += [config.getoption("timeout", None), config.getini("timeout")]
        seconds = next((float(value) for value in given if value), 0.0)
        if seconds > 0:
            return seconds, True
    return float(config.getini("faulthandler_timeout") or 0), False


def _print(config: pytest.Config, nodeid: str, text: str) -> None:
    """Write to the terminal, from a thread, while the output of tests is captured."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture()
    try:
        sys.stderr.write(
            f"\n{nodeid} takes long; where its filesystems stand:\n{text}\n"
        )
        sys.stderr.flush()
    finally:
        if capture is not None:
            capture.resume_global_capture()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show with a failing test where its filesystems stand."""
    report: pytest.TestReport = yield
    mounts = item.stash.get(_MOUNTS, None)
    if mounts is not None and call.when == "call" and report.failed:
        report.sections.append(("triofuse", mounts.hung or mounts.describe()))
    return report
