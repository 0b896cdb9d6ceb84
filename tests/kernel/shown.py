"""What the tests show: all marks ``shows``, as pytest collects them.

``python -m tests.kernel.shown`` prints them in JSON.  Marks that a table of cases
makes are seen as well, which a look at the source would miss.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

TESTS = Path(__file__).parents[1]


@attrs.frozen
class Shown:
    """What is shown where.

    Attributes:
      tests: The tests that show a name, by the name.
      elsewhere: Tests that show something, but not on a real mount.
    """

    tests: dict[str, list[str]]
    elsewhere: list[str]


class _Collector:
    """A plugin of pytest that keeps what was collected."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


def collect(tests: Path) -> Shown:
    """Collect all tests, in a process that runs no other."""
    collector = _Collector()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = pytest.main(
            ["--collect-only", "-q", "-p", "no:cacheprovider", str(tests)],
            plugins=[collector],
        )
    if status != pytest.ExitCode.OK:
        raise SystemExit(said.getvalue())
    shown: dict[str, set[str]] = {}
    elsewhere = set()
    for item in collector.items:
        place = item.nodeid.partition("[")[0].removeprefix("tests/")
        for mark in item.iter_markers("shows"):
            for name in mark.args:
                shown.setdefault(name, set()).add(place)
            if item.get_closest_marker("mount") is None:
                elsewhere.add(place)
    return Shown({n: sorted(p) for n, p in shown.items()}, sorted(elsewhere))


def read_shown(tests: Path = TESTS) -> Shown:
    """Collect all tests, from a process that runs some."""
    command = [sys.executable, "-m", "tests.kernel.shown", str(tests)]
    place = TESTS.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return Shown(**json.loads(done.stdout))


if __name__ == "__main__":
    tests = Path(sys.argv[1]) if sys.argv[1:] else TESTS
    print(json.dumps(attrs.asdict(collect(tests))))
