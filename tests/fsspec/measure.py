"""Time stores beside fsspec.fuse and rclone: ``python -m tests.fsspec.measure KIND...``.

Each line is one operation: seconds of triofuse, and of the others the ratio to it.
fsspec.fuse runs on mfusepy under the name of fusepy, rclone as Debian packages it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fsspec.mounts import in_thread
from tests.fsspec.servers import Server, started

#: Less than 1 for a quick look.
SCALE = float(os.environ.get("SCALE", "1"))

BIG = int(SCALE * (100 << 20))


def make_tree(root: Path) -> None:
    """Make 2,000 small files in 20 directories, and one of 100 MB."""
    for number in range(int(SCALE * 2000)):
        directory = root / f"d{number % 20}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_bytes(os.urandom(200))
    (root / "big").write_bytes(random.Random(1).randbytes(BIG))


READ_AT_RANDOM = f"""
import os, random, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
chance = random.Random(2)
for _ in range(200):
    os.pread(fd, 4096, chance.randrange({BIG - 4096}))
"""

OPERATIONS = {
    "find": ["sh", "-c", "find {} | wc -l"],
    "200 files": ["sh", "-c", "cat {}/d1/* {}/d2/* | wc -c"],
    "random": [sys.executable, "-c", READ_AT_RANDOM, "{}/big"],
    "stream": ["sh", "-c", "cat {}/big | wc -c"],
}


def timed(command: list[str], mnt: str) -> float:
    """Return the seconds that a command takes."""
    began = time.monotonic()
    subprocess.run(
        ["timeout", "-k", "5", "60", *(word.replace("{}", mnt) for word in command)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - began


@contextlib.contextmanager
def by_triofuse(server: Server, mnt: str) -> Iterator[None]:
    """Mount by triofuse."""
    with in_thread(server, mnt):
        yield


@contextlib.contextmanager
def by_fsspec(server: Server, mnt: str) -> Iterator[None]:
    """Mount by fsspec.fuse in a thread of this process."""
    import mfusepy

    sys.modules["fuse"] = mfusepy
    from fsspec.fuse import run

    fs, root = server.open()
    thread = threading.Thread(
        target=run, args=(fs, root, mnt), kwargs={"threads": False}, daemon=True
    )
    thread.start()
    _wait_mounted(mnt)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", mnt], check=False)
        thread.join(10)


@contextlib.contextmanager
def by_rclone(server: Server, mnt: str) -> Iterator[None]:
    """Mount by rclone, without its cache of whole files."""
    if shutil.which("rclone") is None or server.kind not in ("sftp", "s3"):
        raise LookupError
    words = _rclone_words(server)
    process = subprocess.Popen(
        ["rclone", "mount", *words, mnt, "--config", os.devnull],
        env={k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"},
    )
    try:
        _wait_mounted(mnt)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _rclone_words(server: Server) -> list[str]:
    options = server.options
    if server.kind == "s3":
        return [
            ":s3:bucket/top",
            "--s3-provider=Other",
            f"--s3-endpoint={options['endpoint_url']}",
            f"--s3-access-key-id={options['key']}",
            f"--s3-secret-access-key={options['secret']}",
        ]
    return [
        f":sftp:{server.url.removeprefix('sftp://127.0.0.1')}",
        "--sftp-host=127.0.0.1",
        f"--sftp-port={options['port']}",
        f"--sftp-user={options['username']}",
        f"--sftp-key-file={options['key_filename']}",
    ]


def _wait_mounted(mnt: str) -> None:
    deadline = time.monotonic() + 20
    while mnt not in Path("/proc/self/mounts").read_text(errors="replace"):
        if time.monotonic() > deadline:
            raise LookupError
        time.sleep(0.02)


def measure(server: Server, work: Path) -> None:
    """Print the table of one store."""
    results: dict[str, dict[str, float]] = {}
    for mount in by_triofuse, by_fsspec, by_rclone:
        for name, command in OPERATIONS.items():  # each on a mount that knows nothing
            mnt = work / f"{mount.__name__}-{name.replace(' ', '-')}"
            mnt.mkdir()
            seconds: Any = float("nan")
            with contextlib.suppress(LookupError, subprocess.CalledProcessError):
                with mount(server, str(mnt)):
                    seconds = timed(command, str(mnt))
            results.setdefault(name, {})[mount.__name__] = seconds
    for name, row in results.items():
        ours = row["by_triofuse"]
        ratios = [f"{ours / other:7.2f}" for other in list(row.values())[1:]]
        print(
            f"{server.kind:7} {name:10} {ours:7.3f} s  of fsspec.fuse, rclone: ",
            *ratios,
            flush=True,
        )


def main(kinds: list[str]) -> None:
    """Measure some kinds of store."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory, "tree")
        tree.mkdir()
        make_tree(tree)
        for kind in kinds:
            work = Path(directory, kind)
            work.mkdir()
            (work / "store").mkdir()
            with started(kind, tree, work / "store") as server:
                measure(server, work)


if __name__ == "__main__":
    main(sys.argv[1:] or ["memory", "zip", "local", "sftp", "s3", "http"])
