"""`triofuse`, the command: URLs, filesystems by name, ``list`` and ``umount``."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.fsspec.mounts import commanded
from tests.fsspec.servers import Server

pytestmark = pytest.mark.mount

COMMAND = [sys.executable, "-m", "triofuse"]


def triofuse(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def mounts() -> dict[str, dict[str, object]]:
    lines = triofuse("list", "--json").stdout.splitlines()
    return {one["mountpoint"]: one for one in map(json.loads, lines)}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("dir/hello", "hello\n")
    return path


def test_a_zip_is_mounted_listed_and_unmounted(archive: Path, mountpoint: str) -> None:
    done = triofuse(f"zip::{archive}", mountpoint)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Path(mountpoint, "dir/hello").read_text() == "hello\n"
    report = mounts()[mountpoint]
    assert report["source"] == f"zip::{archive}"
    assert isinstance(report["pid"], int)
    words = triofuse("list").stdout
    assert "MOUNTPOINT" in words
    assert any(
        line.startswith(mountpoint) and "idle" in line for line in words.splitlines()
    )
    assert triofuse("umount", mountpoint).returncode == 0
    assert mountpoint not in mounts()


def test_memory_is_a_writable_tree_without_any_extra(mountpoint: str) -> None:
    assert triofuse("memory://", mountpoint).returncode == 0
    try:
        Path(mountpoint, "file").write_text("x")

        assert Path(mountpoint, "file").read_text() == "x"
    finally:
        triofuse("umount", mountpoint)


def test_a_directory_is_mirrored_by_the_kernel_itself(
    tmp_path: Path, mountpoint: str
) -> None:
    source = tmp_path / "with space"
    source.mkdir()
    (source / "a").write_text("old")
    assert triofuse(f"file://{tmp_path}/with%20space", mountpoint).returncode == 0
    try:
        Path(mountpoint, "a").write_text("new")
        os.chmod(f"{mountpoint}/a", 0o640)
    finally:
        triofuse("umount", mountpoint)

    assert (source / "a").read_text() == "new"
    assert (source / "a").stat().st_mode & 0o777 == 0o640


def test_importing_triofuse_and_mounting_memory_imports_no_fsspec() -> None:
    program = (
        "import sys, triofuse, triofuse.command.main; sys.exit('fsspec' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_filesystem_by_name_is_mounted(tmp_path: Path, mountpoint: str) -> None:
    (tmp_path / "mine.py").write_text(
        "import triofuse\n"
        "def make(source: str, *, word: str = ''):\n"
        "    return triofuse.Tree(triofuse.Directory({source: word}))\n"
    )
    words = [*COMMAND, "mine:make", mountpoint, "name", "-o", "word=said"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)

    assert done.stderr == ""
    try:
        assert Path(mountpoint, "name").read_text() == "said"
        assert mounts()[mountpoint]["source"] == "name"
    finally:
        triofuse("umount", mountpoint)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense://x", "there is no store 'nonsense'"),
        ("zip::/nowhere.zip", "No such file"),
        ("file:///etc/passwd", "is a file; what is in an archive is zip::"),
        ("file:///nowhere", "there is no such directory"),
        ("no_such_module:Class", "No module named 'no_such_module'"),
        ("os:nothing", "has no attribute 'nothing'"),
        ("sftp://127.0.0.1:1/", "Connection refused"),
    ],
)
def test_what_cannot_be_mounted_is_said_in_one_line(
    url: str, words: str, mountpoint: str
) -> None:
    if url.startswith("sftp"):
        pytest.importorskip("paramiko")
    done = triofuse(url, mountpoint)

    assert done.returncode in (1, 32)
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_package_is_named(mountpoint: str) -> None:
    hidden = (
        "import sys; sys.modules['{}'] = None; from triofuse.command.main import main; "
    )
    for module, url, package in (
        ("paramiko", "sftp://host/", "pip install paramiko"),
        ("fsspec", "s3://bucket", "pip install 'triofuse[fsspec]'"),
    ):
        program = hidden.format(module) + f"main(['{url}', '{mountpoint}'])"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True
        )

        assert done.returncode == 32
        assert package in done.stderr


def test_umount_says_who_uses_the_mount(archive: Path, mountpoint: str) -> None:
    triofuse(f"zip::{archive}", mountpoint)
    with open(f"{mountpoint}/dir/hello"):
        done = triofuse("umount", mountpoint)
    assert done.returncode == 32
    assert "in use" in done.stderr
    assert triofuse("umount", mountpoint).returncode == 0
    again = triofuse("umount", mountpoint)
    assert again.returncode == 32
    assert "nothing is mounted there" in again.stderr


def test_a_server_that_was_killed_is_listed_as_dead(
    archive: Path, mountpoint: str
) -> None:
    triofuse(f"zip::{archive}", mountpoint)
    os.kill(int(str(mounts()[mountpoint]["pid"])), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while "pid" in mounts()[mountpoint] and time.monotonic() < deadline:
        pass

    assert str(mounts()[mountpoint]["state"]).startswith("dead")
    assert triofuse("umount", mountpoint).returncode == 0


@pytest.mark.parametrize("store", ["sftp"], indirect=True)
def test_list_tells_what_a_mount_waits_for(
    store: Server, mountpoint: str, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    with commanded(store, mountpoint, config, "timeout=20,ttl=0"):
        os.stat(f"{mountpoint}/hello")
        store.signal(signal.SIGSTOP)
        try:
            client = subprocess.Popen(["stat", f"{mountpoint}/hello"])
            calls: object = None
            deadline = time.monotonic() + 10
            while not calls and time.monotonic() < deadline:
                calls = mounts()[mountpoint]["calls"]
            client.kill()
            client.wait()
        finally:
            store.signal(signal.SIGCONT)

    assert isinstance(calls, list)
    assert calls[0]["verb"] == "lstat"
    assert "/files" in calls[0]["path"]


@pytest.mark.parametrize("store", ["sftp"], indirect=True)
def test_a_long_upload_shows_as_a_progress_bar_on_the_terminal(
    store: Server, mountpoint: str, tmp_path: Path
) -> None:
    pytest.importorskip("rich")
    (tmp_path / "config").write_text(json.dumps(store.options))
    leader, terminal = pty.openpty()
    words = ["-f", "-o", f"config={tmp_path}/config"]
    server = subprocess.Popen(
        [*COMMAND, store.url, mountpoint, *words],
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(terminal)
    try:
        deadline = time.monotonic() + 30
        while not os.path.ismount(mountpoint) and time.monotonic() < deadline:
            pass
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITE, f"{mountpoint}/up"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        store.signal(signal.SIGSTOP)  # so that the upload lasts
        writer.stdin.close()
        seen = b""
        while b"upload /up" not in seen and time.monotonic() < deadline:
            if select.select([leader], [], [], 0.2)[0]:
                seen += os.read(leader, 4096)
    finally:
        store.signal(signal.SIGCONT)
        assert writer.wait(30) is not None
        if writer.stdout is not None:
            writer.stdout.close()
        server.terminate()
        while True:
            try:
                if not os.read(leader, 4096):
                    break
            except OSError:
                break
        server.wait(30)
        os.close(leader)

    assert b"upload /up" in seen
    assert b"1.0 MiB" in seen


_WRITE = """
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(fd, b"n" * (1 << 20))
print("written", flush=True)
sys.stdin.read()
os.close(fd)
"""


@pytest.mark.parametrize(
    ("words", "left", "options"),
    [
        (["u", "m"], ["u", "m"], {}),
        (["u", "m", "-o", "store.anon=true"], ["u", "m", "-o", ""], {"anon": True}),
        (["-ostore.a=x,ro", "u", "m"], ["-oro", "u", "m"], {"a": "x"}),
        (["-ostore.a=1", "u", "m"], ["u", "m"], {"a": 1}),
        (
            ["u", "m", "-o", "ttl=3,store.s3.key=a=b,ro"],
            ["u", "m", "-o", "ttl=3,ro"],
            {"s3": {"key": "a=b"}},
        ),
    ],
)
def test_options_of_the_store_are_not_those_of_the_mount(
    words: list[str], left: list[str], options: dict[str, object]
) -> None:
    from triofuse.command.main import _without_store_options

    assert _without_store_options(words) == (left, options)
