"""The inodes that the kernel knows, each with its names.

The law: an inode that has a name has a path, and the path follows every rename of a
directory above.  A nodeid is never given to another inode.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Hashable, Iterator

import attrs

from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import DirEntry
from triofuse.paths.attributes import Attributes

__all__ = ["Handle", "Inode", "Inodes", "Listing"]

ROOT = 1


@attrs.define(eq=False, repr=False)
class Listing:
    """What a directory held when it was listed.

    Attributes:
      until: How long lookups are answered from it, in trio's time.
      names: All names, each with its attributes if the listing had them, or with a
        `DirEntry` or None.
    """

    until: float
    names: dict[str, Attributes | DirEntry | None]


@attrs.define(eq=False, repr=False)
class Handle:
    """An open file or directory.

    Attributes:
      inode: What is open.
      object: What the store's ``open`` returned.
      flags: The flags of open(2).
    """

    inode: Inode
    object: object
    flags: int = 0


@attrs.define(eq=False, repr=False)
class Inode:
    """What the kernel knows by one number.

    Attributes:
      nodeid: The number.
      kind: The file type, as of ``stat.S_IFMT``; 0 if it is not known yet.
      parent: The directory of its name; None for the root, and without a name.
      name: The name.
      more_places: The directories and names of further hard links.
      path: The path of ``parent`` and ``name`` if it was computed, else None.
      children: The inodes of names in it that the kernel knows.
      key: What identifies it among hard links; None if only its name does.
      nlookup: Lookups that the kernel has counted and not forgotten.
      handles: The open handles, in the order of opening.
      listing: The latest listing of a directory, as long as it is fresh.
      changes: The number of changes of names in it.
      sized: Whether its size is known.
      hidden: Whether its name is one that stands in for a removed one.
      users: The number of methods that use its path.
    """

    nodeid: int
    kind: int = 0
    parent: Inode | None = None
    name: str = ""
    more_places: list[tuple[Inode, str]] | None = None
    path: str | None = None
    children: dict[str, Inode] | None = None
    key: Hashable = None
    nlookup: int = 0
    handles: list[Handle] | None = None
    listing: Listing | None = None
    changes: int = 0
    sized: bool = True
    hidden: bool = False
    users: int = 0

    def path_now(self) -> str:
        """Return the path; empty if it has no name any more."""
        if self.path is None:
            self.path = self._compute_path()
        return self.path

    def path_of(self, name: str) -> str:
        """Return the path of a name in this directory."""
        path = self.path_now()
        return f"{path}/{name}" if len(path) > 1 else f"/{name}"

    def _compute_path(self) -> str:
        names: list[str] = []
        inode = self
        while inode.parent is not None:
            names.append(inode.name)
            inode = inode.parent
        if inode.nodeid != ROOT:
            return ""
        return "/" + "/".join(reversed(names))

    def places(self) -> Iterator[tuple[Inode, str]]:
        """Yield each directory and name that leads to it."""
        if self.parent is not None:
            yield self.parent, self.name
        yield from self.more_places or ()

    def ancestors(self) -> Iterator[Inode]:
        """Yield the inode and all directories above it."""
        inode: Inode | None = self
        while inode is not None:
            yield inode
            inode = inode.parent

    def below(self) -> Iterator[Inode]:
        """Yield the inode and all that are known below."""
        found: list[Inode] = [self]
        while found:
            inode = found.pop()
            yield inode
            if inode.children:
                found.extend(inode.children.values())

    def changed(self) -> None:
        """Note that names in this directory have changed."""
        self.listing = None
        self.changes += 1


class _Numbered(dict[int, Inode]):
    """Inodes by number; one that is unknown raises ESTALE."""

    def __missing__(self, nodeid: int) -> Inode:
        raise FuseError(errno.ESTALE)


class Inodes:
    """The table of inodes: by number, by name and by key.

    Attributes:
      root: The root.
      numbered: All inodes by number.
    """

    def __init__(self) -> None:
        self.root = Inode(ROOT, path="/")
        self._numbers = itertools.count(ROOT + 1)
        self.numbered = _Numbered({ROOT: self.root})
        self._keys: dict[Hashable, Inode] = {}

    def at(self, directory: Inode, name: str) -> Inode | None:
        """Return the known inode of a name."""
        return directory.children.get(name) if directory.children else None

    def find(self, path: str) -> Inode | None:
        """Return the known inode of a path."""
        inode: Inode | None = self.root
        for name in filter(None, path.split("/")):
            if inode is None:
                return None
            inode = self.at(inode, name)
        return inode

    def known(
        self, directory: Inode, name: str, kind: int, key: Hashable = None
    ) -> Inode:
        """Return the inode of a name, a new one if it is another than before."""
        inode = self.at(directory, name)
        if inode is not None:
            if inode.kind == kind and inode.key == key:
                return inode
            if inode.kind == kind and None in (inode.key, key):
                self._set_key(inode, key)
                return inode
            self.remove(directory, name)  # it is something else now
        inode = self._keys.get(key) if key is not None else None
        if inode is None or inode.kind != kind:
            inode = Inode(next(self._numbers), kind)
            self.numbered[inode.nodeid] = inode
            self._set_key(inode, key)
        self.add(directory, name, inode)
        return inode

    def _set_key(self, inode: Inode, key: Hashable) -> None:
        if inode.key is not None and self._keys.get(inode.key) is inode:
            del self._keys[inode.key]
        inode.key = key
        if key is not None:
            self._keys[key] = inode

    def add(self, directory: Inode, name: str, inode: Inode) -> None:
        """Give an inode a name."""
        if directory.children is None:
            directory.children = {}
        directory.children[name] = inode
        if inode.parent is None:
            inode.parent, inode.name, inode.path = directory, name, None
        else:
            inode.more_places = [*(inode.more_places or ()), (directory, name)]

    def remove(self, directory: Inode, name: str) -> Inode | None:
        """Take a name away; return the inode that had it, if it is known."""
        inode = self._detach(directory, name)
        if inode is not None:
            self.let_go(inode)
        return inode

    def _detach(self, directory: Inode, name: str) -> Inode | None:
        if directory.children is None:
            return None
        inode = directory.children.pop(name, None)
        if inode is None:
            return None
        left = [place for place in inode.places() if place != (directory, name)]
        inode.parent, inode.name = left[0] if left else (None, "")
        inode.more_places = left[1:] or None
        _forget_paths(inode)
        return inode

    def move(self, old: Inode, name: str, new: Inode, new_name: str) -> None:
        """Rename, with all that is below; what had the new name loses it."""
        inode = self._detach(old, name)
        self.remove(new, new_name)
        if inode is not None:
            self.add(new, new_name, inode)
            _forget_paths(inode)
        old.changed()
        new.changed()

    def exchange(self, old: Inode, name: str, new: Inode, new_name: str) -> None:
        """Have two names change their inodes."""
        one, two = self._detach(old, name), self._detach(new, new_name)
        for directory, to, inode in ((new, new_name, one), (old, name, two)):
            if inode is not None:
                self.add(directory, to, inode)
                _forget_paths(inode)
        old.changed()
        new.changed()

    def forget(self, nodeid: int, nlookup: int) -> None:
        """Take lookups off an inode."""
        inode = self.numbered.get(nodeid)
        if inode is not None:
            inode.nlookup -= nlookup
            self.let_go(inode)

    def let_go(self, inode: Inode) -> None:
        """Drop an inode that nobody needs, and directories that only it needed."""
        while (
            inode.nlookup <= 0
            and not inode.handles
            and not inode.children
            and inode.nodeid != ROOT
        ):
            if self.numbered.pop(inode.nodeid, None) is None:
                return
            self._set_key(inode, None)
            parents = []
            for directory, name in inode.places():
                if directory.children is not None:
                    directory.children.pop(name, None)
                parents.append(directory)
            inode.parent, inode.more_places = None, None
            for directory in parents[1:]:
                self.let_go(directory)
            if not parents:
                return
            inode = parents[0]

    def clear(self) -> None:
        """Forget everything: the kernel knows nothing any more."""
        self.root = Inode(ROOT, path="/")
        self.numbered.clear()
        self.numbered[ROOT] = self.root
        self._keys = {}


def _forget_paths(inode: Inode) -> None:
    """Have the paths of an inode and of all below it computed anew."""
    for one in inode.below():
        one.path = None
