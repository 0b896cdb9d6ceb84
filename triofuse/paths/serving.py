"""How a request becomes calls of the store's methods.

The law: a caller that is cancelled continues at once, but what it began in a thread is
finished, noted in the table of inodes, and undone where nobody got the result.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import trio

from triofuse.backend.threads import Outcome, Threads
from triofuse.filesystem import requests as r
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.replies import Entry, FileAttr, Opened
from triofuse.paths.attributes import describe, renumbered
from triofuse.paths.inodes import Handle, Inode, Inodes
from triofuse.paths.methods import Method, methods_of
from triofuse.paths.uses import Uses

__all__ = ["Serving", "Validity"]

_log = logging.getLogger("triofuse")

T = TypeVar("T")

_S_IFMT = 0o170000


@attrs.frozen
class Validity:
    """Seconds for which the kernel may cache something.

    Attributes:
      entry: Names.
      attr: Attributes.
      negative: That a name does not exist.
    """

    entry: float
    attr: float
    negative: float


class Serving(Filesystem):
    """The table of inodes, and the calls of the store."""

    def __init__(self, store: object, validity: Validity, threads: int) -> None:
        self.store = store
        self._validity = validity
        self._methods = methods_of(store, threads=threads > 0)
        self._threads = Threads(max(threads, 1))
        self._inodes = Inodes()
        self._numbered = self._inodes.numbered
        self._handles: dict[int, Handle] = {}
        self._uses = Uses()
        self._nursery: trio.Nursery | None = None
        self._started = trio.Event()
        self._getattr_method = self._methods["getattr"]
        self._read_method = self._methods.get("read")

    async def init(self, config: KernelConfig) -> None:
        """Prepare to serve."""
        self._started = trio.Event()
        if "init" in self._methods:
            await self._call(self._methods["init"], config)

    async def run(self) -> None:
        """Run what outlives its request."""
        async with trio.open_nursery() as self._nursery:
            self._started.set()
            await trio.sleep_forever()

    async def destroy(self) -> None:
        """End the store when its threads have ended."""
        await self._threads.wait_idle()
        self._inodes.clear()
        self._handles.clear()
        if "destroy" in self._methods:
            await self._call(self._methods["destroy"])

    def forget(self, request: r.Forget) -> None:
        """Take lookups off an inode."""
        self._inodes.forget(request.nodeid, request.nlookup)

    # --- Calls of the store

    async def _call(self, method: Method, *arguments: Any) -> Any:
        """Call a method of the store, in a thread if it is plain."""
        if method.in_thread:
            return await self._threads.run(
                method.function, *arguments, patience=method.patience
            )
        return await method.function(*arguments)

    async def _ask(
        self,
        method: Method,
        inode: Inode,
        name: str | None,
        *arguments: Any,
        begin_anyway: bool = False,
    ) -> Any:
        """Call a method with a path, which stays valid until the method returns.

        Args:
          method: The method.
          inode: What the path is of, or the directory of ``name``.
          name: A name in that directory; None for the inode itself.
          arguments: The further arguments.
          begin_anyway: Call a plain one also for a caller that was killed.
        """
        uses = self._uses
        if uses.moving:
            await uses.wait_for(inode)
        path = inode.path
        if path is None:
            path = inode.path_now()
        if name is not None:
            path = f"{path}/{name}" if path != "/" else f"/{name}"
        inode.users += 1
        if method.in_thread:
            return await self._threads.run(
                method.function,
                path,
                *arguments,
                settle=partial(_end_use, uses, inode),
                begin_anyway=begin_anyway,
                patience=method.patience,
            )
        try:
            return await method.function(path, *arguments)
        finally:
            inode.users -= 1
            if uses.moving:
                uses.wake()

    async def _open_object(
        self,
        method: Method,
        inode: Inode,
        flags: int,
        note: Callable[[object], Opened],
        close: Callable[[Opened], Awaitable[object]],
    ) -> Opened:
        """Call a method that opens; what it opens for nobody is closed.

        Args:
          method: The method, called with path and flags.
          inode: What is opened.
          flags: The flags of open(2).
          note: Notes a handle, and returns what the kernel is told of it.
          close: Undoes that.
        """
        if not method.in_thread:
            return note(await self._ask(method, inode, None, flags))
        uses = self._uses
        if uses.moving:
            await uses.wait_for(inode)

        def settle(outcome: Outcome) -> Opened:
            uses.end(inode)
            opened = note(outcome.unwrap())
            if not outcome.awaited:
                self._soon(close, opened)
            return opened

        path = inode.path_now()
        inode.users += 1
        opened: Opened = await self._threads.run(
            method.function, path, flags, settle=settle, patience=method.patience
        )
        return opened

    async def _finish(
        self,
        method: Method,
        operation: Callable[[], Awaitable[T]],
        undo: Callable[[T], Awaitable[object]] | None = None,
    ) -> T:
        """Do an operation that changes something, to its end if a thread does it.

        Args:
          method: The method that the operation calls.
          operation: What to do.
          undo: Undoes it, if the caller was cancelled meanwhile.
        """
        if not method.in_thread:
            return await operation()
        if not self._started.is_set():
            await self._started.wait()
        assert self._nursery is not None
        task = _Task(operation, undo)
        self._nursery.start_soon(task.run)
        return await task.result()

    # --- What the kernel is told

    async def _describe(
        self, directory: Inode, name: str, handle: object = None
    ) -> Any:
        """Return what the store says of a name."""
        return await self._ask(self._getattr_method, directory, name, handle)

    def _entry(self, directory: Inode, name: str, value: object) -> Entry:
        """Return an entry for a name: one lookup more."""
        validity = self._validity
        if type(value) is FileAttr and value.nlink == 1:  # the quick way
            attr, key, sized = value, None, True
        else:
            attr, key, sized = describe(value, validity.attr, name)
        kind = attr.mode & _S_IFMT
        children = directory.children
        inode = children.get(name) if children else None
        if inode is None or inode.kind != kind or inode.key != key:
            inode = self._inodes.known(directory, name, kind, key)
        inode.sized = sized
        inode.nlookup += 1
        if not attr.ino:
            attr = renumbered(attr, inode.nodeid, attr.nlink)
        return Entry(attr, inode.nodeid, 0, validity.entry)

    def _shown(self, inode: Inode, attr: FileAttr) -> FileAttr:
        """Return attributes with an inode number."""
        if attr.ino and not inode.hidden:
            return attr
        nlink = attr.nlink - 1 if inode.hidden and attr.nlink else attr.nlink
        return renumbered(attr, attr.ino or inode.nodeid, nlink)

    def _negative(self) -> Entry:
        """Return an entry for a name that does not exist, or raise ENOENT."""
        if self._validity.negative > 0:
            return Entry.negative(self._validity.negative)
        raise FuseError(errno.ENOENT)

    def _doubt(self, directory: Inode, name: str) -> None:
        """Have the kernel ask again for a name: nobody knows what became of it."""
        directory.changed()
        self._soon(self.notifier.inval_entry, directory.nodeid, name)

    def _doubt_inode(self, inode: Inode, offset: int = -1) -> None:
        """Have the kernel ask again for attributes, and for data from an offset on."""
        self._soon(self.notifier.inval_inode, inode.nodeid, offset)

    def _soon(
        self, function: Callable[..., Awaitable[object]], *arguments: Any
    ) -> None:
        """Call an async function in a task of its own."""
        if self._nursery is not None and self._started.is_set():
            self._nursery.start_soon(_logged, function, arguments)


def _end_use(uses: Uses, inode: Inode, outcome: Outcome) -> Any:
    uses.end(inode)
    return outcome.unwrap()


async def _logged(
    function: Callable[..., Awaitable[object]], arguments: tuple[Any, ...]
) -> None:
    try:
        await function(*arguments)
    except trio.EndOfChannel:
        pass  # unmounted
    except Exception as exc:  # noqa: BLE001  (nobody waits for it)
        _log.warning("%s failed: %r", getattr(function, "__name__", function), exc)


@attrs.define(eq=False)
class _Task(Generic[T]):
    """An operation in a task of its own, and its caller."""

    _operation: Callable[[], Awaitable[T]]
    _undo: Callable[[T], Awaitable[object]] | None
    _outcome: Outcome = attrs.field(factory=Outcome, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _awaited: bool = attrs.field(default=True, init=False)

    async def run(self) -> None:
        """Do it, whether or not somebody still waits for the result."""
        try:
            value = await self._operation()
        except Exception as exc:  # noqa: BLE001  (raised in the caller)
            self._outcome = Outcome(error=exc)
            if not self._awaited:
                _log.debug("failed after its caller was gone: %r", exc)
        except BaseException as exc:
            self._outcome = Outcome(error=exc)
            raise
        else:
            self._outcome = Outcome(value)
            if not self._awaited and self._undo is not None:
                await _logged(self._undo, (value,))
        finally:
            self._ended.set()

    async def result(self) -> T:
        """Wait for the result."""
        try:
            await self._ended.wait()
        except BaseException:
            self._awaited = False
            raise
        if isinstance(self._outcome.error, trio.Cancelled):
            raise FuseError(errno.EINTR)  # the mount ends
        value: T = self._outcome.unwrap()
        return value
