"""The base class of all requests, with the fields of the header."""

from __future__ import annotations

import attrs

__all__ = ["Request"]


@attrs.define(eq=False, repr=False)
class Request:
    """A request of the kernel, with its fields in the order of the wire.

    Source: ``struct fuse_in_header`` in linux/fuse.h.

    Attributes:
      unique: The kernel's number for this request; unique while it is in flight.
      nodeid: The inode; 1 is the root.  In requests about a name, the directory of
        that name.
      uid: The filesystem uid of the calling thread; 0 if the kernel acts by itself
        (RELEASE, writeback).  With ``InitFlags.ALLOW_IDMAP`` it is 2**32-1, except in
        requests that make an inode: there it is the new owner, mapped by the mount.
      gid: The filesystem gid, likewise.
      pid: The calling thread, in the PID namespace of the process that reads the
        device; 0 if the kernel acts by itself.
    """

    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int

    # Written once here: attrs would generate both methods for each of 50 classes,
    # which takes memory and is mostly unused.

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return attrs.astuple(self, recurse=False) == attrs.astuple(other, recurse=False)

    def __repr__(self) -> str:
        fields = attrs.fields(type(self))
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields if f.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"
