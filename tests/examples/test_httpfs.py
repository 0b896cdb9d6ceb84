"""The files of a local HTTP server with range requests, mounted."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import EXAMPLES, serving
from tests.examples.test_nodes import lines_of_code

pytest.importorskip("httpx", reason="httpx is not installed")
pytestmark = pytest.mark.mount

LARGE = os.urandom(1 << 20) * 9 + b"the end"


class Ranges(SimpleHTTPRequestHandler):
    """Python's own server, with ranges; counts the GETs of each path."""

    asked: list[str]
    failing = False

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        self.asked.append(self.path)
        if self.failing:
            self.send_error(503)
            return
        if wanted is None:
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        piece = data[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(206)
        self.send_header("content-length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of a directory with a few files."""
    root = tmp_path / "www"
    (root / "a b").mkdir(parents=True)
    (root / "a b" / "über.txt").write_text("hello")
    (root / "large").write_bytes(LARGE)
    Ranges.asked = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *them: Ranges(*them, directory=str(root))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_files_of_a_server_are_read_by_ranges(url: str, mountpoint: str) -> None:
    command = [str(EXAMPLES / "httpfs.py"), url, mountpoint, "--foreground"]
    with serving(*command, mountpoint=mountpoint):
        root = Path(mountpoint)
        assert sorted(os.listdir(root)) == ["a b", "large"]
        assert (root / "a b" / "über.txt").read_text() == "hello"
        assert not (root / "absent").exists()
        copied = subprocess.run(["cat", root / "large"], capture_output=True)
    assert copied.stdout == LARGE
    assert Ranges.asked.count("/large") == 10  # each block once


def test_a_failing_server_is_an_error_and_nothing_hangs(
    url: str, mountpoint: str
) -> None:
    command = [str(EXAMPLES / "httpfs.py"), url, mountpoint, "--foreground"]
    with serving(*command, mountpoint=mountpoint):
        file = os.open(Path(mountpoint) / "large", os.O_RDONLY)
        Ranges.failing = True
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(file, 10, 5 << 20)
        Ranges.failing = False
        assert os.pread(file, 10, 5 << 20) == LARGE[5 << 20 :][:10]
        os.close(file)


def test_the_example_is_short() -> None:
    assert lines_of_code((EXAMPLES / "httpfs.py").read_text()) <= 40
