"""Which notification may wait in the kernel for which request to be answered.

The law: a notification waits for a lock of the kernel's, a request is answered while
its caller holds some.  Where these meet, the notification must come after the reply.

What is not in the table holds nothing that any notification wants.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import attrs

from triofuse.filesystem import requests as r

__all__ = ["may_wait_for"]


@attrs.frozen
class _Held:
    """What the caller of a request may hold, by nodeid.

    Attributes:
      inodes: Inodes that are locked (``inode_lock()``): the directory of a name.
      pages: Inodes of which pages are locked, or are not written back meanwhile.
      unnamed: Whether an inode may be locked that the request does not name.
    """

    inodes: frozenset[int] = frozenset()
    pages: frozenset[int] = frozenset()
    unnamed: bool = False


_NOTHING = _Held()


def _inode(request: r.Request) -> _Held:
    return _Held(frozenset({request.nodeid}))


def _inode_and_pages(request: r.Request) -> _Held:
    nodes = frozenset({request.nodeid})
    return _Held(nodes, nodes)


def _pages(request: r.Request) -> _Held:
    return _Held(pages=frozenset({request.nodeid}))


def _victim(request: r.Request) -> _Held:
    return attrs.evolve(_inode(request), unnamed=True)


def _renamed(request: r.Rename) -> _Held:
    return _Held(frozenset({request.nodeid, request.newdir}), unnamed=True)


def _linked(request: r.Link) -> _Held:
    return _Held(frozenset({request.nodeid, request.oldnodeid}))


def _copied(request: r.CopyFileRange) -> _Held:
    return _Held(frozenset({request.nodeid_out}))


def _opened(request: r.Open) -> _Held:
    """fuse_set_nowrite() in fuse_open(), and chattr(1), which opens under the lock."""
    return _inode_and_pages(request) if request.flags & os.O_TRUNC else _inode(request)


def _set(request: r.Setattr) -> _Held:
    """fuse_set_nowrite() in fuse_do_setattr(), for truncate(2)."""
    return _inode(request) if request.size is None else _inode_and_pages(request)


#: By the class of a request.  The locks are those of fs/namei.c, fs/readdir.c,
#: fs/attr.c, fs/xattr.c and fs/fuse; attributes and access control lists are asked
#: for under the directory's lock by may_create() and may_delete().
_HELD: Final[dict[type[r.Request], Callable[[Any], _Held]]] = {
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
class _Wanted:
    """What a notification waits for, by nodeid."""

    inodes: tuple[int, ...] = ()
    pages: tuple[int, ...] = ()
    child: int = 0


#: By the method of the notifier, from its arguments: fuse_notify() in fs/fuse/dev.c.
_WANTED: Final[dict[str, Callable[..., _Wanted]]] = {
    "inval_inode": lambda nodeid, *_: _Wanted(pages=(nodeid,)),
    "inval_entry": lambda parent, _: _Wanted(inodes=(parent,)),
    "expire_entry": lambda parent, _: _Wanted(inodes=(parent,)),
    "delete": lambda parent, child, _: _Wanted(inodes=(parent, child), child=child),
    "store": lambda nodeid, *_: _Wanted(pages=(nodeid,)),
    "prune": lambda nodeids: _Wanted(pages=tuple(nodeids)),
}


def may_wait_for(request: r.Request, method: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a notification may wait until this request is answered.

    Args:
      request: A request that is being served.
      method: What is called of the notifier.
      arguments: With what.
    """
    held = _HELD.get(type(request), lambda _: _NOTHING)(request)
    wanted = _WANTED[method](*arguments)
    if wanted.child and held.unnamed:
        return True
    return not (
        held.inodes.isdisjoint(wanted.inodes) and held.pages.isdisjoint(wanted.pages)
    )
