"""Servers: what there is, and one at a time from its start to its end."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.benchmarks.process import cpu_seconds
from tests.benchmarks.shape import DATA, Shape, file_name

__all__ = ["BEFORE", "NAMES", "BenchmarkError", "Server", "Variant", "Workshop"]

ROOT = Path(__file__).parents[2]

#: Modules that are servers, and what they need.
_MODULES = {
    "triofuse": ("triofuse_server", "triofuse"),
    "pyfuse3": ("pyfuse3_server", "pyfuse3"),
    "mfusepy": ("mfusepy_server", "mfusepy"),
    "triofuse-backed": ("triofuse_backed", "triofuse"),
    "pyfuse3-backed": ("pyfuse3_backed", "pyfuse3"),
}

#: ``passthrough`` is our example, ``below`` no server but the directory itself.
NAMES = (*_MODULES, "floor", "passthrough", "below")

#: The server that runs with another checkout.
BEFORE = "before"

#: Runs the server of this checkout with the triofuse of any.
_VARIANT = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
import triofuse
sys.path.remove(sys.argv[1])
del sys.argv[1]
runpy.run_module("tests.benchmarks.servers.triofuse_server", run_name="__main__")
"""

#: Seconds: a million files take pyfuse3 a while to make.
_START_TIMEOUT = 120
_END_TIMEOUT = 20


class BenchmarkError(Exception):
    """A server or client did not do what it should."""


@attrs.frozen
class Server:
    """A server that runs.

    Attributes:
      name: One of `NAMES`, or of the workshop's variants.
      directory: Where clients work.
      pid: Its process; 0 where there is none.
    """

    name: str
    directory: str
    pid: int


@attrs.frozen
class Variant:
    """What the server of triofuse is to run with, in place of what runs this.

    Attributes:
      checkout: The folder that has ``triofuse`` in it.
      interpreter: A Python with the dependencies of triofuse.
    """

    checkout: Path = ROOT
    interpreter: str = sys.executable


@attrs.define
class Workshop:
    """The directory of mountpoints, logs and sources, and who can be started.

    Attributes:
      path: Ours alone.
      variants: By name: each does what the server ``triofuse`` does.
      missing: Why a server cannot be started, by name; empty if nobody wants it.
    """

    path: Path
    variants: dict[str, Variant] = attrs.Factory(dict)
    missing: dict[str, str] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        # Who installs a library gets its bytecode with it.  One that is compiled at
        # the start of a server leaves it with 0.6 MiB that it has no use for.
        compileall.compile_dir(ROOT / "tests" / "benchmarks", quiet=2)
        for variant in (Variant(), *self.variants.values()):
            compileall.compile_dir(variant.checkout / "triofuse", quiet=2)
        for name, (_, needed) in _MODULES.items():
            if importlib.util.find_spec(needed) is None:
                self.missing[name] = f"{needed} is not installed"
        if os.geteuid() != 0:
            self.missing["floor"] = "only root can mount without fusermount3"
            self.missing["passthrough"] = "only root may register backing files"
        elif reason := self._compile():
            self.missing["floor"] = reason

    def _compile(self) -> str:
        """Compile the floor; return why that failed, or nothing."""
        source = Path(__file__).with_name("servers") / "floor.c"
        compiler = shutil.which("cc")
        if compiler is None:
            return "there is no cc"
        command = [compiler, "-O2", "-o", str(self.path / "floor"), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr.strip()

    def servers(self, names: Iterable[str]) -> list[str]:
        """Return who does what these servers do: each variant beside triofuse."""
        return [
            server
            for name in names
            for server in (name, *(self.variants if name == "triofuse" else ()))
        ]

    @contextmanager
    def started(self, name: str, shape: Shape) -> Iterator[Server]:
        """Run a server for the length of a block.

        Raises:
          BenchmarkError: It does not mount; what it said is in the message.
        """
        if shape.source:
            shape = attrs.evolve(shape, source=self._source(shape))
        if name == "below":
            yield Server(name, shape.source, 0)
            return
        mountpoint = self.path / f"mnt-{name}"
        mountpoint.mkdir(exist_ok=True)
        command = self._command(name, str(mountpoint), shape)
        with open(self.path / f"{name}.log", "w+") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            try:
                _wait_mounted(process, name, mountpoint, log.name)
                yield Server(name, str(mountpoint), process.pid)
            finally:
                _end(process, mountpoint)

    def _command(self, name: str, mountpoint: str, shape: Shape) -> list[str]:
        if name == "floor":
            return [str(self.path / "floor"), *shape.words(), mountpoint]
        if name == "passthrough":
            program = str(ROOT / "examples" / "passthrough.py")
            return [sys.executable, program, shape.source, mountpoint]
        # triofuse is started as its variants are, so that only they differ.
        variant = {"triofuse": Variant(), **self.variants}.get(name)
        if variant is not None:
            start = [variant.interpreter, "-c", _VARIANT, str(variant.checkout)]
        else:
            module = f"tests.benchmarks.servers.{_MODULES[name][0]}"
            start = [sys.executable, "-m", module]
        return [*start, *shape.words(), mountpoint]

    def _source(self, shape: Shape) -> str:
        """Make the directory that backed servers show."""
        source = self.path / "source"
        source.mkdir(exist_ok=True)
        (source / DATA).write_bytes(b"triofuse" * (shape.size // 8))
        (source / file_name(0)).write_text(file_name(0))
        return str(source)


def _wait_mounted(
    process: subprocess.Popen[bytes], name: str, mountpoint: Path, log: str
) -> None:
    end = time.monotonic() + _START_TIMEOUT
    while not _is_mounted(mountpoint):
        if process.poll() is not None or time.monotonic() > end:
            said = Path(log).read_text().strip()
            message = f"{name} does not mount: {said[-500:]}"
            raise BenchmarkError(message)
        time.sleep(0.01)
    # Mounted is not ready: it may still be importing, or answering INIT.
    busy = -1.0
    while (now := cpu_seconds(process.pid)) != busy:
        busy = now
        time.sleep(0.05)


def _is_mounted(path: Path) -> bool:
    return f" {path} " in Path("/proc/self/mounts").read_text()


def _end(process: subprocess.Popen[bytes], mountpoint: Path) -> None:
    """Unmount, and end the server whatever it does."""
    own = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
    if _is_mounted(mountpoint):
        lazily = "-l" if os.geteuid() == 0 else "-z"
        subprocess.run([*own, lazily, str(mountpoint)], check=False)
    try:
        process.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
