"""What is left when a server, a store or a client dies, or another machine writes."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fsspec.mounts import commanded, in_thread
from tests.fsspec.servers import Server

pytestmark = pytest.mark.mount

REMOTE = ("sftp", "s3")

remote = pytest.mark.parametrize("store", REMOTE, indirect=True)


@pytest.fixture
def running(store: Server) -> Iterator[Server]:
    """A store that runs, and that runs again afterwards."""
    yield store
    store.kill()
    store.start()
    if store.kind == "s3":  # moto keeps all in memory
        fill(store)


def fill(store: Server) -> None:
    """Put into S3 what these tests need."""
    fs, _ = store.open()
    fs.mkdir("bucket")
    fs.pipe_file("bucket/top/hello", b"hello\n")


def _stored(store: Server, name: str) -> bytes:
    fs, root = store.open()
    fs.invalidate_cache()
    data: bytes = fs.cat_file(f"{root}/{name}")
    return data


@remote
def test_what_fsync_acknowledged_is_stored_if_the_server_is_killed(
    store: Server, mountpoint: str, tmp_path: Path
) -> None:
    with commanded(store, mountpoint, tmp_path / "config") as process:
        fd = os.open(f"{mountpoint}/synced", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, b"acknowledged")
        os.fsync(fd)
        os.write(fd, b" and more")
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            os.close(fd)

    assert _stored(store, "synced") == b"acknowledged"


@remote
def test_a_store_that_dies_fails_its_callers_and_serves_again_when_it_is_back(
    running: Server, mountpoint: str, tree: Path
) -> None:
    mnt = Path(mountpoint)
    with in_thread(running, mountpoint, retries=1, timeout=10, ttl=0):
        assert (mnt / "hello").read_text() == "hello\n"
        running.kill()

        with pytest.raises(OSError) as failed:
            os.stat(mnt / "dir")
        assert failed.value.errno in (
            errno.ECONNREFUSED,
            errno.ECONNRESET,
            errno.ETIMEDOUT,
        )

        running.start()
        if running.kind == "s3":
            fill(running)
        assert (mnt / "hello").read_text() == "hello\n"


@remote
def test_close_returns_the_error_of_an_upload_that_failed(
    running: Server, mountpoint: str
) -> None:
    with in_thread(running, mountpoint, retries=0, timeout=10):
        fd = os.open(f"{mountpoint}/lost", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, b"data")
        running.kill()

        with pytest.raises(OSError) as synced:
            os.fsync(fd)
        with pytest.raises(OSError) as closed:
            os.close(fd)

    for failed in synced, closed:
        assert failed.value.errno in (errno.ECONNREFUSED, errno.ECONNRESET)


@remote
def test_an_upload_that_failed_is_sent_by_the_next_fsync(
    running: Server, mountpoint: str
) -> None:
    with in_thread(running, mountpoint, retries=0, timeout=10):
        fd = os.open(f"{mountpoint}/kept", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, b"kept")
        running.kill()
        with pytest.raises(OSError):
            os.fsync(fd)
        running.start()
        if running.kind == "s3":
            fill(running)
        os.fsync(fd)
        os.close(fd)

    assert _stored(running, "kept") == b"kept"


@pytest.mark.parametrize("store", ["sftp"], indirect=True)
def test_a_client_of_a_store_that_hangs_can_be_killed_and_others_get_an_error(
    running: Server, mountpoint: str
) -> None:
    with in_thread(running, mountpoint, retries=0, timeout=2, ttl=0):
        os.stat(f"{mountpoint}/hello")
        with _stopped(running):
            killed = subprocess.Popen(["stat", f"{mountpoint}/hello"])
            other = subprocess.Popen(
                ["stat", f"{mountpoint}/big"], stderr=subprocess.PIPE, text=True
            )
            killed.kill()

            assert killed.wait(1.5) == -signal.SIGKILL
            _, words = other.communicate(timeout=20)
            assert "timed out" in words
        deadline = time.monotonic() + 20  # a new connection is made in a while
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                os.stat(f"{mountpoint}/hello")
                break
        assert os.stat(f"{mountpoint}/hello").st_size == 6


@contextlib.contextmanager
def _stopped(server: Server) -> Iterator[None]:
    """Have a server and its children answer nobody."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


@pytest.mark.parametrize("store", ["sftp", "s3", "local"], indirect=True)
def test_another_mount_sees_what_was_closed_when_it_opens(
    store: Server, mountpoint: str, tmp_path: Path
) -> None:
    here, there = Path(mountpoint), tmp_path / "there"
    there.mkdir()
    with in_thread(store, mountpoint, ttl=0), in_thread(store, str(there), ttl=0):
        for text in "first", "second, longer", "third":
            (here / "shared").write_text(text)

            assert (there / "shared").read_text() == text
        (there / "shared").unlink()

        assert not (here / "shared").exists()


@pytest.mark.parametrize("store", ["sftp"], indirect=True)
def test_an_upload_that_is_not_finished_leaves_the_old_contents(
    running: Server, mountpoint: str, tmp_path: Path
) -> None:
    (tmp_path / "config").touch()
    with commanded(running, mountpoint, tmp_path / "config") as process:
        Path(mountpoint, "old").write_text("old")
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITE_AND_SYNC, f"{mountpoint}/old"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writer.stdout is not None
        writer.stdout.readline()  # it is about to sync
        process.kill()
        process.wait()
        writer.wait(20)
        writer.stdout.close()

    assert _stored(running, "old") in (b"old", b"n" * (40 << 20))


_WRITE_AND_SYNC = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
for _ in range(40):
    os.write(fd, b"n" * (1 << 20))
print("written", flush=True)
os.fsync(fd)
"""
