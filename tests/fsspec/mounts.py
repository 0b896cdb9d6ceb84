"""Mounts of stores: in a thread of this process, or by the command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

import triofuse
from tests.fsspec.servers import Server

__all__ = ["commanded", "in_thread", "shell"]

SECONDS = 60


def shell(command: str, cwd: Path | str, **environment: object) -> str:
    """Run a command of sh(1) as another process; return what it prints."""
    done = subprocess.run(
        ["timeout", "-k", "5", str(SECONDS), "sh", "-ec", command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"} | {k: str(v) for k, v in environment.items()},
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def in_thread(server: Server, mountpoint: str, **arguments: Any) -> Iterator[Any]:
    """Mount a store by a thread; yield its `FsspecFilesystem`."""
    from triofuse.fsspec import FsspecFilesystem

    fs, root = server.open()
    filesystem = FsspecFilesystem(fs, root, **arguments)
    ready, failures = threading.Event(), []
    token, stop = None, trio.Event()

    async def serve() -> None:
        nonlocal token
        token = trio.lowlevel.current_trio_token()
        async with triofuse.mount(filesystem, mountpoint):
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as exc:  # noqa: BLE001  (raised in the test)
            failures.append(exc)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(SECONDS)
    try:
        if not failures:
            yield filesystem
    finally:
        if token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(stop.set)
        thread.join(SECONDS)
        if failures:
            raise failures[0]


@contextlib.contextmanager
def commanded(
    server: Server, mountpoint: str, config: Path, options: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Mount a store by the command, in the foreground; yield its process."""
    config.write_text(json.dumps(server.options))
    words = ",".join(filter(None, [f"config={config}", options]))
    command = [sys.executable, "-m", "triofuse", server.url, mountpoint, "-f"]
    with notified() as (address, wait_ready):
        process = subprocess.Popen(
            [*command, "-o", words],
            env={**os.environ, "NOTIFY_SOCKET": address},
        )
        try:
            wait_ready(process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            subprocess.run(["umount", "-l", mountpoint], capture_output=True)


@contextlib.contextmanager
def notified() -> Iterator[tuple[str, Any]]:
    """Be a service manager that waits for READY=1."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # an abstract name that the kernel chooses
        manager.settimeout(0.2)
        address = "@" + manager.getsockname()[1:].decode()

        def wait(process: subprocess.Popen[bytes]) -> None:
            for _ in range(5 * SECONDS):
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in manager.recv(4096):
                        return
                assert process.poll() is None, "the command has ended"
            raise AssertionError("the command is never ready")

        yield address, wait
