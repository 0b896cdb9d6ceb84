"""A process that runs programs and checks on a disk, and says what they say.

Programs that map files must not run in the process that serves them: munmap(2) waits
for the disk, and Python holds its lock meanwhile.
"""

from __future__ import annotations

import json
import os
import select
import shelve
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs

OK, LOST, BROKEN = "ok", "lost", "broken"

_SECONDS = 60


def mark(text: str) -> None:
    """Say something to the outside, and wait until it was heard."""
    print(json.dumps({"mark": text}), flush=True)
    sys.stdin.readline()


# --- SQLite


@contextmanager
def _sqlite(path: str, synchronous: str = "full") -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{path}/db", isolation_level=None)) as db:
        db.execute(f"pragma synchronous={synchronous}")
        yield db


def sqlite_make(path: str, journal: str) -> None:
    with _sqlite(path) as db:
        db.execute(f"pragma journal_mode={journal}")
        db.execute("create table a(x, y)")
        db.execute("create table b(x, y)")
        for _ in range(10):
            db.execute("insert into a values(-1, ?)", ["z" * 500])


def sqlite_write(path: str, synchronous: str) -> None:
    with _sqlite(path, synchronous) as db:
        for number in range(2):
            db.execute("begin")
            db.execute("insert into a values(?, ?)", [number, "x" * 3000])
            db.execute("insert into b values(?, ?)", [number, "x" * 3000])
            db.execute("commit")
            mark(f"{number}")


def sqlite_check(path: str, marks: int) -> str:
    try:
        with _sqlite(path) as db:
            if db.execute("pragma integrity_check").fetchall() != [("ok",)]:
                return BROKEN
            query = "select x from {} where x >= 0 order by x"
            found = [[row[0] for row in db.execute(query.format(t))] for t in "ab"]
    except sqlite3.DatabaseError:
        return BROKEN
    return _of(found[0], marks) if found[0] == found[1] else BROKEN


def _of(found: list[int], marks: int) -> str:
    """Judge a list of transactions: the first so many of them, in order."""
    if found != list(range(len(found))):
        return BROKEN
    return LOST if len(found) < marks else OK


# --- LMDB


def lmdb_make(path: str) -> None:
    import lmdb

    with lmdb.open(f"{path}/lmdb", map_size=1 << 20) as env:
        with env.begin(write=True) as transaction:
            transaction.put(b"c", b"")


def lmdb_write(path: str, sync: bool, metasync: bool) -> None:
    import lmdb

    with lmdb.open(
        f"{path}/lmdb", map_size=1 << 20, sync=sync, metasync=metasync
    ) as env:
        for number in range(2):
            with env.begin(write=True) as transaction:
                for key in ("a", "b"):
                    name = f"{key}{number}".encode()
                    transaction.put(name, b"x" * 1500)
            mark(f"{number}")


def lmdb_check(path: str, marks: int) -> str:
    import lmdb

    try:
        with lmdb.open(f"{path}/lmdb", map_size=1 << 20) as env, env.begin() as view:
            names = [bytes(key).decode() for key, value in view.cursor() if value]
    except lmdb.Error:
        return BROKEN
    found = [[int(name[1:]) for name in names if name[0] == k] for k in "ab"]
    return _of(found[0], marks) if found[0] == found[1] else BROKEN


# --- shelve


def shelve_write(path: str) -> None:
    for number in range(2):
        with shelve.open(f"{path}/shelf") as shelf:
            shelf[f"{number}"] = "x" * 600
        mark(f"{number}")


def shelve_check(path: str, marks: int) -> str:
    try:
        with shelve.open(f"{path}/shelf", "c") as shelf:
            if any(value != "x" * 600 for value in shelf.values()):
                return BROKEN
            return _of(sorted(map(int, shelf)), marks)
    except Exception:  # noqa: BLE001  (pickle and dbm raise all kinds)
        return BROKEN


# --- The process


class Died(Exception):  # noqa: N818  (databases do, by SIGBUS)
    """The process has died of what it found."""


@attrs.define(eq=False)
class Worker:
    """The other end: has a process do something, and another one if it died."""

    _process: subprocess.Popen[str] | None = None

    def do(
        self,
        name: str,
        *arguments: object,
        on_mark: Callable[[str], None] | None = None,
    ) -> Any:
        """Have a function of this module called, and return its result."""
        self._tell({"do": name, "arguments": arguments})
        while True:
            answer = self._hear()
            if "mark" not in answer:
                return answer["result"]
            assert on_mark is not None
            on_mark(answer["mark"])
            self._tell({})

    def check(self, name: str, *arguments: object) -> str:
        """Do likewise with a check; who dies of it has found something broken."""
        try:
            return str(self.do(name, *arguments))
        except Died:
            return BROKEN

    def _tell(self, what: object) -> None:
        if self._process is None:
            self._process = _start()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _SECONDS)
        assert ready, "the worker hangs"
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise Died
        return json.loads(line)

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _start() -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.disks.worker"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@contextmanager
def worker() -> Iterator[Worker]:
    """Kill what was started at the end."""
    started = Worker()
    try:
        yield started
    finally:
        started.close()


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        result = globals()[asked["do"]](*asked["arguments"])
        print(json.dumps({"result": result}), flush=True)


if __name__ == "__main__":
    main()
