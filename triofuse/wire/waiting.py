"""Which notification may block in the kernel until which request is answered.

The law: a notification blocks on locks in the kernel that the caller of a request may
hold until the reply.  Where these overlap, the reply must be sent first.

A request that is not in the table holds no lock that a notification takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import attrs

from triofuse.filesystem import requests as r

__all__ = ["may_wait_for"]


@attrs.frozen
class _LocksHeld:
    """The kernel locks that the caller of a request may hold, by nodeid.

    Attributes:
      inodes: Locked inodes (``inode_lock()``), such as the directory of a name.
      pages: Inodes with locked pages, or with writeback suspended.
      unnamed: Whether an inode may be locked that the request does not name.
    """

    inodes: frozenset[int] = frozenset()
    pages: frozenset[int] = frozenset()
    unnamed: bool = False


_NOTHING = _LocksHeld()


def _inode(request: r.Request) -> _LocksHeld:
    return _LocksHeld(frozenset({request.nodeid}))


def _inode_and_pages(request: r.Request) -> _LocksHeld:
    nodes = frozenset({request.nodeid})
    return _LocksHeld(nodes, nodes)


def _pages(request: r.Request) -> _LocksHeld:
    return _LocksHeld(pages=frozenset({request.nodeid}))


def _victim(request: r.Request) -> _LocksHeld:
    return attrs.evolve(_inode(request), unnamed=True)


def _renamed(request: r.Rename) -> _LocksHeld:
    return _LocksHeld(frozenset({request.nodeid, request.newdir}), unnamed=True)


def _linked(request: r.Link) -> _LocksHeld:
    return _LocksHeld(frozenset({request.nodeid, request.oldnodeid}))


def _copied(request: r.CopyFileRange) -> _LocksHeld:
    return _LocksHeld(frozenset({request.nodeid_out}))


def _opened(request: r.Open) -> _LocksHeld:
    """Source: fuse_set_nowrite() in fuse_open(); chattr(1) opens under the lock."""
    return _inode_and_pages(request) if request.flags & os.O_TRUNC else _inode(request)


def _set(request: r.Setattr) -> _LocksHeld:
    """Source: fuse_set_nowrite() in fuse_do_setattr(), for truncate(2)."""
    return _inode(request) if request.size is None else _inode_and_pages(request)


#: By the class of the request.  The locks are those of fs/namei.c, fs/readdir.c,
#: fs/attr.c, fs/xattr.c and fs/fuse.  may_create() and may_delete() ask for attributes
#: and access control lists under the directory's lock.
_LOCKS_HELD: Final[dict[type[r.Request], Callable[[Any], _LocksHeld]]] = {
    r.Lookup: _inode,
    r.Create: _inode,
    r.Mknod: _inode,
    r.Mkdir: _inode,
    r.Symlink: _inode,
    r.Link: _linked,
    r.Unlink: _victim,
    r.Rmdir: _victim,
    r.Rename: _renamed,
    r.Getattr: _inode,
    r.Statx: _inode,
    r.Setattr: _set,
    r.Getxattr: _inode,
    r.Setxattr: _inode,
    r.Removexattr: _inode,
    r.Readlink: _pages,
    r.Open: _opened,
    r.Read: _inode_and_pages,
    r.Write: _inode_and_pages,
    r.Fsync: _inode,
    r.Fallocate: _inode,
    r.Lseek: _inode,
    r.CopyFileRange: _copied,
    r.Ioctl: _inode,
    r.Opendir: _inode,
    r.Readdir: _inode,
    r.Readdirplus: _inode,
    r.Fsyncdir: _inode,
}


@attrs.frozen
class _LocksWanted:
    """The kernel locks that a notification takes, by nodeid."""

    inodes: tuple[int, ...] = ()
    pages: tuple[int, ...] = ()
    child: int = 0


#: By method of the notifier, from its arguments.  fuse_notify() in fs/fuse/dev.c.
_LOCKS_WANTED: Final[dict[str, Callable[..., _LocksWanted]]] = {
    "inval_inode": lambda nodeid, *_: _LocksWanted(pages=(nodeid,)),
    "inval_entry": lambda parent, _: _LocksWanted(inodes=(parent,)),
    "expire_entry": lambda parent, _: _LocksWanted(inodes=(parent,)),
    "delete": lambda parent, child, _: _LocksWanted(
        inodes=(parent, child), child=child
    ),
    "store": lambda nodeid, *_: _LocksWanted(pages=(nodeid,)),
    "prune": lambda nodeids: _LocksWanted(pages=tuple(nodeids)),
}


def may_wait_for(request: r.Request, method: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a notification may block until this request is answered.

    Args:
      request: A request that is being served.
      method: The name of the notifier's method.
      arguments: The arguments of that method.
    """
    held = _LOCKS_HELD.get(type(request), lambda _: _NOTHING)(request)
    wanted = _LOCKS_WANTED[method](*arguments)
    if wanted.child and held.unnamed:
        return True
    return not (
        held.inodes.isdisjoint(wanted.inodes) and held.pages.isdisjoint(wanted.pages)
    )
