"""A soak: much goes wrong for long, and nothing grows.

``python -m tests.faults.soak --seconds 600``.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

import triofuse as t
from tests.faults.jittery import INJECTED, Jittery, Luck
from triofuse.device.libc import mount as mount_syscall

CROWD = Path(__file__).with_name("crowd.py")

_MS_REMOUNT = 32

LUCK = Luck(dawdle=0.3, sleep=0.001, stubborn=0.0003, bug=0.01, error=0.01)

#: What the kernel may say to a notification of the soak's, which knows nothing.
_HARMLESS = {errno.EBUSY, errno.ENOTEMPTY, errno.EINVAL, errno.ENOTDIR}


@attrs.frozen
class Sample:
    """What the process holds at a moment.

    Attributes:
      rss: Bytes in memory.
      blocks: Objects that Python has allocated.
      fds: Descriptors.
      tasks: Of trio.
      threads: Of Python.
      in_flight: Requests.
    """

    rss: int
    blocks: int
    fds: int
    tasks: int
    threads: int
    in_flight: int

    @classmethod
    def take(cls, session: t.Session | None = None) -> Sample:
        """Look now, at the process and at a session."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            pages * 4096,
            sys.getallocatedblocks(),
            len(os.listdir("/proc/self/fd")),
            trio.lowlevel.current_statistics().tasks_living,
            threading.active_count(),
            session.statistics().in_flight if session else 0,
        )


class Listener(logging.Handler):
    """Counts what the session says, and keeps what was not injected."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter()
        self.unexpected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and INJECTED in str(record.exc_info[1]):
            self.counts["bug"] += 1
        elif "nothing has ended" in message:
            self.counts["timeout"] += 1
        elif "was refused" in message:
            self.counts["notification refused"] += 1
        else:
            self.unexpected.append(message)


@attrs.define
class Report:
    """What a soak has come to."""

    seconds: float
    samples: list[Sample] = attrs.Factory(list)
    crowd: dict[str, Any] = attrs.Factory(dict)
    mishaps: Counter[str] = attrs.Factory(Counter)
    logged: Counter[str] = attrs.Factory(Counter)
    unexpected: list[str] = attrs.Factory(list)
    notifications: Counter[str] = attrs.Factory(Counter)
    handled: int = 0
    failed: int = 0
    interrupted: int = 0
    leftovers: list[str] = attrs.Factory(list)
    before: Sample | None = None
    after: Sample | None = None

    def window(self, first: float, last: float) -> Sequence[Sample]:
        """Return the samples of a part of the time, as shares of 1."""
        count = len(self.samples)
        return self.samples[int(first * count) : int(last * count)]

    def growth(self) -> dict[str, tuple[float, float]]:
        """Return the medians of an early and of a late part, by what was measured."""
        early, late = self.window(0.2, 0.4), self.window(0.8, 1.0)
        names = [field.name for field in attrs.fields(Sample)]
        return {
            name: (
                statistics.median(getattr(sample, name) for sample in early),
                statistics.median(getattr(sample, name) for sample in late),
            )
            for name in names
        }

    def faults(self) -> list[str]:
        """Return what is wrong; nothing, it is hoped."""
        found = [f"unexpected: {message}" for message in self.unexpected[:5]]
        found += [f"left behind: {left}" for left in self.leftovers[:5]]
        for name, (early, late) in self.growth().items():
            if late > _bound(name, early):
                found.append(f"{name} grew from {early} to {late}")
        if self.before is not None and self.after is not None:
            for name in ("fds", "tasks"):
                was, is_now = getattr(self.before, name), getattr(self.after, name)
                if is_now > was:
                    found.append(f"{name}: {was} before, {is_now} afterwards")
        return found

    def __str__(self) -> str:
        grown = ", ".join(
            f"{name} {early:.0f} -> {late:.0f}"
            for name, (early, late) in self.growth().items()
        )
        return (
            f"{self.seconds:g} s: {self.handled} requests, {self.failed} failed, "
            f"{self.interrupted} interrupted; {dict(self.mishaps)}; "
            f"logged {dict(self.logged)}; notifications {dict(self.notifications)}\n"
            f"{grown}\n{self.before}\n{self.after}\n{json.dumps(self.crowd)}\n"
            f"wrong: {self.faults()}"
        )


def _bound(name: str, early: float) -> float:
    """Return how far something may go up and still be called flat."""
    room = {"rss": 6 << 20, "blocks": 8_000, "fds": 4, "tasks": 40, "threads": 16}
    return early * 1.05 + room.get(name, 40)


async def _notify(filesystem: Jittery, report: Report) -> None:
    """Tell the kernel all sorts of things, and lose patience now and then."""
    chance, notifier = filesystem.chance, filesystem.notifier
    while True:
        node = chance.choice(filesystem.numbers())
        name = f"f{chance.randrange(6)}"
        told: dict[str, Callable[[], Awaitable[object]]] = {
            "inval_inode": partial(notifier.inval_inode, node, 0, 0),
            "inval_attr": partial(notifier.inval_inode, node, -1, 0),
            "inval_entry": partial(notifier.inval_entry, 1, name),
            "expire_entry": partial(notifier.expire_entry, 1, name),
            "retrieve": partial(notifier.retrieve, node, 0, 10_000),
            "prune": partial(notifier.prune, [node]),
            "inc_epoch": notifier.inc_epoch,
            "resend": notifier.resend,
        }
        what = chance.choice(list(told))
        try:
            with trio.move_on_after(chance.choice([0.002, 1.0])) as patience:
                await told[what]()
            report.notifications["lost patience"] += patience.cancelled_caught
            report.notifications[what] += 1
        except OSError as exc:
            if exc.errno not in _HARMLESS:
                raise
            report.notifications["refused"] += 1
        await trio.sleep(chance.uniform(0, 0.02))


async def _watch(session: t.Session, report: Report) -> None:
    while True:
        await trio.sleep(min(1.0, report.seconds / 60))
        report.samples.append(Sample.take(session))


def forget_all(root: str) -> None:
    """Have the kernel drop all names that nobody uses, and so their nodes."""
    mount_syscall("none", root, "fuse", _MS_REMOUNT, "")


async def crowd(*arguments: object, seconds: float) -> dict[str, Any]:
    """Run the clients; return what they report."""
    command = [sys.executable, "-S", str(CROWD), *map(str, arguments)]

    def run() -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    report: dict[str, Any] = json.loads(await trio.to_thread.run_sync(run))
    return report


def empty(root: str) -> None:
    """Delete everything."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            os.unlink(os.path.join(folder, name))
        if folder != root:
            os.rmdir(folder)


