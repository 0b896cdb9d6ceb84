"""The request that the running code answers: `current_request`."""

from __future__ import annotations

from typing import Final

import attrs

from triofuse.device.callers import identity_of
from triofuse.session.in_flight.table import active_request
from triofuse.wire.decode import Message
from triofuse.wire.errors import ProtocolError
from triofuse.wire.layouts import IN_HEADER
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS

__all__ = ["CurrentRequest", "current_request"]

#: The requests that carry the umask of their caller.
_WITH_UMASK: Final = {Opcode.CREATE, Opcode.MKDIR, Opcode.MKNOD, Opcode.TMPFILE}


@attrs.frozen
class CurrentRequest:
    """A request and its caller, as `current_request` returns it.

    Source: ``struct fuse_in_header`` in linux/fuse.h.

    Attributes:
      operation: The method of `triofuse.Filesystem` that answers it: ``"read"``.
      unique: The kernel's number for it.
      nodeid: The inode that it is about.
      uid: The filesystem uid of the calling thread; 0 if the kernel acts by itself
        (RELEASE, writeback).  With ``InitFlags.ALLOW_IDMAP`` it is 2**32-1 in
        requests that make no inode.
      gid: The filesystem gid, likewise.
      pid: The calling thread, not its process, in the PID namespace of the server; 0
        if the kernel acts by itself, or if the thread is in another namespace.
    """

    operation: str
    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int
    _umask: int | None = attrs.field(default=None, repr=False)

    @property
    def umask(self) -> int:
        """The umask of the caller; 0 if it is unknown.

        Requests that make an inode carry it, except symlink(2).  For others it is read
        in /proc.
        """
        return identity_of(self.pid)[0] if self._umask is None else self._umask

    @property
    def groups(self) -> tuple[int, ...]:
        """The supplementary groups of the caller, read in /proc; empty if unknown.

        They are those of the moment: the caller waits, so they stay as they are.
        """
        return identity_of(self.pid)[1]


def current_request() -> CurrentRequest | None:
    """Return the request that the running code answers; None if there is none.

    It works at any depth of the calls of a method, in tasks that it starts, and in
    threads of ``trio.to_thread``.  It returns None in a task or thread that outlives
    its request, and in code that belongs to none, such as ``Filesystem.run``.
    """
    active = active_request()
    if active is None:
        return None
    opcode, _, message, _ = active.received
    header = IN_HEADER.unpack_from(message)
    unique, nodeid, uid, gid, pid = header[2:7]
    umask = _umask_in(opcode, message) if opcode in _WITH_UMASK else None
    operation = OPERATIONS[opcode].method
    return CurrentRequest(operation, unique, nodeid, uid, gid, pid, umask)


def _umask_in(opcode: int, message: Message) -> int | None:
    """Return the umask of a request; None before protocol 7.12, which has none."""
    try:
        umask: int = OPERATIONS[opcode].decode(message).umask  # type: ignore[attr-defined]
    except ProtocolError:
        return None
    return umask
