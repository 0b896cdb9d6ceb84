"""The caller of a request, as /proc shows it: who it is, and what signals it has."""

from __future__ import annotations

import enum
import os
import re
import signal

from triofuse.filesystem.words import shown

__all__ = ["Standing", "command_of", "identity_of", "standing_of"]

#: Bytes of one read; the whole file fits unless the thread is in thousands of groups.
_SIZE = 16 << 10

#: The lines of /proc/TID/status that matter, in their order.
_FIELDS = re.compile(
    rb"^State:\t(?P<state>\S).*"
    rb"^TracerPid:\t(?P<tracer>\d+).*"
    rb"^SigPnd:\t(?P<own>\w+)\n"
    rb"^ShdPnd:\t(?P<shared>\w+)\n"
    rb"^SigBlk:\t(?P<blocked>\w+)\n"
    rb"^SigIgn:\t(?P<ignored>\w+)\n"
    rb"^SigCgt:\t(?P<caught>\w+)\n",
    re.MULTILINE | re.DOTALL,
)

#: The signals whose default action is to stop, to continue, or nothing: signal(7).
_HARMLESS = {
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGURG,
    signal.SIGWINCH,
}


#: The umask and the groups in /proc/TID/status; names have their newlines escaped.
_IDENTITY = re.compile(
    rb"^Umask:\t(?P<umask>[0-7]+)\n.*^Groups:\t(?P<groups>[\d ]*)\n",
    re.MULTILINE | re.DOTALL,
)


def _bit(number: int) -> int:
    return 1 << number - 1


_KILL = _bit(signal.SIGKILL)
_FATAL = (1 << 64) - 1 & ~sum(_bit(number) for number in _HARMLESS)

#: States of a thread that waits for its reply after an INTERRUPT: asleep, or about to be.
_WAITING = b"DR"


class Standing(enum.Enum):
    """Whether the caller of a request survives its pending signals."""

    SURVIVES = enum.auto()
    DYING = enum.auto()
    UNSEEN = enum.auto()


def standing_of(pid: int) -> Standing:
    """Return whether a waiting thread survives its pending signals.

    A signal that ends a whole process becomes SIGKILL in each of its threads.  The
    exception is a signal that dumps core: that signal itself is pending, and is neither
    blocked nor caught nor ignored.  A tracer may suppress any signal but SIGKILL.

    Args:
      pid: The thread id from the header of its request.

    Returns:
      UNSEEN where /proc does not show the thread.  Either the thread is in another pid
      namespace: its pid is 0, or the number of another thread, which does not wait.  Or
      /proc is hidden (hidepid), not mounted, or that of another namespace.

    Source: ``complete_signal()`` in kernel/signal.c, ``task_sig()`` in
    fs/proc/array.c, ``request_wait_answer()`` in fs/fuse/dev.c.
    """
    try:
        if not pid or os.readlink("/proc/self") != str(os.getpid()):
            return Standing.UNSEEN
        found = _FIELDS.search(_status(pid))
    except OSError:
        return Standing.UNSEEN
    if found is None or found["state"] not in _WAITING:
        return Standing.UNSEEN
    own = int(found["own"], 16)
    if own & _KILL:
        return Standing.DYING
    pending = own | int(found["shared"], 16)
    for survived in ("blocked", "ignored", "caught"):
        pending &= ~int(found[survived], 16)
    if pending & (_KILL if int(found["tracer"]) else _FATAL):
        return Standing.DYING
    return Standing.SURVIVES


def identity_of(pid: int) -> tuple[int, tuple[int, ...]]:
    """Return the umask and the supplementary groups of a waiting thread.

    Args:
      pid: The thread id from the header of its request.

    Returns:
      ``(0, ())`` where /proc does not show the thread.

    Source: ``task_state()`` in fs/proc/array.c.
    """
    try:
        found = _IDENTITY.search(_status(pid)) if pid else None
    except OSError:
        found = None
    if found is None:
        return 0, ()
    return int(found["umask"], 8), tuple(map(int, found["groups"].split()))


def command_of(pid: int) -> str:
    """Return the name of a thread's program; an empty string if it is unknown."""
    try:
        with open(f"/proc/{pid}/comm", errors="backslashreplace") as comm:
            return shown(comm.read().removesuffix("\n"))
    except OSError:
        return ""


def _status(pid: int) -> bytes:
    """Return /proc/PID/status up to the line SigCgt."""
    fd = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = b""
        while chunk := os.read(fd, _SIZE):
            status += chunk
            if b"\nSigCgt:" in status:
                break
        return status
    finally:
        os.close(fd)
