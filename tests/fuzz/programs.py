"""The system calls of many programs, each in a task of its own."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs
import trio
import trio.testing

from tests.fuzz.connection import BookKeeper
from tests.fuzz.ledger import Ledger, Plan
from triofuse.filesystem.replies import FileLock
from triofuse.testing.listings import DIRENTPLUS, DIRENTS
from triofuse.wire import layouts
from triofuse.wire.opcodes import Opcode

__all__ = ["CALLS", "Step", "Walker"]

NAMES = ["a", "b", "c", "d" * 200]


@attrs.frozen
class Step:
    """One thing that happens.

    Attributes:
      what: A key of `CALLS` or of what else happens.
      which: Chooses among names, nodes, handles, callers.
      size: Bytes or seconds.
      plan: What becomes of a call.
    """

    what: str
    which: int
    size: int
    plan: Plan


@attrs.define(eq=False)
class _Handle:
    nodeid: int
    fh: int
    directory: bool
    users: int = 0
    offset: int = 0


@attrs.define(eq=False)
class Walker:
    """Makes the system calls of many programs, each in a task of its own."""

    ledger: Ledger
    kernel: BookKeeper
    nursery: trio.Nursery
    clock: trio.testing.MockClock
    handles: list[_Handle] = attrs.field(factory=list)
    scopes: list[trio.CancelScope] = attrs.field(factory=list)
    notified: int = 0
    _calls: int = 0

    def call(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a system call; it fails with an OSError or not at all."""
        scope = trio.CancelScope()
        self.scopes.append(scope)
        self.nursery.start_soon(self._call, scope, function, args)

    async def _call(
        self,
        scope: trio.CancelScope,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
    ) -> None:
        try:
            with scope, suppress(OSError):
                await function(*args)
        finally:
            self.scopes.remove(scope)

    def caller(self, plan: Plan) -> int:
        """Return the pid of a new caller whose request goes as planned."""
        self._calls += 1
        self.ledger.plans[self._calls] = plan
        return self._calls

    def node(self, which: int) -> int:
        known = sorted(self.ledger.kinds)
        return known[which % len(known)]

    def handle(self, which: int, *, directory: bool) -> _Handle | None:
        handles = [one for one in self.handles if one.directory == directory]
        return handles[which % len(handles)] if handles else None


def _lookup(walker: Walker, step: Step) -> None:
    name = NAMES[step.which % len(NAMES)]
    pid = walker.caller(step.plan)
    walker.call(lambda: walker.kernel.lookup(1, name, pid=pid))


def _getattr(walker: Walker, step: Step) -> None:
    pid, nodeid = walker.caller(step.plan), walker.node(step.which)
    walker.call(lambda: walker.kernel.getattr(nodeid, pid=pid))


def _mkdir(walker: Walker, step: Step) -> None:
    pid = walker.caller(step.plan)
    walker.call(lambda: walker.kernel.mkdir(1, f"dir{step.which % 3}", pid=pid))


def _unlink(walker: Walker, step: Step) -> None:
    name, pid = NAMES[step.which % len(NAMES)], walker.caller(step.plan)
    walker.call(lambda: walker.kernel.unlink(1, name, pid=pid))


def _create(walker: Walker, step: Step) -> None:
    name, pid = NAMES[step.which % len(NAMES)], walker.caller(step.plan)

    async def create() -> None:
        entry, opened = await walker.kernel.create(1, name, os.O_RDWR, pid=pid)
        walker.handles.append(_Handle(entry.nodeid, opened.fh, False))

    walker.call(create)


def _open(walker: Walker, step: Step) -> None:
    nodeid, pid = walker.node(step.which), walker.caller(step.plan)

    async def open_() -> None:
        opened = await walker.kernel.open(nodeid, pid=pid)
        walker.handles.append(_Handle(nodeid, opened.fh, False))

    walker.call(open_)


