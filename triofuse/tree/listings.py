"""Requests that list directories."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator

from triofuse.filesystem import requests as r
from triofuse.filesystem.replies import DirEntry
from triofuse.tree.checks import check_pair
from triofuse.tree.folder import FolderNode
from triofuse.tree.inode import Inode
from triofuse.tree.table import Table

__all__ = ["Listings"]


class Listings(Table):
    """The requests that list directories."""

    async def readdir(self, request: r.Readdir) -> Iterable[DirEntry]:
        """List a directory."""
        directory, _ = self._folder(request.nodeid)
        children = await self._children(directory)
        return (
            DirEntry(name, self.number(inode), inode.attr.mode)
            for name, inode in children
        )

    async def readdirplus(self, request: r.Readdirplus) -> Iterable[DirEntry]:
        """List a directory with the attributes of what is in it, as far as fresh."""
        directory, _ = self._folder(request.nodeid)
        children = await self._children(directory)
        return self._with_entries(children)

    async def _children(self, directory: Inode) -> Iterable[tuple[str, Inode]]:
        node = directory.node
        assert isinstance(node, FolderNode)
        if node.HOLDS and node.writable:
            directory.accessed()
        entries = node.entries()
        known = self._known
        if node.HOLDS:
            assert not isinstance(entries, AsyncIterable)
            return ((name, known(directory, name, child)) for name, child in entries)
        if isinstance(entries, AsyncIterable):
            pairs = [check_pair(node, pair) async for pair in entries]
        else:
            pairs = [check_pair(node, pair) for pair in entries]
        return ((name, known(directory, name, child)) for name, child in pairs)

    def _with_entries(
        self, children: Iterable[tuple[str, Inode]]
    ) -> Iterator[DirEntry]:
        """Yield entries; each counts as a lookup when the kernel takes it."""
        for name, inode in children:
            entry = self._entry(inode) if self._is_fresh(inode) else None
            yield DirEntry(name, self.number(inode), inode.attr.mode, None, entry)
