"""Files on this machine that hold contents of a store meanwhile.

They have no name: nothing is left behind, however the program ends.
"""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO, cast

import attrs
import trio

__all__ = ["Spool", "Spools"]


@attrs.define(eq=False)
class Spool:
    """A file without a name.

    Attributes:
      fd: Its descriptor.
      have: Bytes from the start that are there, while it is being filled.
      dropped: Whether nobody needs it any more, although it is being filled.
    """

    fd: int
    have: int = 0
    dropped: bool = False
    _grown: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    @property
    def path(self) -> str:
        """A path under which this process can open it."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.fd).st_size

    def open(self, mode: str) -> BinaryIO:
        """Open it once more, for a thread that may outlive it."""
        return cast("BinaryIO", open(self.path, mode, buffering=0))

    def grow(self, have: int) -> None:
        """Note that more is there."""
        self.have = have
        self._grown.unpark_all()

    async def wait_grown(self) -> None:
        """Wait until more is there."""
        await self._grown.park()

    def close(self) -> None:
        """Drop it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@attrs.frozen
class Spools:
    """Where spools are made.

    Attributes:
      directory: A directory of this machine.
    """

    directory: str = attrs.field(factory=tempfile.gettempdir)

    def make(self) -> Spool:
        """Make an empty one."""
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        try:
            return Spool(os.open(self.directory, flags, 0o600))
        except OSError:  # a filesystem without O_TMPFILE
            fd, path = tempfile.mkstemp(dir=self.directory)
            os.unlink(path)
            return Spool(fd)
