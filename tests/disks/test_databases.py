"""Databases as they are: what each promises is kept, what it does not promise breaks.

The table says which outcomes there may be: "ok"; "lost", a transaction that was
committed is not there; "broken", the database is corrupt, or has half a transaction.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.disks.survey import BROKEN, LOST, OK, Outcomes, survey
from tests.disks.worker import Worker, worker
from triofuse.faults import EXT4, POSIX, Disk, Model

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def process() -> Iterator[Worker]:
    with worker() as started:
        yield started


def outcomes(
    disk: Disk, process: Worker, database: str, model: Model, *options: object
) -> Outcomes:
    path = str(disk.path)

    def program(_: object) -> None:
        process.do(f"{database}_write", path, *options, on_mark=disk.mark)

    def check(_: object, marks: tuple[str, ...]) -> str:
        return process.check(f"{database}_check", path, len(marks))

    return survey(disk, program, check, model)


#: SQLite's journal mode and synchronous; the outcomes that there may be, and those that
#: are seen with some model.
SQLITE = [
    ("delete", "extra", {OK}, {OK}),
    # The directory is not synced after the journal is unlinked, which commits.
    ("delete", "full", {OK, LOST}, {LOST}),
    ("delete", "off", {OK, LOST, BROKEN}, {BROKEN}),
    ("wal", "full", {OK}, {OK}),
    ("wal", "normal", {OK, LOST}, {LOST}),
]


@pytest.mark.parametrize(("journal", "synchronous", "may_be", "seen"), SQLITE)
def test_sqlite_keeps_what_it_promises(
    disk: Disk,
    process: Worker,
    journal: str,
    synchronous: str,
    may_be: set[str],
    seen: set[str],
) -> None:
    found: set[str] = set()
    for model in (POSIX, EXT4):
        for name in list(disk.path.iterdir()):
            name.unlink()
        process.do("sqlite_make", str(disk.path), journal)
        result = outcomes(disk, process, "sqlite", model, synchronous)
        assert result.kinds <= may_be, f"{model.name}: {result}"
        found |= result.kinds

    assert seen <= found


#: LMDB's sync and metasync.
LMDB = [
    (True, True, {OK}, {OK}),
    (True, False, {OK, LOST}, {LOST}),
    # Broken: mdb_env_open() or a read may even die by SIGBUS.
    (False, False, {OK, LOST, BROKEN}, {LOST, BROKEN}),
]


@pytest.mark.skipif(not importlib.util.find_spec("lmdb"), reason="no lmdb here")
@pytest.mark.parametrize(("sync", "metasync", "may_be", "seen"), LMDB)
def test_lmdb_keeps_what_it_promises(
    disk: Disk,
    process: Worker,
    sync: bool,
    metasync: bool,
    may_be: set[str],
    seen: set[str],
) -> None:
    """The environment is there; when it is made, its directory is not synced."""
    process.do("lmdb_make", str(disk.path))
    result = outcomes(disk, process, "lmdb", POSIX, sync, metasync)

    assert result.kinds <= may_be, result
    assert seen <= result.kinds, result


def test_a_shelf_promises_nothing(disk: Disk, process: Worker) -> None:
    result = outcomes(disk, process, "shelve", POSIX)

    assert {LOST, BROKEN} & result.kinds, result
