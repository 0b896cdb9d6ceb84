"""Real stores for tests: servers on this machine, archives, a git repository.

Each is made with contents, skipped with a word where it is not installed, and can be
stopped and started again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

__all__ = ["KINDS", "Server", "started"]

READABLE = ("zip", "tar", "git", "http")
WRITABLE = ("memory", "local", "sftp", "s3")
KINDS = (*READABLE, *WRITABLE)


@attrs.define(eq=False)
class Server:
    """A store that runs.

    Attributes:
      kind: One of `KINDS`.
      url: Its URL.
      options: The arguments for `open_store`.
    """

    kind: str
    url: str
    options: dict[str, Any] = attrs.field(factory=dict)
    _command: list[str] = attrs.field(factory=list, repr=False)
    _port: int = 0
    _environment: dict[str, str] = attrs.field(factory=dict, repr=False)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        if not self._command:
            return
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            assert self._process.poll() is None, f"{self.kind} server has ended"
            time.sleep(0.02)  # no server says that it listens
        raise AssertionError(f"{self.kind} server takes no connections")

    def kill(self) -> None:
        """Kill the server with all connections."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal to the server, and to those that serve its connections."""
        assert self._process is not None
        for pid in _family(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def open(self) -> tuple[Any, str]:
        """Open it anew, past fsspec's cache of instances."""
        from triofuse.fsspec import open_store

        fsspec.config.conf.clear()
        return open_store(self.url, {**self.options, "skip_instance_cache": True})


@contextlib.contextmanager
def started(kind: str, tree: Path, work: Path) -> Iterator[Server]:
    """Start a store that has the contents of a directory.

    Args:
      kind: One of `KINDS`.
      tree: The contents.
      work: An empty directory for what it needs.
    """
    server = _MAKERS[kind](tree, work)
    server.start()
    try:
        if kind == "s3":
            _fill_s3(server, tree)
        yield server
    finally:
        server.kill()


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, int] = {}
    for one in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = Path("/proc", one, "stat").read_text()
            parents[int(one)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for above in found:
        found += [child for child, parent in parents.items() if parent == above]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _needs(*modules: str) -> None:
    for module in modules:
        pytest.importorskip(module, reason=f"{module} is not installed")


def _memory(tree: Path, work: Path) -> Server:
    fs = fsspec.filesystem("memory")
    root = f"/{work.name}-{work.parent.name}"
    for path in sorted(tree.rglob("*")):
        place = f"{root}/{path.relative_to(tree)}"
        if path.is_dir():
            fs.makedirs(place, exist_ok=True)
        else:
            fs.pipe_file(place, path.read_bytes())
    if not fs.exists(root):
        fs.mkdir(root)
    return Server("memory", f"memory:/{root}")


def _local(tree: Path, work: Path) -> Server:
    shutil.copytree(tree, work / "files")
    return Server("local", f"file://{work}/files")


def _zip(tree: Path, work: Path) -> Server:
    with zipfile.ZipFile(work / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*")):
            archive.write(path, path.relative_to(tree))
    return Server("zip", f"zip::file://{work}/a.zip")


def _tar(tree: Path, work: Path) -> Server:
    with tarfile.open(work / "a.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(tree, ".")
    return Server("tar", f"tar::file://{work}/a.tar.gz")


def _git(tree: Path, work: Path) -> Server:
    _needs("pygit2")
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    shutil.copytree(tree, work / "repo")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (
        ["init", "-q", "-b", "master"],
        ["add", "."],
        ["commit", "-q", "--allow-empty", "-m", "one"],
    ):
        subprocess.run(["git", *who, *command], cwd=work / "repo", check=True)
    return Server("git", f"git://{work}/repo:")


def _http(tree: Path, work: Path) -> Server:
    _needs("aiohttp")
    port = _free_port()
    command = [sys.executable, "-m", "tests.fsspec.http_server", str(port), str(tree)]
    return Server("http", f"http://127.0.0.1:{port}", {}, command, port)


def _s3(tree: Path, work: Path) -> Server:
    _needs("moto", "s3fs", "flask")
    port = _free_port()
    options = {
        "key": "k",
        "secret": "s",
        "endpoint_url": f"http://127.0.0.1:{port}",
    }
    program = "from moto.server import main; main()"
    command = [sys.executable, "-c", program, "-p", str(port)]
    return Server("s3", "s3://bucket/top", options, command, port)


def _fill_s3(server: Server, tree: Path) -> None:
    fs = fsspec.filesystem("s3", **server.options, skip_instance_cache=True)
    fs.mkdir("bucket")
    fs.pipe(
        {
            f"bucket/top/{path.relative_to(tree)}": path.read_bytes()
            for path in tree.rglob("*")
            if path.is_file()
        }
    )


_SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {work}/host_key
AuthorizedKeysFile {work}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
"""


def _sftp(tree: Path, work: Path) -> Server:
    _needs("paramiko")
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if sshd is None:
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    for name in "host_key", "user_key":
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / name],
            check=True,
        )
    port = _free_port()
    (work / "sshd_config").write_text(_SSHD.format(port=port, work=work))
    shutil.copytree(tree, work / "files")
    options = {"port": port, "key_filename": str(work / "user_key")}
    options |= {"look_for_keys": False, "allow_agent": False}
    user = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    options["username"] = user
    command = [sshd, "-D", "-e", "-f", str(work / "sshd_config")]
    url = f"sftp://127.0.0.1{work}/files"
    return Server("sftp", url, options, command, port)


_MAKERS = {
    "memory": _memory,
    "local": _local,
    "zip": _zip,
    "tar": _tar,
    "git": _git,
    "http": _http,
    "s3": _s3,
    "sftp": _sftp,
}
