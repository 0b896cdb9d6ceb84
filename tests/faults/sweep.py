"""A sweep: a server is ended at every instant of its life, and nothing stays mounted.

``python -m tests.faults.sweep --instants 500``, as root.  Each run is a process of its
own, in a mount namespace of their own.  An instant is a line of Python that is executed,
in whatever thread: in triofuse, in trio, or in contextlib.  The first run counts them.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import itertools
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

import attrs
import trio

import triofuse
from tests.session.clients import is_mounted
from tests.session.probe import Probe

#: Seconds that a run may take; then it hangs.
_PATIENCE: Final = 30.0

#: Seconds that the process of auto_unmount may take.
_GONE: Final = 5.0

#: The parts of a life, which have as many instants each.
PHASES: Final = ("mount", "life", "end")

#: What is looked at, line by line.
_FOLLOWED: Final = ("/triofuse/", "/trio/_core/", "/contextlib.py")

#: More than a server with one client has open.
_DESCRIPTORS: Final = 40


@attrs.frozen
class Instant:
    """When something happens: before the n-th line of a phase.

    Attributes:
      phase: One of ``PHASES``.
      line: Which line.
      descriptors: How many are allowed from then on, where that is what happens.
    """

    phase: str
    line: int
    descriptors: int = 0


@attrs.define(eq=False)
class Clock:
    """Counts the lines of each phase, and does something at one of them."""

    act: Callable[[Instant], object]
    instant: Instant | None = None
    phase: str = "mount"
    lines: Counter[str] = attrs.field(factory=Counter)

    def start(self) -> None:
        """Count in this thread and in those that it starts."""
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        return self._line if any(part in name for part in _FOLLOWED) else None

    def _line(self, _: FrameType, event: str, __: Any) -> Any:
        if event == "line":
            self.lines[self.phase] += 1
            instant = self.instant
            if instant and (instant.phase, instant.line) == (
                self.phase,
                self.lines[self.phase],
            ):
                self.instant = None
                self.act(instant)
        return self._line


def _client(place: str) -> int:
    """Fork a client, which works when it is told; return the socket to tell it.

    It is another process: one that waits for its own mount cannot be killed.
    """
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours.detach()
    try:
        os.closerange(3, theirs.fileno())
        os.closerange(theirs.fileno() + 1, 1024)
        while theirs.recv(1):
            with contextlib.suppress(OSError):  # it was ended meanwhile
                _work(place)
            theirs.send(b".")
    finally:
        os._exit(0)


def _work(place: str) -> None:
    os.stat(place)
    with open(f"{place}/plain", "rb") as file:
        file.read()
    os.listdir(place)


@attrs.define(eq=False)
class Life:
    """A server, the clock by which it lives, and the socket of its one client."""

    place: str
    clock: Clock
    client: int
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    token: trio.lowlevel.TrioToken | None = None

    def use(self) -> None:
        """Have the client work, and wait for it."""
        os.write(self.client, b".")
        os.read(self.client, 1)

    async def in_block(self, options: triofuse.MountOptions) -> None:
        """Mount for the length of a block."""
        self.token = trio.lowlevel.current_trio_token()
        with self.scope:
            async with triofuse.mount(Probe(), self.place, options):
                self.clock.phase = "life"
                await trio.to_thread.run_sync(self.use, abandon_on_cancel=True)
                self.clock.phase = "end"

    def mount(self, options: triofuse.MountOptions) -> None:
        """Run a program of one's own, in which a block is left."""
        trio.run(self.in_block, options)

    def run(self, options: triofuse.MountOptions) -> None:
        """Run a program that does nothing else, and end it by SIGTERM."""
        probe = Probe()
        real = probe.init

        async def init(config: triofuse.KernelConfig) -> None:
            await real(config)
            self.clock.phase = "life"
            threading.Thread(target=self.use_and_end, daemon=True).start()

        probe.init = init  # type: ignore[method-assign]
        triofuse.run(probe, self.place, options)

    def use_and_end(self) -> None:
        """Be a client, then have the server end."""
        self.use()
        self.clock.phase = "end"
        os.kill(os.getpid(), signal.SIGTERM)

    def cancel(self, _: Instant) -> None:
        """Cancel the block, from whatever thread."""
        if self.token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self.token.run_sync_soon(self.scope.cancel)


def _signal(number: signal.Signals) -> Callable[[Life, Instant], None]:
    return lambda *_: os.kill(os.getpid(), number)


