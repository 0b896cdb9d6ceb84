"""Extended attributes that are kept in memory, and what they may be about."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from triofuse.filesystem.errors import FuseError
from triofuse.posix import acl
from triofuse.posix.space import cost_of
from triofuse.tree.inode import Inode

__all__ = ["ACLS", "CAPABILITIES", "check_name", "discard", "keep"]

#: The extended attribute of capabilities(7).
CAPABILITIES = "security.capability"
#: Access control lists.
ACLS = (acl.ACCESS, acl.DEFAULT)
#: What other extended attributes may be about.
_NAMESPACES = ("user.", "trusted.", "security.")
#: The most bytes of all names of a node: listxattr(2) can return no more, so a name
#: beyond would be one that nobody sees.  linux/limits.h: XATTR_LIST_MAX.
_LIST_MAX = 1 << 16
#: The bits of a mode that say who may.
_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


def check_name(name: str) -> None:
    """Check that an extended attribute may have a name.

    Raises:
      FuseError: EOPNOTSUPP: it is about what nobody keeps.  EINVAL: it is a namespace
        and no more.
    """
    if name not in ACLS and not name.startswith(_NAMESPACES):
        raise FuseError(errno.EOPNOTSUPP)
    if name in _NAMESPACES:
        raise FuseError(errno.EINVAL)


def keep(inode: Inode, name: str, value: bytes) -> None:
    """Set an extended attribute, and the mode if it is the access list.

    An access list that says no more than a mode becomes one.

    Raises:
      FuseError: ENOSPC: there is no space for it, or its name would make the list of
        names too long for listxattr(2).
    """
    access = acl.Acl.decode(value) if name == acl.ACCESS else None
    if access is not None and not access.names_somebody:
        discard(inode, name)
    else:
        _keep(inode, name, value)
    if access is not None:
        inode.set_mode(inode.attr.mode & ~_PERMISSIONS | access.permissions)
    inode.changed()


def _keep(inode: Inode, name: str, value: bytes) -> None:
    xattrs = inode.xattrs or {}
    old = xattrs.get(name)
    if old is None:
        # Fewer names than these are never too long together.
        if len(xattrs) >= _LIST_MAX // 256 - 1 and _listed(xattrs, name) > _LIST_MAX:
            raise FuseError(errno.ENOSPC)
        inode.charge(cost_of(name) + len(value))
    else:
        inode.charge(len(value) - len(old))
    xattrs[name] = value
    inode.xattrs = xattrs


def discard(inode: Inode, name: str) -> None:
    """Remove an extended attribute if it is there."""
    if inode.xattrs and name in inode.xattrs:
        inode.charge(-cost_of(name) - len(inode.xattrs.pop(name)))
        inode.changed()


def _listed(names: Iterable[str], new: str) -> int:
    """Return the bytes of a list of names, each with a NUL behind it."""
    return sum(len(os.fsencode(name)) + 1 for name in (*names, new))
