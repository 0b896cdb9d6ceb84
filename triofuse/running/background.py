"""Goes into the background when the mount can be used, as every FUSE program does.

The law: the program forks before it has threads, files or an event loop.  The parent
stays until the child says that the mount can be used, or ends; then it exits, with the
child's status if there is no mount.
"""

from __future__ import annotations

import logging
import os
from logging.handlers import SysLogHandler

import attrs

__all__ = ["Child", "Parent", "fork"]

_SYSLOG = "/dev/log"


@attrs.frozen
class Child:
    """The process that serves."""

    _send: int

    def detach(self, name: str) -> None:
        """Leave terminal and directory, then let the parent exit.

        Args:
          name: The program's name, for the system log.
        """
        os.setsid()
        os.chdir("/")
        _log_to_system(name)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        if null > 2:
            os.close(null)
        os.write(self._send, b"\0")
        os.close(self._send)


@attrs.frozen
class Parent:
    """The process that was started, and that waits for the child.

    Attributes:
      child: The child's process id.
    """

    _receive: int
    child: int

    def wait(self) -> int | None:
        """Wait for the child.

        Returns:
          None if the mount can be used, else the exit status of the child; of one that
          a signal has killed, 128 and its number.
        """
        while True:
            try:
                served = os.read(self._receive, 1)
                break
            except KeyboardInterrupt:
                continue  # the terminal has sent it to the child as well
        os.close(self._receive)
        if served:
            return None
        status = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        return status if status >= 0 else 128 - status


def fork() -> Child | Parent:
    """Fork, and return which of the two processes this is."""
    receive, send = os.pipe()
    child = os.fork()
    if child:
        os.close(send)
        return Parent(receive, child)
    os.close(receive)
    return Child(send)


def _log_to_system(name: str) -> None:
    """Have the log go to syslog(3), for nobody will read stderr."""
    if not os.path.exists(_SYSLOG):
        return
    handler = SysLogHandler(_SYSLOG, SysLogHandler.LOG_DAEMON)
    handler.ident = f"{name}[{os.getpid()}]: "
    logging.getLogger().handlers[:] = [handler]
