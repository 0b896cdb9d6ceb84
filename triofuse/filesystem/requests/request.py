"""What every request carries."""

from __future__ import annotations

import attrs

__all__ = ["Request"]


@attrs.define(eq=False, repr=False)
class Request:
    """A request of the kernel, in the order of its fields on the wire.

    Source: ``struct fuse_in_header`` in linux/fuse.h.

    Attributes:
      unique: The kernel's number for this request; unique while it is pending.
      nodeid: The inode it is about; 1 is the root.  For requests about a name,
        the directory that holds it.
      uid: Of the calling thread (its filesystem uid); 0 where the kernel acts on
        its own: RELEASE, writeback.  With ``InitFlags.ALLOW_IDMAP`` it is 2**32-1,
        but where an inode is made: there it is the owner, as the mount maps it.
      gid: Likewise.
      pid: Of the calling thread, in the reader's PID namespace; 0 likewise.
    """

    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int

    # Once for all of them: attrs would write both anew for each of 50 classes, and
    # all of that would stay in memory, mostly unused.

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return attrs.astuple(self, recurse=False) == attrs.astuple(other, recurse=False)

    def __repr__(self) -> str:
        fields = attrs.fields(type(self))
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields if f.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"
