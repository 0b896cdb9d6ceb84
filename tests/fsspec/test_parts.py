"""The parts: errors, attributes, URLs, archives with odd names, limits of memory."""

from __future__ import annotations

import errno
import io
import os
import random
import subprocess
import sys
import tarfile
import threading
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from tests.fsspec.mounts import in_thread
from tests.fsspec.servers import Server
from triofuse.fsspec import open_store
from triofuse.fsspec.calls import Calls, Limits, Pool
from triofuse.fsspec.errors import is_transient, translated
from triofuse.fsspec.information import Shown, time_ns, version_of


class _AnsweredError(Exception):
    def __init__(self, status: object) -> None:
        self.status = status


class _ClientError(Exception):
    def __init__(self, code: str, status: int) -> None:
        self.response = {
            "Error": {"Code": code},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


@pytest.mark.parametrize(
    ("raised", "number"),
    [
        (FileNotFoundError("no such key"), errno.ENOENT),
        (PermissionError("denied"), errno.EACCES),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (NotImplementedError(), errno.EOPNOTSUPP),
        (TimeoutError(), errno.ETIMEDOUT),
        (EOFError(), errno.ECONNRESET),
        (OSError("Socket is closed"), errno.ECONNRESET),
        (KeyError("member"), errno.ENOENT),
        (_AnsweredError(403), errno.EACCES),
        (_AnsweredError(503), errno.EBUSY),
        (_ClientError("NoSuchKey", 404), errno.ENOENT),
        (_ClientError("SomethingElse", 403), errno.EACCES),
        (ValueError("what"), errno.EIO),
    ],
)
def test_what_stores_raise_has_an_errno(raised: Exception, number: int) -> None:
    assert translated(raised, "info /x").errno == number


def test_an_exception_takes_its_errno_from_its_cause() -> None:
    try:
        raise RuntimeError from ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    except RuntimeError as exc:
        error = translated(exc, "info /x")

    assert error.errno == errno.ECONNREFUSED
    assert is_transient(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1.5, 1.5),
        (datetime(2001, 2, 3, tzinfo=UTC), 981158400),
        (datetime(2001, 2, 3), 981158400),
        ("2001-02-03T00:00:00Z", 981158400),
        ("Sat, 03 Feb 2001 00:00:00 GMT", 981158400),
        ((2001, 0, 0, 0, 0, 0), None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_times_are_read_in_every_form(value: object, seconds: float | None) -> None:
    assert time_ns(value) == (None if seconds is None else seconds * 10**9)


def test_a_directory_in_git_can_be_entered() -> None:
    shown = Shown(writable=False, owners=False, valid=1.0)

    attr = shown.attributes({"type": "directory", "mode": "40000", "size": 0})

    assert attr is not None
    assert attr.mode == 0o040555


def test_another_etag_is_another_version() -> None:
    one, two = ({"type": "file", "size": 1, "ETag": tag} for tag in "ab")

    assert version_of(one) != version_of(two)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.mount
def test_an_archive_with_odd_names_is_a_proper_tree(
    kind: str, tmp_path: Path, mountpoint: str
) -> None:
    names = [
        "tree/",
        "tree/a",
        "./dot/b",
        "/rooted",
        "no/directory/c",
        "../out",
        "tree/tree/d",
    ]
    path = tmp_path / "odd"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "" if name.endswith("/") else name)
    else:
        with tarfile.open(path, "w") as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                data = b"" if name.endswith("/") else name.encode()
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    with in_thread(Server(kind, f"{kind}::file://{path}"), mountpoint):
        done = subprocess.run(
            ["find", ".", "-type", "f", "-exec", "head", "-c", "99", "{}", "+"],
            cwd=mountpoint,
            capture_output=True,
            text=True,
        )
        found = sorted(
            os.path.relpath(os.path.join(above, name), mountpoint)
            for above, _, files in os.walk(mountpoint)
            for name in files
        )

    assert done.returncode == 0, done.stderr
    assert found == ["dot/b", "no/directory/c", "rooted", "tree/a", "tree/tree/d"]


def test_a_url_without_protocol_is_a_file_of_this_machine(tmp_path: Path) -> None:
    fs, root = open_store(str(tmp_path))

    assert fs.protocol[0] == "file"
    assert root == str(tmp_path)


class _Alone(AbstractFileSystem):  # type: ignore[misc]
    """A store that notes how many threads use it."""

    protocol = "alone"
    cachable = False
    users = 0
    most = 0

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        type(self).users += 1
        type(self).most = max(self.most, self.users)
        threading.Event().wait(0.002)
        type(self).users -= 1
        return {"name": path, "size": 1, "type": "file"}


async def test_a_store_is_called_by_one_thread_at_a_time() -> None:
    calls = Calls(Pool(_Alone()), Limits())
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(calls.method, "info", str(number))

    assert _Alone.most == 1


async def test_a_call_is_tried_again_when_it_may_succeed(
    autojump_clock: object,
) -> None:
    calls = Calls(Pool(_Alone()), Limits(retries=2))
    attempts = []

    async def attempt() -> None:
        attempts.append(trio.current_time())
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    with pytest.raises(ConnectionResetError):
        await calls.attempts("info", "/x", attempt)

    assert len(attempts) == 3
    assert calls.activity.failures == 1


async def test_a_call_without_an_answer_times_out(autojump_clock: object) -> None:
    calls = Calls(Pool(_Alone()), Limits(retries=0, timeout=5))
    with pytest.raises(TimeoutError):
        await calls.attempts("info", "/x", trio.sleep_forever)

    assert trio.current_time() >= 5
    assert calls.activity.calls == {}


class _Slow(LocalFileSystem):  # type: ignore[misc]
    """Local files, as if they were elsewhere."""

    protocol = "slow"


class _Given(Server):
    """A filesystem of fsspec that is there already."""

    def __init__(self, filesystem: Any, root: str) -> None:
        super().__init__("given", "")
        self._given = filesystem, root

    def open(self) -> tuple[Any, str]:
        return self._given


@pytest.mark.mount
def test_memory_is_bounded_while_clients_read_at_random(
    tmp_path: Path, mountpoint: str
) -> None:
    size, cache = 64 << 20, 8 << 20
    (tmp_path / "big").write_bytes(random.Random(1).randbytes(size))
    script = (
        "import os, random, sys; fd = os.open(sys.argv[1], os.O_RDONLY); "
        f"[os.pread(fd, 65536, random.randrange({size})) for _ in range(200)]"
    )
    server = _Given(_Slow(), str(tmp_path))
    with in_thread(server, mountpoint, cache=cache) as one:
        clients = [
            subprocess.Popen([sys.executable, "-c", script, f"{mountpoint}/big"])
            for _ in range(4)
        ]
        most = 0
        while any(client.poll() is None for client in clients):
            reading = one.operations._reading
            most = max(most, reading.sequential.used + reading.random.used)
        ended = [client.returncode for client in clients]

    assert ended == [0] * 4
    assert 0 < most <= cache + (4 << 20)  # what readers wait for is beyond it
