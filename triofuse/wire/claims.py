"""What the kernel keeps away from a request: the locks and nodes that its caller holds.

A caller that is killed is answered before its request is done, if the filesystem cannot
be cancelled.  Then the kernel drops its locks too early, and the session keeps them in
its place.

The law: requests that the kernel never sends at the same time are never served at the
same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from triofuse.filesystem import requests as r

__all__ = ["Claims", "claims_of"]


@attrs.frozen
class Claims:
    """What the caller of a request holds in the kernel, by nodeid.

    Attributes:
      nodes: The nodes that it uses: they are neither released nor forgotten.
      shared: Directories that are read: no name in them changes.
      exclusive: Inodes that change: nothing else changes them, and no name in them is
        read.
    """

    nodes: frozenset[int]
    shared: frozenset[int] = frozenset()
    exclusive: frozenset[int] = frozenset()

    def excludes(self, other: Claims) -> bool:
        """Whether a later request must wait for this one."""
        return not (
            self.exclusive.isdisjoint(other.exclusive | other.shared)
            and self.shared.isdisjoint(other.exclusive)
        )


def _uses(request: r.Request) -> Claims:
    return Claims(frozenset({request.nodeid}))


def _reads(request: r.Request) -> Claims:
    nodes = frozenset({request.nodeid})
    return Claims(nodes, shared=nodes)


def _changes(request: r.Request) -> Claims:
    nodes = frozenset({request.nodeid})
    return Claims(nodes, exclusive=nodes)


def _renames(request: r.Rename) -> Claims:
    nodes = frozenset({request.nodeid, request.newdir})
    return Claims(nodes, exclusive=nodes)


def _links(request: r.Link) -> Claims:
    directory = frozenset({request.nodeid})
    return Claims(directory | {request.oldnodeid}, exclusive=directory)


def _copies(request: r.CopyFileRange) -> Claims:
    target = frozenset({request.nodeid_out})
    return Claims(target | {request.nodeid}, exclusive=target)


#: By the class of the request; any other only uses its node.  The locks are those of
#: fs/namei.c, fs/readdir.c, fs/attr.c, fs/xattr.c and fs/fuse/file.c.
_CLAIMS: Final[dict[type[r.Request], Callable[[Any], Claims]]] = {
    r.Lookup: _reads,
    r.Readdir: _reads,
    r.Readdirplus: _reads,
    r.Create: _changes,
    r.Mknod: _changes,
    r.Mkdir: _changes,
    r.Symlink: _changes,
    r.Link: _links,
    r.Unlink: _changes,
    r.Rmdir: _changes,
    r.Rename: _renames,
    r.Setattr: _changes,
    r.Setxattr: _changes,
    r.Removexattr: _changes,
    r.Write: _changes,
    r.Fallocate: _changes,
    r.CopyFileRange: _copies,
}


def claims_of(request: r.Request) -> Claims:
    """Return what the caller of a request holds in the kernel."""
    return _CLAIMS.get(type(request), _uses)(request)
