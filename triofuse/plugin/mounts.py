"""The mounts of one test: made, described when it fails or hangs, and undone."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Unpack

import attrs

from triofuse.background import BackgroundMount
from triofuse.device.dev_fuse import DeviceError
from triofuse.device.mount_error import MountError
from triofuse.device.options import MountOptions
from triofuse.filesystem.filesystem import Filesystem
from triofuse.plugin import guard
from triofuse.session.inspection.report import InFlight
from triofuse.session.session import SessionOptions

__all__ = ["CannotMount", "Mounts"]

#: Errors that say that nobody can mount here, not that the test is wrong.
_NOT_HERE = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.ENOSYS}
)

#: The last operations of a disk that are shown.
_SHOWN: Final = 20


class CannotMount(Exception):  # noqa: N818  (not an error of the test)
    """Nothing can be mounted here: the reason to skip."""


class _Guard:
    """The owner of the process that unmounts when this process dies; one for all tests."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def tell(self, sign: str, path: str) -> None:
        """Tell it that a path is mounted, ``+``, or unmounted, ``-``."""
        if self._pid != os.getpid():
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed
            self._process.stdin.write(f"{sign}{os.fsencode(path).hex()}\n".encode())
            self._process.stdin.flush()

    def _start(self) -> None:
        # Blocked signals are inherited: Ctrl-C must not end it before us.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.abspath(guard.__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pid = os.getpid()
        atexit.register(self._close)

    def _close(self) -> None:
        if self._process is not None and self._pid == os.getpid():
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()


_guard = _Guard()


@attrs.define(eq=False)
class Mounts:
    """What one test has mounted.

    Attributes:
      directory: Where mountpoints are made: the test's ``tmp_path``.
      hung: What was in flight when the test was found hanging; empty if it was not.
      on_hang: Called with that text, from a thread.
    """

    directory: Path
    hung: str = ""
    on_hang: Callable[[str], None] = attrs.field(default=lambda _: None)
    _mounts: list[BackgroundMount] = attrs.field(factory=list, init=False)
    _timers: list[threading.Timer] = attrs.field(factory=list, init=False)

    def mount(
        self,
        filesystem: Filesystem,
        path: str | os.PathLike[str] | None = None,
        options: MountOptions | None = None,
        **session_options: Unpack[SessionOptions],
    ) -> BackgroundMount:
        """Mount a filesystem until the end of the test.

        Args:
          filesystem: Any filesystem.
          path: The mountpoint; a relative one is below ``tmp_path``.  It is made if it
            is not there.  Default: ``mnt``, ``mnt2``...
          options: As for `triofuse.mount`.
          session_options: As for `triofuse.mount`, but ``strict`` by default: a bug of
            the filesystem ends the mount, and is raised at the end of the test.

        Returns:
          The mount: a path for ``open`` and the like, with a `BackgroundMount.stop`.
        """
        if path is None:
            path = f"mnt{len(self._mounts) + 1 if self._mounts else ''}"
        place = self.directory / path
        if not place.exists():
            place.mkdir(parents=True)
        session_options.setdefault("strict", True)
        mount = BackgroundMount(filesystem, place, options, **session_options)
        return self.start(mount)

    def start(self, mount: BackgroundMount) -> BackgroundMount:
        """Start a mount, and stop it at the end of the test.

        Raises:
          CannotMount: Nothing can be mounted here.
        """
        _guard.tell("+", mount.path)
        try:
            mount.start()
        except (MountError, DeviceError) as exc:
            _guard.tell("-", mount.path)
            if exc.errno in _NOT_HERE and getattr(exc, "step", "") != "stat":
                raise CannotMount(str(exc)) from exc
            raise
        self._mounts.append(mount)
        return mount

    def watch(self, seconds: float, *, abort: bool) -> None:
        """Say where program and filesystem stand if the test takes too long.

        Args:
          seconds: How long that is.
          abort: Whether to drop the connections then: system calls that block on a
            filesystem ignore signals, so nothing else ends them.
        """
        self._timer(seconds, self._say)
        if abort:
            self._timer(seconds * 1.1 + 1, self._abort)

    def _timer(self, seconds: float, function: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, function)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _say(self) -> None:
        self.hung = self.describe()
        self.on_hang(self.hung)

    def _abort(self) -> None:
        for mount in self._mounts:
            mount.run_sync(mount.session.finish, 0)

    def close(self) -> None:
        """Unmount all; raises what ended a session before its time."""
        for timer in self._timers:
            timer.cancel()
        errors: list[Exception] = []
        for mount in reversed(self._mounts):
            try:
                mount.stop()
            except Exception as exc:  # noqa: BLE001  (raised below)
                errors.append(exc)
            if mount.thread is None:
                _guard.tell("-", mount.path)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            message = "filesystems of the test failed"
            raise ExceptionGroup(message, errors)

    def describe(self) -> str:
        """Return what there is to say of each mount: requests in flight, callers."""
        return "\n".join(line for mount in self._mounts for line in _lines(mount))


def _lines(mount: BackgroundMount) -> Iterator[str]:
    name = type(mount.filesystem).__name__
    if mount.thread is None:
        yield f"{name} at {mount.path}: not mounted"
        return
    requests = mount.in_flight()
    if requests is None:
        yield f"{name} at {mount.path}: its loop is blocked"
        yield from _stack_of(mount.thread.ident or 0, "    ")
        return
    yield f"{name} at {mount.path}: {len(requests)} requests in flight"
    for request in requests:
        yield from _request_lines(request)
    describe = getattr(mount.filesystem, "describe", str)
    yield from (f"  {line}" for line in describe().splitlines())
    operations = list(getattr(mount.filesystem, "operations", ()))
    if operations:
        yield f"  the last of {len(operations)} operations:"
        yield from (f"    {operation}" for operation in operations[-_SHOWN:])


def _request_lines(request: InFlight) -> Iterator[str]:
    yield f"  {request.operation}, {request.age:.1f} s: {request.request}"
    for place in request.stack:
        yield f"    {place}"
    if request.request is not None and request.request.pid:
        yield from _caller_lines(request.request.pid)


def _caller_lines(pid: int) -> Iterator[str]:
    """Yield who waits for a request: a process, or a thread of this one."""
    try:
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        process = int(
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2]
        )
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except (OSError, ValueError):
        yield f"    its caller {pid} is gone"
        return
    yield f"    for {comm}, thread {pid} of group {process}: {command.decode()!r:.200}"
    for thread in threading.enumerate():
        if thread.native_id == pid and thread.ident is not None:
            yield from _stack_of(thread.ident, "      ")


def _stack_of(ident: int, indent: str) -> Iterator[str]:
    frame = sys._current_frames().get(ident)  # noqa: SLF001
    for place in traceback.extract_stack(frame)[-8:] if frame else ():
        yield f"{indent}{place.filename}:{place.lineno} in {place.name}"
