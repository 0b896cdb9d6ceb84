"""The extended attributes of a node of memfs.py, and what they may be about."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator

import attrs

from triofuse import FuseError
from triofuse.posix import acl
from triofuse.posix.space import Space, cost_of

#: What extended attributes may be about.
NAMESPACES = ("user.", "trusted.", "security.")
#: And those that are access control lists.
ACLS = (acl.ACCESS, acl.DEFAULT)
#: The extended attribute of capabilities(7).
CAPABILITIES = "security.capability"
#: The most bytes of all names of a node: listxattr(2) can return no more, so a name
#: beyond would be one that nobody sees.  linux/limits.h: XATTR_LIST_MAX.
LIST_MAX = 1 << 16
#: How many are removed before other requests have their turn.
STEP = 64


def checked(name: str) -> str:
    """Return a name if an extended attribute may have it.

    Raises:
      FuseError: EOPNOTSUPP: it is about what memfs does not keep.  EINVAL: it is a
        namespace and no more.
    """
    if name not in ACLS and not name.startswith(NAMESPACES):
        raise FuseError(errno.EOPNOTSUPP)
    if name in NAMESPACES:
        raise FuseError(errno.EINVAL)
    return name


@attrs.define(eq=False)
class Xattrs:
    """A table of extended attributes, which takes from the space what they need."""

    _space: Space
    _values: dict[str, bytes] | None = None  # most nodes have none
    _listed: int = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._values or ())

    def __contains__(self, name: str) -> bool:
        return self._values is not None and name in self._values

    def get(self, name: str) -> bytes | None:
        """Return a value, or None."""
        return self._values.get(name) if self._values else None

    def set(self, name: str, value: bytes) -> None:
        """Set a value.

        Raises:
          FuseError: ENOSPC: there is no space for it, or its name would make the list
            of names too long for listxattr(2).
        """
        values = self._values
        if values is None:
            values = {}
        old = values.get(name)
        if old is None:
            listed = self._listed + _listed(name)
            if listed > LIST_MAX:
                raise FuseError(errno.ENOSPC)
            self._space.charge(cost_of(name) + len(value))
            self._listed = listed
        else:
            self._space.charge(len(value) - len(old))
        values[name] = value
        self._values = values

    def discard(self, name: str) -> bool:
        """Remove a value, and return whether there was one."""
        if name not in self or self._values is None:
            return False
        self._space.charge(-cost_of(name) - len(self._values.pop(name)))
        self._listed -= _listed(name)
        return True

    def shed(self) -> bool:
        """Remove some, and return whether there are more: all may be 500 MiB."""
        for name in list(itertools.islice(self, STEP)):
            self.discard(name)
        return bool(self._values)


def _listed(name: str) -> int:
    """Return the bytes of a name in the list of names: with a NUL behind it."""
    return len(os.fsencode(name)) + 1
