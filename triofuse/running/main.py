"""`main`: a command of any filesystem."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Unpack

import attrs

from triofuse.device.options import MountOptions
from triofuse.filesystem.words import shown
from triofuse.running.background import Child, Parent, fork
from triofuse.running.command_line import CommandLine, program_name
from triofuse.running.factory import Factory
from triofuse.running.notify_socket import NotifySocket
from triofuse.running.run import Living, Run
from triofuse.session.session import SessionOptions
from triofuse.wire.errors import HandshakeError

__all__ = ["main"]

_log = logging.getLogger("triofuse")

#: mount(8): system error, mount failure.
_SYSTEM_ERROR: Final = 2
_MOUNT_FAILURE: Final = 32

_DEBUG_FORMAT: Final = "%(asctime)s %(levelname)s:%(name)s:%(message)s"

#: What is no bug of the program: the world is not as the command line says.
_FAILURES: Final = (OSError, ValueError, HandshakeError)


def main(
    factory: Callable[..., Living],
    argv: Sequence[str] | None = None,
    *,
    foreground: bool = False,
    **session_options: Unpack[SessionOptions],
) -> NoReturn:
    """Be the command of a filesystem: ``[SOURCE] MOUNTPOINT -o ... --debug``.

    This is all that a program needs::

        class Zip(triofuse.Filesystem):
            def __init__(self, source: Path, *, encoding: str = "utf-8") -> None:
                ...

        if __name__ == "__main__":
            triofuse.main(Zip)

    ``zip.py files.zip /mnt/zip -o encoding=cp437,ro`` mounts, and returns when the
    mount can be used.  The parameter without a default is SOURCE (or the one called
    ``source``); each one with a default is a word of ``-o``, or an option
    (``--encoding cp437``), of the type that its annotation says: bool (``word`` and
    ``noword``), int, float, str or Path.  A Path
    becomes absolute.  A parameter ``mountpoint`` gets MOUNTPOINT.  ``--help`` shows what the docstring says of them.

    The filesystem runs in the background, except with ``--foreground`` or ``--debug``.
    ``umount``, SIGINT, SIGTERM and SIGHUP end it, as of `run`.  If it cannot be mounted,
    the command fails with one line on stderr, and with the status of mount(8): 1 for a
    wrong command line, 2 for a bug, 32 for a mount that failed.  ``--debug`` shows the
    traceback, and logs each request.  ``--trace FILE.json`` writes a time line of
    requests and handlers, which https://ui.perfetto.dev draws.

    Installed as ``/sbin/mount.fuse.zip``, it serves ``mount -t fuse.zip`` and fstab(5).
    A service manager is told of start and end, by NOTIFY_SOCKET: ``Type=notify``.

    Args:
      factory: Makes the filesystem, or the async context in which it lives (see `run`).
        It is called in the background process.
      argv: The arguments of the command; by default those of the program.
      foreground: Whether it stays in the foreground also without ``--foreground``, as a
        program for a terminal does.  What mount(8) runs goes into the background.
      session_options: See `Session`.

    Raises:
      SystemExit: Always: when the command is done.
      TypeError: The factory needs more than SOURCE.

    Source: mount(8), ``fuse_main_real()`` in libfuse's lib/helper.c; sd_notify(3).
    """
    made_by, name = Factory.of(factory), program_name()
    words = sys.argv[1:] if argv is None else argv
    line = CommandLine.read(made_by, name, words, foreground=foreground)
    command = _Command(made_by, name, line, session_options, NotifySocket.inherited())
    sys.exit(command.serve() if line.foreground else command.serve_in_background())


@attrs.define(eq=False)
class _Command:
    """One call of a command."""

    _factory: Factory
    _name: str
    _line: CommandLine
    _session_options: SessionOptions
    _manager: NotifySocket
    _usable: bool = attrs.field(default=False, init=False)

    def serve_in_background(self) -> int:
        """Return an exit status, in parent and child."""
        process = fork()
        if isinstance(process, Child):
            return self.serve(process)
        return self._wait(process)

    def _wait(self, parent: Parent) -> int:
        """Wait for the mount; the manager believes only the process that it started."""
        status = parent.wait()
        if status is None:
            self._manager.send(f"MAINPID={parent.child}", "READY=1")
            return 0
        return status or _MOUNT_FAILURE  # a signal can end it in order before that

    def serve(self, process: Child | None = None) -> int:
        """Serve to the end, in the foreground or as a child; return an exit status."""
        if self._line.debug:
            logging.basicConfig(level=logging.DEBUG, format=_DEBUG_FORMAT)
        else:
            logging.basicConfig(level=logging.INFO)
        try:
            self._run(process).run()
        except _FAILURES as exc:
            if self._usable or self._line.debug:
                _log.exception("%s has failed", self._name)
            else:
                sys.stderr.write(f"{self._name}: {_words(exc)}\n")
            return _MOUNT_FAILURE
        except Exception:  # noqa: BLE001  (in the background, the log is all there is)
            _log.exception("%s has failed: this is a bug", self._name)
            return _SYSTEM_ERROR
        return 0

    def _run(self, process: Child | None) -> Run:
        def ready() -> None:
            self._usable = True
            if process is None:
                self._manager.send("READY=1")
            else:
                process.detach(self._name)

        line = self._line
        if line.trace is not None:
            self._session_options["trace"] = line.trace
        return Run(
            self._factory(line.source, line.mountpoint, line.own_words),
            line.mountpoint,
            line.options,
            self._session_options,
            MountOptions(
                fsname=line.source or self._name, subtype=line.subtype or self._name
            ),
            ready,
            lambda: self._manager.send("STOPPING=1"),
        )


def _words(exc: Exception) -> str:
    """Return what an exception says, in one line."""
    words = str(exc)
    if isinstance(exc, OSError) and words.startswith("[Errno"):
        words = exc.strerror or ""
        words = f"{exc.filename}: {words}" if exc.filename else words
    return shown(words or type(exc).__name__)
