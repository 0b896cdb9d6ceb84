"""The classic mistakes, each found by `Disk.crashes`, and the right sequences."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from triofuse.faults import EXT4, MODELS, NOTHING_ORDERED, POSIX, Disk, Model

pytestmark = pytest.mark.mount

Log = Callable[[Path], None]


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- A log, to which records are appended; a reader takes whole lines

RECORD = b"x" * 5000 + b"\n"


def append(path: Path) -> None:
    with open(path / "log", "ab", buffering=0) as file:
        file.write(RECORD)


def append_synced(path: Path) -> None:
    with open(path / "log", "ab", buffering=0) as file:
        file.write(RECORD)
        os.fsync(file.fileno())


def records(path: Path) -> list[bytes]:
    """Read what the program believes: that a line is a record."""
    return (path / "log").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("program", [append, append_synced])
def test_an_append_is_torn_and_a_line_is_no_record(
    disk: Disk, model: Model, program: Log
) -> None:
    """Until fsync has returned; so a reader needs a length or a checksum."""
    (disk / "log").write_bytes(RECORD)

    torn = [
        crash
        for crash in disk.crashes(program, model)
        if any(record != RECORD for record in records(disk.path))
    ]

    assert torn
    assert all(crash.operation.startswith("write log ") for crash in torn)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_records_that_were_synced_are_whole(disk: Disk, model: Model) -> None:
    (disk / "log").touch()

    def program(path: Path) -> None:
        for number in range(2):
            append_synced(path)
            disk.mark(f"{number}")

    for crash in disk.crashes(program, model):
        done = records(disk.path)[: len(crash.marks)]
        assert done == [RECORD] * len(crash.marks), crash


# --- A database of one file that is overwritten


def test_a_file_that_is_overwritten_in_place_is_a_mixture(disk: Disk) -> None:
    (disk / "db").write_bytes(b"a" * 8192)

    def program(path: Path) -> None:
        with open(path / "db", "rb+", buffering=0) as file:
            file.write(b"b" * 8192)
            os.fsync(file.fileno())

    for model in (POSIX, EXT4):
        found = {(disk / "db").read_bytes() for _ in disk.crashes(program, model)}
        (disk / "db").write_bytes(b"a" * 8192)
        assert b"a" * 4096 + b"b" * 4096 in found
        assert b"b" * 4096 + b"a" * 4096 in found


# --- A new file of which another one speaks


def publish(path: Path, *, synced: bool) -> None:
    (path / "data").write_bytes(b"data")
    if synced:
        sync(path / "data")
        sync(path)
    (path / "index").write_bytes(b"data is there")
    sync(path / "index")
    sync(path)


def read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@pytest.mark.parametrize("model", [POSIX, NOTHING_ORDERED], ids=lambda m: m.name)
def test_an_index_may_survive_without_what_it_speaks_of(
    disk: Disk, model: Model
) -> None:
    def broken(*, synced: bool) -> int:
        count = 0
        for _ in disk.crashes(lambda path: publish(path, synced=synced), model):
            if read(disk / "index"):
                count += read(disk / "data") != b"data"
        for name in os.listdir(disk.path):
            (disk / name).unlink()
        return count

    assert broken(synced=False)
    assert not broken(synced=True)


# --- fsync that fails, and is tried again


def test_an_fsync_that_is_tried_again_says_nothing(disk: Disk) -> None:
    """What PostgreSQL, LMDB and others did until 2018."""
    (disk / "wal").write_bytes(b"old")
    disk.sync()
    disk.fail("fsync", 5, once=True, pages="clean")

    def program(path: Path) -> None:
        with open(path / "wal", "rb+", buffering=0) as file:
            file.write(b"new")
            for _ in range(2):
                try:
                    os.fsync(file.fileno())
                except OSError:
                    continue
                disk.mark("committed")
                break

    lost = [
        crash
        for crash in disk.crashes(program)
        if "committed" in crash.marks and (disk / "wal").read_bytes() != b"new"
    ]

    assert lost
