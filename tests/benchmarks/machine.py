"""On what it runs: the machine, and the build of each Python that serves."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Build", "machine", "machine_text", "warnings"]

#: What an interpreter is asked.  PyPy has a JIT in place of a profile, and Debian
#: (``deb_system``) uses one without that option.
_QUESTION = """
import importlib.util, json, platform, sys, sysconfig
arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
implementation = platform.python_implementation()
print(json.dumps({
    "implementation": implementation,
    "version": platform.python_version(),
    "threads": "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "",
    "optimized": implementation != "CPython"
        or "deb_system" in sysconfig.get_scheme_names()
        or "--enable-optimizations" in arguments,
    "lacks": [name for name in ("trio", "attrs") if not importlib.util.find_spec(name)],
}))
"""

#: The load average above which other programs are at work.
_BUSY = 0.5

_LIBRARIES = ("triofuse", "trio", "attrs", "pyfuse3", "mfusepy")


@attrs.frozen(kw_only=True)
class Build:
    """A Python interpreter.

    Attributes:
      interpreter: The program.
      implementation: ``CPython`` or ``PyPy``.
      version: As ``3.14.0``.
      threads: ``t`` if threads run Python at the same time, else empty.
      optimized: Whether it was compiled with what a profile says (PGO).
      lacks: Dependencies of triofuse that are not installed there.
    """

    interpreter: str
    implementation: str
    version: str
    threads: str
    optimized: bool
    lacks: list[str] = attrs.Factory(list)

    @classmethod
    def of(cls, interpreter: str) -> Build:
        """Ask an interpreter.

        Raises:
          OSError: It cannot be run.
          subprocess.CalledProcessError: It fails.
          ValueError: It says something else than a Python would.
        """
        command = [interpreter, "-c", _QUESTION]
        asked = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        return cls(interpreter=interpreter, **json.loads(asked.stdout))

    @property
    def name(self) -> str:
        """What it is, in one word: ``CPython-3.14.0t``."""
        return f"{self.implementation}-{self.version}{self.threads}"

    def __str__(self) -> str:
        build = "PGO" if self.optimized else "no PGO"
        if self.implementation != "CPython":
            build = "JIT"
        return f"{self.name} ({self.interpreter}, {build})"


def warnings(builds: Iterable[Build]) -> list[str]:
    """Return what makes figures taken here misleading, a line each."""
    lines = [
        f"{build.name} was compiled without --enable-optimizations (PGO): "
        "Python takes a third longer than in other builds"
        for build in builds
        if not build.optimized
    ]
    load = os.getloadavg()[0]
    if load > _BUSY:
        lines.append(f"load average {load:.1f}: compare CPU time rather than time")
    return lines


def machine(builds: Iterable[Build]) -> dict[str, Any]:
    """Return what the figures depend on, for JSON; builds come in the order given."""
    installed = {dist.name: dist.version for dist in metadata.distributions()}
    return {
        "kernel": platform.release(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "pythons": [attrs.asdict(build) for build in builds],
        "versions": {name: installed[name] for name in _LIBRARIES if name in installed},
    }


def machine_text(told: dict[str, Any]) -> str:
    """Return the same as a line or two."""
    libraries = ", ".join(
        f"{name} {version}" for name, version in told["versions"].items()
    )
    pythons = "; ".join(str(Build(**python)) for python in told["pythons"])
    return (
        f"{told['processor']}, {told['cpus']} CPUs, Linux {told['kernel']},"
        f" load average {told['load']:.2f}\n{pythons}; {libraries}"
    )


def _processor() -> str:
    """Return the model of the CPU. Source: ``/proc/cpuinfo``."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = re.findall(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    return models[0] if models else platform.machine()