async def until_none_left(filesystem: Jittery, seconds: float = 10) -> list[str]:
    """Wait for the last FORGET and RELEASE; return what is left nevertheless."""
    with trio.move_on_after(seconds):
        while filesystem.leftovers():
            await trio.sleep(0.02)
    return filesystem.leftovers()


async def soak(
    mountpoint: str, seconds: float, *, clients: int = 32, seed: int = 1
) -> Report:
    """Mount, have everything go wrong for so long, unmount; return the report."""
    filesystem = Jittery(LUCK, seed)
    report = Report(seconds, before=Sample.take())
    listener = Listener()
    log = logging.getLogger("triofuse")
    log.addHandler(listener)
    log.propagate = False
    try:
        async with t.mount(filesystem, mountpoint, timeout=1.0) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, session, report)
                nursery.start_soon(_notify, filesystem, report)
                report.crowd = await crowd(
                    "work", mountpoint, seed, clients, seconds, seconds=seconds + 60
                )
                nursery.cancel_scope.cancel()
            filesystem.calm = True
            await trio.to_thread.run_sync(empty, mountpoint)
            await trio.to_thread.run_sync(forget_all, mountpoint)
            report.leftovers = await until_none_left(filesystem)
            done = session.statistics()
            report.handled, report.failed = done.handled, done.failed
            report.interrupted = done.interrupted
            if done.in_flight:
                report.leftovers += [str(one) for one in session.in_flight()]
        report.after = Sample.take()
    finally:
        log.removeHandler(listener)
        log.propagate = True
    report.mishaps = filesystem.mishaps
    report.logged, report.unexpected = listener.counts, listener.unexpected
    return report


def main() -> None:
    """Soak for as long as the command line says; exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triofuse-soak-") as mountpoint:

        async def run() -> Report:
            return await soak(
                mountpoint,
                arguments.seconds,
                clients=arguments.clients,
                seed=arguments.seed,
            )

        report = trio.run(run)
    print(report)
    sys.exit(1 if report.faults() else 0)


if __name__ == "__main__":
    main()
