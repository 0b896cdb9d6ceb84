"""Trees of nodes from images, and images of trees."""

from __future__ import annotations

import itertools
import stat

from triofuse.faults.image import ROOT, Image, Stored
from triofuse.tree.directory import Directory
from triofuse.tree.file import File
from triofuse.tree.inode import Inode
from triofuse.tree.node import Node, Special, SymbolicLink, inode_of
from triofuse.tree.stat import Stat
from triofuse.tree.tree import Tree

__all__ = ["image_of", "tree_of"]


def tree_of(image: Image, size: int | None, first: int = ROOT + 1) -> Tree:
    """Return a new tree with what is in an image.

    Args:
      image: The image.
      size: As for `Tree`.
      first: The number of the first inode but the root; those below were in use.
    """
    made: dict[int, Node] = {ROOT: _node(image.nodes[ROOT])}
    waiting = [ROOT]
    while waiting:
        ino = waiting.pop()
        directory = made[ino]
        assert isinstance(directory, Directory)
        for name, child in image.nodes[ino].names.items():
            stored = image.nodes.get(child)
            if stored is None:
                continue
            if child not in made:
                made[child] = _node(stored)
                if stat.S_ISDIR(stored.mode):
                    waiting.append(child)
            elif stat.S_ISDIR(stored.mode):
                continue  # half a rename has left two names; fsck(8) removes one
            directory[name] = made[child]
    tree = Tree(made[ROOT], size=size)
    tree._numbers = itertools.count(first)  # noqa: SLF001  (only a disk needs it)
    return tree


def _node(stored: Stored) -> Node:
    known = Stat(mode=stored.mode, uid=stored.uid, gid=stored.gid)
    node: Node
    if stat.S_ISDIR(stored.mode):
        node = Directory(writable=True, stat=known)
    elif stat.S_ISREG(stored.mode):
        node = File(stored.content, writable=True, stat=known)
    elif stat.S_ISLNK(stored.mode):
        node = SymbolicLink(stored.target, writable=True, stat=known)
    else:
        node = Special(stored.mode, stored.rdev, writable=True, stat=known)
    inode_of(node).xattrs = dict(stored.xattrs) or None
    return node


def image_of(tree: Tree) -> Image:
    """Return an image of a tree in memory, whose nodes it numbers."""
    image = Image({})
    waiting = [inode_of(tree.root)]
    while waiting:
        inode = waiting.pop()
        node, stored = inode.node, _stored(inode)
        image.nodes[tree.number(inode)] = stored
        if isinstance(node, Directory):
            for name, child in node.items():
                below = inode_of(child)
                number = tree.number(below)
                stored.names[name] = number
                if number not in image.nodes:
                    waiting.append(below)
    return image


def _stored(inode: Inode) -> Stored:
    attr, node = inode.attr, inode.node
    stored = Stored(attr.mode, attr.uid, attr.gid, attr.rdev)
    stored.xattrs = dict(inode.xattrs or {})
    if isinstance(node, File):
        stored.data = bytearray(node.content)
        stored.size = len(stored.data)
    elif isinstance(node, SymbolicLink):
        stored.target = node._target  # noqa: SLF001  (readlink() is async)
    return stored
