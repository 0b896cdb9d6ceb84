"""``triofuse list``: the mounts of this machine, what they serve, how they do."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from triofuse.command.status import PREFIX
from triofuse.device.mountinfo import MountEntry, read_mounts

__all__ = ["list_mounts"]

_SECONDS: Final = 1.0

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def list_mounts(argv: Sequence[str]) -> int:
    """Print the mounts; return an exit status."""
    parser = argparse.ArgumentParser(
        prog="triofuse list", description="Show the mounts of this machine."
    )
    parser.add_argument("--json", action="store_true", help="one object for each mount")
    args = parser.parse_args(argv)
    found = list(_mounts())
    if args.json:
        for one in found:
            sys.stdout.write(json.dumps(one) + "\n")
        return 0
    rows = [("MOUNTPOINT", "SOURCE", "PID", "STATE")]
    for one in found:
        row = one["mountpoint"], one["source"], str(one.get("pid", "-")), _state(one)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[3]]) + "\n")
    return 0


def _mounts() -> Iterator[dict[str, Any]]:
    """Yield a report for each mount of this command."""
    reports = {one["mountpoint"]: one for one in _reports()}
    entries = [one for one in read_mounts() if one.is_fuse]
    silent = [
        one
        for one in entries
        if one.fstype == "fuse.triofuse" and one.mount_point not in reports
    ]
    with ThreadPoolExecutor(32) as pool:
        states = dict(zip(silent, pool.map(_silent, silent), strict=True))
    for entry in entries:
        if entry.mount_point in reports:
            yield reports.pop(entry.mount_point)
        elif entry in states:
            yield states[entry]


def _reports() -> Iterator[dict[str, Any]]:
    """Yield what the servers of this user tell; root gets all."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        lines = table.read().splitlines()
    names = {line.rpartition(" ")[2] for line in lines if f" @{PREFIX}" in line}
    for name in sorted(names):
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(_SECONDS)
            answer = b""
            try:
                server.connect("\0" + name[1:])
                while piece := server.recv(1 << 16):
                    answer += piece
                yield json.loads(answer)
            except (OSError, ValueError):
                continue


def _silent(entry: MountEntry) -> dict[str, Any]:
    """Describe a mount whose server tells nothing: it is dead, blocked or another's."""
    probe = ["stat", "--file-system", "--format=", entry.mount_point]
    try:
        status = subprocess.run(probe, capture_output=True, timeout=_SECONDS, text=True)
        words = status.stderr.strip().rpartition(": ")[2]
        state = f"dead: {words}" if status.returncode else "does not report"
    except subprocess.TimeoutExpired:
        state = "does not answer"
    return {"mountpoint": entry.mount_point, "source": entry.source, "state": state}


def _state(report: dict[str, Any]) -> str:
    """Return how a mount does, in words."""
    if "state" in report:
        return str(report["state"])
    calls = report.get("calls", [])
    words = [_call(one) for one in calls if one["size"] is not None]
    plain = [one for one in calls if one["size"] is None]
    slow = max(plain, key=lambda one: one["seconds"], default=None)
    if slow is not None and slow["seconds"] >= 1:
        words.append(f"waits {slow['seconds']:.0f} s for {slow['verb']} {slow['path']}")
    if report.get("failures"):
        words.append(f"{report['failures']} failures, last: {report['last_failure']}")
    since = time.strftime("%H:%M", time.localtime(report["since"]))
    return "; ".join(words) or f"idle, since {since}"


def _call(one: dict[str, Any]) -> str:
    done, size = _bytes(one["done"]), _bytes(one["size"])
    return f"{one['verb']} {one['path']}: {done} of {size}, {one['seconds']:.0f} s"


def _bytes(number: float) -> str:
    for unit in _UNITS[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"