def _opendir(walker: Walker, step: Step) -> None:
    pid = walker.caller(step.plan)

    async def opendir() -> None:
        opened = await walker.kernel.opendir(1, pid=pid)
        walker.handles.append(_Handle(1, opened.fh, True))

    walker.call(opendir)


def _using(
    walker: Walker, handle: _Handle | None, use: Callable[[_Handle], Awaitable[Any]]
) -> None:
    """Do something with an open file, which stays open meanwhile."""
    if handle is None:
        return
    handle.users += 1

    async def using() -> None:
        try:
            await use(handle)
        finally:
            handle.users -= 1

    walker.call(using)


def _read(walker: Walker, step: Step) -> None:
    pid = walker.caller(step.plan)
    handle = walker.handle(step.which, directory=False)
    _using(walker, handle, lambda h: walker.kernel.read(h.nodeid, h.fh, 0, 9, pid=pid))


def _write(walker: Walker, step: Step) -> None:
    pid, data = walker.caller(step.plan), b"x" * (step.size * 2500)
    handle = walker.handle(step.which, directory=False)
    _using(
        walker, handle, lambda h: walker.kernel.write(h.nodeid, h.fh, 0, data, pid=pid)
    )


def _flush(walker: Walker, step: Step) -> None:
    pid = walker.caller(step.plan)
    handle = walker.handle(step.which, directory=False)
    _using(walker, handle, lambda h: walker.kernel.flush(h.nodeid, h.fh, pid=pid))


def _setlkw(walker: Walker, step: Step) -> None:
    pid = walker.caller(step.plan)
    handle = walker.handle(step.which, directory=False)
    _using(
        walker,
        handle,
        lambda h: walker.kernel.setlkw(h.nodeid, h.fh, FileLock(type=1), pid=pid),
    )


def _list(walker: Walker, step: Step, *, plus: bool) -> None:
    """Read one page, most often behind the last one."""
    pid = walker.caller(step.plan)
    handle = walker.handle(step.which, directory=True)

    async def page(handle: _Handle) -> None:
        kernel = walker.kernel
        opcode = Opcode.READDIRPLUS if plus else Opcode.READDIR
        offset = step.which % 5 if step.size % 4 == 0 else handle.offset
        size = 200 + step.size * 60
        body = layouts.READ_IN.pack(handle.fh, offset, size, 0, 0, 0)
        expected = DIRENTPLUS if plus else DIRENTS
        caller = {"pid": pid}
        found = await kernel._ask(
            opcode,
            expected,
            handle.nodeid,
            body,
            room=size,
            caller=caller,  # type: ignore[arg-type]
        )
        handle.offset = found[-1].offset or 0 if found else 0

    _using(walker, handle, page)


def _readdir(walker: Walker, step: Step) -> None:
    _list(walker, step, plus=False)


def _readdirplus(walker: Walker, step: Step) -> None:
    _list(walker, step, plus=True)


def _release(walker: Walker, step: Step) -> None:
    unused = [handle for handle in walker.handles if not handle.users]
    if not unused:
        return
    handle = unused[step.which % len(unused)]
    walker.handles.remove(handle)
    flags = walker.caller(step.plan)

    async def release() -> None:
        with trio.CancelScope(shield=True):  # no signal keeps the kernel from it
            if handle.directory:
                await walker.kernel.releasedir(handle.nodeid, handle.fh)
            else:
                await walker.kernel.release(handle.nodeid, handle.fh, flags)

    walker.call(release)


#: What a program may do, by name.
CALLS: dict[str, Callable[[Walker, Step], None]] = {
    "lookup": _lookup,
    "getattr": _getattr,
    "mkdir": _mkdir,
    "unlink": _unlink,
    "create": _create,
    "open": _open,
    "opendir": _opendir,
    "read": _read,
    "write": _write,
    "flush": _flush,
    "setlkw": _setlkw,
    "readdir": _readdir,
    "readdirplus": _readdirplus,
    "release": _release,
}
