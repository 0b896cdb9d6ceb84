"""Directories: what clients ask of them, and those that ask a store."""

from __future__ import annotations

import errno
import stat as s
from collections.abc import AsyncIterable, Hashable, Iterable

from triofuse.filesystem.errors import FuseError
from triofuse.tree.node import Node, overrides
from triofuse.tree.stat import Stat

__all__ = ["AskedDirectory", "FolderNode"]


class FolderNode(Node, kind=True):
    """What `Directory` and `AskedDirectory` have in common: what clients ask of them."""

    __slots__ = ()

    KIND = s.S_IFDIR

    def _permissions(self) -> int:
        return 0o755

    def __bool__(self) -> bool:
        return True  # also an empty one

    async def lookup(self, name: str) -> Node | None:
        """Return the node of a name; None: there is none, which is cached as such."""
        raise NotImplementedError

    def entries(
        self,
    ) -> AsyncIterable[tuple[str, Node]] | Iterable[tuple[str, Node]]:
        """Return or yield all names and their nodes, in any order."""
        raise NotImplementedError

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        """Make a file, directory, link, device, pipe or socket for a client.

        Args:
          name: Its name; there is no such name yet.
          new: Its attributes: ``mode`` with the file type, owner, times, ``rdev``.
          target: Where a symbolic link leads to, else None.
        """
        raise FuseError(errno.EROFS)

    async def link(self, name: str, node: Node) -> None:
        """Give a node one more name: a hard link."""
        raise FuseError(errno.EROFS)

    async def unlink(self, name: str, node: Node) -> None:
        """Take a name away: of a file, or of an empty directory."""
        raise FuseError(errno.EROFS)

    async def rename(
        self,
        name: str,
        node: Node,
        to: FolderNode,
        new_name: str,
        replaced: Node | None,
    ) -> None:
        """Give a node another name, here or in another directory.

        Args:
          name: Its name here.
          node: The node.
          to: The directory of the new name; may be this one.
          new_name: The new name.
          replaced: What has that name now, and loses it: a file, or an empty
            directory.  None: nothing.
        """
        raise FuseError(errno.EROFS)

    def same_store(self, other: FolderNode) -> bool:
        """Whether nodes may be moved and linked between two directories, else EXDEV."""
        raise NotImplementedError

    async def fsync(self, *, datasync: bool) -> None:
        """Write its names to stable storage."""


class AskedDirectory(FolderNode):
    """A directory that is asked for its children each time; subclass it.

    For stores: a database, an archive, a server.  `lookup` and `entries` are what it
    cannot do without::

        class Folder(AskedDirectory):
            async def lookup(self, name):
                row = await db.find(self.id, name)
                return None if row is None else node_of(row)

            async def entries(self):
                async for row in db.list(self.id):
                    yield row.name, node_of(row)

    Give the nodes keys, so that two objects of the same thing are the same inode; then
    a newer object takes the place of the older one.  Without a key the directory and
    the name are the identity.  With `make`, `link`, `unlink` and `rename` clients may
    change it; what is left out answers EROFS.  `save` keeps attributes.

    Args:
      set_aside: Whether a file that loses its last name while it is open is renamed
        to ``.triofuse-...``, and unlinked when it is closed: for stores that find data
        by name.  Those that find them by key need it not.
      key, stat, valid: As for `Node`.
    """

    __slots__ = ("set_aside",)

    def __init__(
        self,
        *,
        set_aside: bool = False,
        key: Hashable = None,
        stat: Stat | None = None,
        valid: float | None = None,
    ) -> None:
        for method in ("lookup", "entries"):
            if not overrides(self, method):
                message = f"{type(self).__name__} needs a method {method}()"
                raise TypeError(message)
        super().__init__(key=key, stat=stat, valid=valid)
        self.set_aside = set_aside
        if stat is None or stat.nlink is None:
            self._inode.set_nlink(1)  # nobody has counted its subdirectories

    @property
    def writable(self) -> bool:
        """Whether clients may change it."""
        return overrides(self, "make") or overrides(self, "save")

    def same_store(self, other: FolderNode) -> bool:
        """Whether nodes may be moved and linked between two directories, else EXDEV."""
        return type(self) is type(other)
