"""Any filesystem, but some of it cannot be removed: ``deny.py MOUNTPOINT``.

A layer passes on all that it does not override.
"""

from __future__ import annotations

import errno
import sys

import triofuse
from triofuse import Directory, FuseError


class Deny(triofuse.Layer):
    """Keeps names that begin with ``keep``, and says who tried to remove one."""

    async def unlink(self, request: triofuse.Unlink) -> None:
        if request.name.startswith("keep"):
            print(f"user {request.uid} would like to remove {request.name!r}")
            raise FuseError(errno.EPERM)
        await super().unlink(request)


if __name__ == "__main__":
    tree = triofuse.Tree(Directory(writable=True))
    triofuse.run(Deny(tree), sys.argv[1])
