"""What behaviours are told and tried with."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.forking import fork

__all__ = [
    "EXCHANGE",
    "KEEP_SIZE",
    "NOBODY",
    "NOREPLACE",
    "PUNCH_HOLE",
    "WHITEOUT",
    "ZERO_RANGE",
    "Behaviour",
    "as_user",
    "changing",
    "fails",
    "times",
    "wait_for_tick",
]

Behaviour = Callable[[Path], None]

#: Who is neither root nor the owner of anything.
NOBODY = 65534

#: RENAME_*, FALLOC_FL_*.
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16


@contextlib.contextmanager
def fails(*errors: int) -> Iterator[None]:
    """Expect one of these errnos."""
    try:
        yield
    except OSError as exc:
        names = [errno.errorcode[error] for error in errors]
        if exc.errno not in errors:
            message = f"{exc} where {names} was expected"
            raise AssertionError(message) from exc
    else:
        raise AssertionError("it worked")


def as_user(uid: int, gid: int, groups: list[int], action: Callable[[], None]) -> None:
    """Do something in a child process with other ids."""
    child = fork()
    if child == 0:
        status = 1
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            action()
            status = 0
        except BaseException as exc:  # noqa: BLE001  (it is told, and the child ends)
            os.write(2, f"{exc!r}\n".encode())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def times(path: Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def changing(*paths: Path, mtime: bool = True) -> Iterator[None]:
    """Expect that ctime, and mtime, of these go forward.

    The clock of the kernel's timestamps ticks every few milliseconds: start in the
    past.
    """
    for path in paths:
        os.utime(path, ns=(1, 1), follow_symlinks=False)
    before = [times(path) for path in paths]
    wait_for_tick(paths[0])
    yield
    for path, (old_mtime, old_ctime) in zip(paths, before, strict=True):
        new_mtime, new_ctime = times(path)
        assert new_ctime > old_ctime, path
        assert new_mtime > old_mtime if mtime else new_mtime == old_mtime, path


def wait_for_tick(path: Path) -> None:
    """Wait until a change would get a later ctime than ``path`` has."""
    probe = path.parent / f"tick-{os.getpid()}"
    ctime = times(path)[1]
    while True:
        probe.mkdir()
        later = times(probe)[1] > ctime
        probe.rmdir()
        if later:
            return
