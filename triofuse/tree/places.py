"""Names and places in a tree: what may be where."""

from __future__ import annotations

import os
from collections.abc import Iterator

from triofuse.tree.inode import Inode

__all__ = ["check_name", "check_same_kind", "parents", "where"]

#: The longest name, bytes.
_NAME_MAX = 255


def check_name(name: object) -> None:
    """Raise what is wrong with a name that the program gives.

    Raises:
      TypeError: It is no str.
      ValueError: It cannot be the name of anything.
    """
    if not isinstance(name, str):
        hint = f": os.fsdecode({name!r})" if isinstance(name, bytes) else ""
        message = f"a name is a str, not {name!r}{hint}"
        raise TypeError(message)
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        message = f"{name!r} cannot be a name: a name has no slash and no NUL"
        raise ValueError(message)
    if len(os.fsencode(name)) > _NAME_MAX:
        message = f"a name has at most {_NAME_MAX} bytes; {name[:20]!r}... has more"
        raise ValueError(message)


def where(inode: Inode) -> str:
    """Return the path of an inode within its tree."""
    names: list[str] = []
    while inode.parent is not None:
        names.append(inode.name)
        inode = inode.parent
    return "/" + "/".join(reversed(names))


def parents(inode: Inode) -> Iterator[Inode]:
    """Yield an inode and all directories above it."""
    at: Inode | None = inode
    while at is not None:
        yield at
        at = at.parent


def check_same_kind(former: Inode, inode: Inode) -> None:
    """Check that two nodes of one key can be the same inode.

    Raises:
      ValueError: One is a directory, the other is none.
    """
    if former.is_dir != inode.is_dir:
        which = ("a file", "a directory")[former.is_dir]
        message = (
            f"key {inode.key!r} is that of {which}, at {where(former)}: a key is of one "
            "inode, and that is of one kind"
        )
        raise ValueError(message)
