"""Any filesystem, but some of it cannot be removed: ``deny.py -f MOUNTPOINT``.

A layer passes on all that it does not override.
"""

from __future__ import annotations

import errno

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
    triofuse.main(lambda: Deny(triofuse.Tree(Directory(writable=True))))
