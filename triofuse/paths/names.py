"""Requests about names, by path."""

from __future__ import annotations

import errno
import secrets
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.flags import RenameFlags
from triofuse.filesystem.replies import Entry
from triofuse.paths.inodes import Inode
from triofuse.paths.listings import Listings
from triofuse.paths.methods import Method

__all__ = ["Names"]

#: The start of names that stand in for removed ones, as in libfuse.
_HIDDEN = ".fuse_hidden"


class Names(Listings):
    """The requests about names."""

    _hard_remove: bool
    _rename_flags: int

    async def lookup(self, request: r.Lookup) -> Entry:
        """Find a name."""
        directory, name = self._numbered[request.nodeid], request.name
        if directory.listing is not None:
            listed = self._listed(directory, name)
            if listed is not None:
                return listed
        if name.startswith(_HIDDEN) and self._is_hidden(directory, name):
            return self._negative()
        try:
            value = await self._ask(self._getattr_method, directory, name, None)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                return self._negative()
            raise
        return self._entry(directory, name, value)

    def _is_hidden(self, directory: Inode, name: str) -> bool:
        inode = self._inodes.at(directory, name)
        return inode is not None and inode.hidden

    # --- Making names

    async def mknod(self, request: r.Mknod) -> Entry:
        """Make a file, device, pipe or socket."""
        method = self._methods["mknod"]
        return await self._make(request, method, request.mode, request.rdev)

    async def mkdir(self, request: r.Mkdir) -> Entry:
        """Make a directory."""
        return await self._make(request, self._methods["mkdir"], request.mode)

    async def symlink(self, request: r.Symlink) -> Entry:
        """Make a symbolic link."""
        method = self._methods["symlink"]
        to_target = partial(method.function, request.target)
        return await self._make(request, method.using(to_target))

    async def _make(
        self, request: r.Mknod | r.Mkdir | r.Symlink, method: Method, *arguments: Any
    ) -> Entry:
        directory = self._numbered[request.nodeid]

        async def operation() -> Entry:
            try:
                value = await self._ask(method, directory, request.name, *arguments)
                return await self._made(directory, request.name, value)
            except BaseException:
                self._doubt(directory, request.name)
                raise

        return await self._finish(method, operation, self._forget_entry)

    async def _made(self, directory: Inode, name: str, value: object) -> Entry:
        """Return an entry for what was made, and ask for its attributes if need be."""
        directory.changed()
        if value is None:
            value = await self._describe(directory, name)
        return self._entry(directory, name, value)

    async def _forget_entry(self, entry: Entry) -> None:
        """Undo the lookup of an entry that nobody got; the kernel asks again."""
        inode = self._numbered[entry.nodeid]
        for directory, name in inode.places():
            self._doubt(directory, name)
        self._inodes.forget(entry.nodeid, 1)

    async def link(self, request: r.Link) -> Entry:
        """Make a hard link."""
        directory, name = self._numbered[request.nodeid], request.newname
        inode, method = self._numbered[request.oldnodeid], self._methods["link"]

        async def operation() -> Entry:
            await self._uses.wait_for(inode, directory)
            old = inode.path_now()
            if not old:
                raise FuseError(errno.ENOENT)
            inode.users += 1
            try:
                from_old = partial(method.function, old)
                value = await self._ask(method.using(from_old), directory, name)
                if self._inodes.at(directory, name) is None:
                    self._inodes.add(directory, name, inode)
                return await self._made(directory, name, value)
            except BaseException:
                self._doubt(directory, name)
                raise
            finally:
                self._uses.end(inode)

        return await self._finish(method, operation, self._forget_entry)

    # --- Removing and renaming

    async def unlink(self, request: r.Unlink) -> None:
        """Remove a file's name; an open file gets another one until it is closed."""
        await self._remove(request, self._methods["unlink"])

    async def rmdir(self, request: r.Rmdir) -> None:
        """Remove an empty directory."""
        await self._remove(request, self._methods["rmdir"])

    async def _remove(self, request: r.Unlink | r.Rmdir, method: Method) -> None:
        directory, name = self._numbered[request.nodeid], request.name

        async def operation() -> None:
            child = self._inodes.at(directory, name)
            if child is not None and self._must_hide(child):
                await self._hide(directory, name, child)
                return
            await self._call(method, directory.path_of(name))
            self._inodes.remove(directory, name)
            directory.changed()

        await self._move(method, [(directory, name)], operation)

    async def rename(self, request: r.Rename) -> None:
        """Rename, replacing what has the new name."""
        await self.rename2(request)

    async def rename2(self, request: r.Rename) -> None:
        """Rename as the flags say."""
        if request.flags & ~self._rename_flags:
            raise FuseError(errno.EINVAL)
        old, name = self._numbered[request.nodeid], request.name
        new, new_name = self._numbered[request.newdir], request.newname
        method = self._methods["rename"]

        async def operation() -> None:
            replaced = self._inodes.at(new, new_name)
            arguments = old.path_of(name), new.path_of(new_name), request.flags
            if request.flags & RenameFlags.EXCHANGE:
                await self._call(method, *arguments)
                self._inodes.exchange(old, name, new, new_name)
                return
            if replaced is None or not self._must_hide(replaced):
                await self._call(method, *arguments)
            else:
                hidden = await self._hide(new, new_name, replaced)
                await self._replace_hidden(method, arguments, new, hidden, new_name)
            self._inodes.move(old, name, new, new_name)

        await self._move(method, [(old, name), (new, new_name)], operation)

    async def _move(
        self,
        method: Method,
        places: list[tuple[Inode, str]],
        operation: Callable[[], Awaitable[None]],
    ) -> None:
        """Do what changes paths, while nobody uses them."""
        directories = [directory for directory, _ in places]

        async def alone() -> None:
            moved = [self._inodes.at(*place) for place in places]
            known = list({id(one): one for one in moved if one is not None}.values())
            await self._uses.begin_move(known, *directories)
            try:
                await operation()
            except BaseException:
                for place in places:
                    self._doubt(*place)
                raise
            finally:
                self._uses.end_move(known, *directories)

        await self._finish(method, alone)

    # --- Open files that lose their name

    def _must_hide(self, inode: Inode) -> bool:
        return (
            bool(inode.handles)
            and not inode.more_places
            and not self._hard_remove
            and inode.kind == stat.S_IFREG
            and "rename" in self._methods
        )

    async def _hide(self, directory: Inode, name: str, inode: Inode) -> str:
        """Rename a file that is open, instead of removing it; return the name."""
        hidden = f"{_HIDDEN}{inode.nodeid:08x}{secrets.token_hex(4)}"
        old, new = directory.path_of(name), directory.path_of(hidden)
        await self._call(self._methods["rename"], old, new, 0)
        self._inodes.move(directory, name, directory, hidden)
        inode.hidden = True
        return hidden

    async def _replace_hidden(
        self,
        method: Method,
        arguments: tuple[str, str, int],
        directory: Inode,
        hidden: str,
        name: str,
    ) -> None:
        """Rename to the name of a file that was hidden; if that fails, show it again."""
        try:
            await self._call(method, *arguments)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._call(method, directory.path_of(hidden), arguments[1], 0)
            inode = self._inodes.at(directory, hidden)
            self._inodes.move(directory, hidden, directory, name)
            if inode is not None:
                inode.hidden = False
            raise

    async def _remove_hidden(self, inode: Inode) -> None:
        """Remove a hidden file that was closed."""
        directory, name = inode.parent, inode.name
        if directory is None:
            return
        await self._call(self._methods["unlink"], directory.path_of(name))
        self._inodes.remove(directory, name)
