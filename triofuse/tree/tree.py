"""A tree of nodes as a filesystem."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import trio

from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.flags import InitFlags
from triofuse.posix.space import Space
from triofuse.tree.directory import Child, node_of
from triofuse.tree.files import Files
from triofuse.tree.folder import FolderNode
from triofuse.tree.node import Node

__all__ = ["Tree"]


class Tree(Files):
    r"""A filesystem made of nodes: a `Directory` with what is in it.

    Nodes are `Directory`, `AskedDirectory`, `File`, `Generated`, `DiskFile`,
    `SymbolicLink` and `Special`, and what is derived from them::

        root = Directory(
            {
                "hello": "Hello\n",
                "uptime": Generated(lambda: f"{trio.current_time():.0f}\n"),
                "notes": Directory(writable=True),
            }
        )
        tree = Tree(root)
        async with triofuse.mount(tree, "/mnt/x"):
            root["late"] = "added while mounted\n"
            await tree.told()  # now the kernel knows

    The tree numbers the nodes, counts lookups and links, keeps sizes and times, lists
    directories, and calls ``drop`` of what has gone.

    The kernel checks permissions by the nodes' modes and owners: a tree is mounted with
    ``default_permissions`` unless ``MountOptions(default_permissions=False)`` says
    otherwise.

    Args:
      root: The root: a directory, or what `Directory` takes for one; or a single
        file, for a mountpoint that is a file.
      size: Bytes that may be in memory: contents, names, targets of links, extended
        attributes.  Default: half of the machine's memory.
      read_only: Mount it read-only, and refuse all changes by clients with EROFS.
      max_nodes: How many nodes the kernel may know before it is asked to forget those
        that it has not used for long; what is in use stays known.  Default: as many as
        it likes.
      kinds: Classes of nodes that come only while it is mounted, and have a method
        ``poll`` or ``setlk``: the kernel must know that when the mount begins.
    """

    def __init__(
        self,
        root: Child,
        *,
        size: int | None = None,
        read_only: bool = False,
        max_nodes: int | None = None,
        kinds: Iterable[type[Node]] = (),
    ) -> None:
        super().__init__(
            node_of(root),
            Space.of(size),
            read_only=read_only,
            max_nodes=max_nodes,
            kinds=kinds,
        )
        # Without the first, nobody would check modes.
        self.mount_options = (
            "default_permissions,ro" if read_only else "default_permissions"
        )

    async def init(self, config: KernelConfig) -> None:
        """Take what a tree is made for."""
        if self._thread:
            message = "this tree is mounted already; a tree is mounted once at a time"
            raise RuntimeError(message)
        # Data are dropped when the tree says so, not when times and sizes change.
        config.decline(InitFlags.AUTO_INVAL_DATA)
        config.wanted |= InitFlags.EXPLICIT_INVAL_DATA & config.offered
        # File handles (NFS, open_by_handle_at) stay good when the kernel has forgotten
        # a node that is in memory: it looks up "." and "..".
        wanted = InitFlags.CACHE_SYMLINKS | InitFlags.EXPORT_SUPPORT
        config.wanted |= wanted & config.offered
        if isinstance(self.root, FolderNode) and self.root.writable:
            wanted = (
                InitFlags.HANDLE_KILLPRIV_V2 | InitFlags.POSIX_ACL | InitFlags.DONT_MASK
            )
            config.wanted |= wanted & config.offered
        self._thread = threading.get_ident()

    async def run(self) -> None:
        """Run what belongs to the mount: open files' contexts, and notifications."""
        async with trio.open_nursery() as self._tasks:
            self._running.set()
            self._tasks.start_soon(self._ending.keep_on)
            self._tasks.start_soon(self._forgetting.keep_on)
            await self._changes.send(self.notifier)

    async def destroy(self) -> None:
        """Forget what the kernel knew: it knows nothing any more."""
        self._thread = 0
        self._running = trio.Event()
        for inode in list(self._inodes.values()):
            inode.nlookup = inode.nopen = 0
            self._let_go(inode)
        self._forgetting.known = 0
        self._handles.clear()
        self._absent.clear()
        self._polled.clear()
        await self._ending.finish()
        while self._ending.reclaim():
            pass

    async def told(self) -> None:
        """Wait until the kernel knows of all changes that were made until now.

        What nothing is left of has then been dropped.
        """
        await self._changes.told()
        await self._ending.finish()