def _limit(_: Life, instant: Instant) -> None:
    """Allow no more descriptors than that, be they open or not."""
    limits = (instant.descriptors, instant.descriptors)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@attrs.frozen
class Ending:
    """A way to end a server.

    Attributes:
      name: Of the way.
      live: What the server does.
      act: What happens to it.
      auto_unmount: Whether it takes that to unmount.
    """

    name: str
    live: Callable[[Life, triofuse.MountOptions], None]
    act: Callable[[Life, Instant], None]
    auto_unmount: bool = False


ENDINGS: Final = (
    Ending("SIGINT to run()", Life.run, _signal(signal.SIGINT)),
    Ending("SIGTERM to run()", Life.run, _signal(signal.SIGTERM)),
    Ending("SIGHUP to run()", Life.run, _signal(signal.SIGHUP)),
    Ending("KeyboardInterrupt in mount()", Life.mount, _signal(signal.SIGINT)),
    Ending("mount() is cancelled", Life.mount, Life.cancel),
    Ending("descriptors run out in mount()", Life.mount, _limit),
    Ending("descriptors run out in run()", Life.run, _limit),
    Ending(
        "SIGKILL, with auto_unmount",
        Life.run,
        _signal(signal.SIGKILL),
        auto_unmount=True,
    ),
    Ending(
        "SIGTERM to mount(), with auto_unmount",
        Life.mount,
        _signal(signal.SIGTERM),
        auto_unmount=True,
    ),
)


def _child(ending: Ending, place: str, instant: Instant | None, report: int) -> None:
    """Live, in a forked process; write the number of lines of each phase."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    clock = Clock(lambda now: ending.act(life, now), instant)
    life = Life(place, clock, _client(place))
    clock.start()
    try:
        options = triofuse.MountOptions(auto_unmount=ending.auto_unmount)
        ending.live(life, options)
    except BaseException:  # noqa: BLE001  (whatever has ended it)
        pass
    finally:
        sys.settrace(None)
        atexit._run_exitfuncs()
        os.write(report, " ".join(str(clock.lines[p]) for p in PHASES).encode())
        os._exit(0)


def live(ending: Ending, place: str, instant: Instant | None) -> tuple[str, bytes]:
    """Have a server live in a process of its own; return what is wrong, and its report."""
    report, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _child(ending, place, instant, theirs)
    os.close(theirs)
    wrong = "" if _ends(pid) else "hangs"
    deadline = time.monotonic() + _GONE * ending.auto_unmount
    while is_mounted(place) and time.monotonic() < deadline:
        time.sleep(0.01)
    if is_mounted(place):
        wrong += " is left mounted"
        os.system(f"umount -l {place}")
    lines = os.read(report, 100)
    os.close(report)
    return wrong.strip(), lines


def _ends(pid: int) -> bool:
    """Wait for a process; kill it if it takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _instants(ending: Ending, place: str, count: int, seed: int) -> Iterator[Instant]:
    """Yield instants that are spread evenly over each phase."""
    _, lines = live(attrs.evolve(ending, act=lambda *_: None), place, None)
    each = -(-count // len(PHASES))
    limits = itertools.cycle(range(_DESCRIPTORS + 1))
    for phase, total in zip(PHASES, map(int, lines.split()), strict=True):
        for number in range(each):
            shift = (number + (seed * 0.382) % 1) / each
            yield Instant(phase, 1 + int(shift * total), next(limits))


def sweep(place: str, count: int, seed: int) -> list[str]:
    """End servers at so many instants; return what was wrong, in words."""
    wrong = []
    each = -(-count // len(ENDINGS))
    for ending in ENDINGS:
        began, results = time.monotonic(), Counter[str]()
        for instant in _instants(ending, place, each, seed):
            result, _ = live(ending, place, instant)
            results[result or "gone"] += 1
            if result:
                wrong.append(f"{ending.name}, at {instant}: {result}")
        took = time.monotonic() - began
        print(f"{ending.name}: {dict(results)} in {took:.0f} s", flush=True)
    return wrong


def main() -> None:
    """Sweep as the command line says; exit with 1 if anything is left mounted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instants", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        again = [sys.executable, "-m", "tests.faults.sweep", *sys.argv[1:], "--inside"]
        command = ["unshare", "--mount", "--propagation", "private", *again]
        os.execvp(command[0], command)
    with tempfile.TemporaryDirectory(prefix="triofuse-sweep-") as place:
        wrong = sweep(place, arguments.instants, arguments.seed)
    print("\n".join(wrong) or "nothing is left mounted")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
