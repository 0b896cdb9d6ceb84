"""One line of the table of faults, and the scene in which it happens."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

import triofuse as t
from tests.faults.victim import FH, FINE, NODE, OTHER, OTHER_FH, Victim, Wrong
from triofuse.session.session import SessionOptions
from triofuse.testing import FakeKernel

#: A call of the victim for each method, as its process would make it.
CALLS: dict[str, Callable[[FakeKernel], Awaitable[object]]] = {
    "lookup": lambda k: k.lookup(1, "name"),
    "create": lambda k: k.create(1, "new"),
    "tmpfile": lambda k: k.tmpfile(1),
    "mknod": lambda k: k.mknod(1, "new", stat.S_IFIFO),
    "mkdir": lambda k: k.mkdir(1, "new"),
    "symlink": lambda k: k.symlink(1, "new", "target"),
    "link": lambda k: k.link(NODE, 1, "new"),
    "unlink": lambda k: k.unlink(1, "name"),
    "rmdir": lambda k: k.rmdir(1, "name"),
    "rename": lambda k: k.rename(1, "name", 1, "new"),
    "rename2": lambda k: k.rename(1, "name", 1, "new", t.RenameFlags.NOREPLACE),
    "getattr": lambda k: k.getattr(NODE),
    "statx": lambda k: k.statx(NODE),
    "setattr": lambda k: k.setattr(NODE, mode=0o600),
    "access": lambda k: k.access(NODE, os.R_OK),
    "readlink": lambda k: k.readlink(NODE),
    "statfs": lambda k: k.statfs(),
    "syncfs": lambda k: k.syncfs(),
    "setxattr": lambda k: k.setxattr(NODE, "user.x", b"value"),
    "getxattr": lambda k: k.getxattr(NODE, "user.x", 100),
    "listxattr": lambda k: k.listxattr(NODE, 100),
    "removexattr": lambda k: k.removexattr(NODE, "user.x"),
    "open": lambda k: k.open(NODE),
    "read": lambda k: k.read(NODE, FH, 0, 100),
    "write": lambda k: k.write(NODE, FH, 0, FINE),
    "flush": lambda k: k.flush(NODE, FH),
    "release": lambda k: k.release(NODE, FH),
    "fsync": lambda k: k.fsync(NODE, FH),
    "fallocate": lambda k: k.fallocate(NODE, FH, 0, 100),
    "lseek": lambda k: k.lseek(NODE, FH, 0, os.SEEK_HOLE),
    "copy_file_range": lambda k: k.copy_file_range(NODE, FH, 0, NODE, FH, 0, 100),
    "getlk": lambda k: k.getlk(NODE, FH, t.FileLock(0, 9, t.LockType.WRLCK, 1)),
    "setlk": lambda k: k.setlk(NODE, FH, t.FileLock(0, 9, t.LockType.WRLCK, 1), 5),
    "setlkw": lambda k: k.setlkw(NODE, FH, t.FileLock(0, 9, t.LockType.WRLCK, 1), 5),
    "ioctl": lambda k: k.ioctl(NODE, FH, 1, b"", 8),
    "poll": lambda k: k.poll(NODE, FH, 1),
    "bmap": lambda k: k.bmap(NODE, 0, 512),
    "opendir": lambda k: k.opendir(1),
    "readdir": lambda k: k.readdir(1, FH),
    "readdirplus": lambda k: k.readdirplus(1, FH),
    "releasedir": lambda k: k.releasedir(1, FH),
    "fsyncdir": lambda k: k.fsyncdir(1, FH),
}

#: What leaves something behind when it succeeds for nobody.
UNDONE = (
    "open",
    "opendir",
    "create",
    "tmpfile",
    "lookup",
    "mknod",
    "mkdir",
    "symlink",
    "link",
    "readdirplus",
)

#: Where a number has two names.
_NAMES = {errno.EDEADLK: "EDEADLK", errno.EOPNOTSUPP: "EOPNOTSUPP"}


def told(value: object) -> str:
    """Return how the table says what a victim got."""
    match value:
        case OSError(errno=number):
            return _NAMES.get(number or 0, errno.errorcode[number or 0])
        case BaseException():
            return type(value).__name__
        case None:
            return "success"
        case t.Entry() | t.FileAttr() | t.Opened() | t.Statfs() | tuple():
            return "success"
        case list():
            return f"{len(value)} entries"
    return repr(value)


@attrs.define(eq=False)
class Scene:
    """A filesystem, a kernel and the callers."""

    victim: Victim
    kernel: FakeKernel

    async def ask(self, method: str) -> str:
        """Be the victim; return what it got."""
        try:
            value = await CALLS[method](self.kernel)
        except OSError as exc:
            return told(exc)
        await self._let_go(method, value)
        return told(value)

    async def _let_go(self, method: str, value: object) -> None:
        """Close what was opened, for the books are checked afterwards."""
        match value:
            case t.Opened(fh=fh) if method == "opendir":
                await self.kernel.releasedir(1, fh)
            case t.Opened(fh=fh):
                await self.kernel.release(NODE, fh)
            case (t.Entry(nodeid=nodeid), t.Opened(fh=fh)):
                await self.kernel.release(nodeid, fh)

    async def ask_and(self, method: str, act: Callable[[], Awaitable[None]]) -> str:
        """Be the victim; do something when its request hangs."""
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await self.ask(method))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await act()
        return answers[0]

    async def interrupt(self, *, fatal: bool = True) -> None:
        """Send a signal to whoever waits, and have it dealt with."""
        for unique in list(self.kernel.pending):
            await self.kernel.interrupt(unique, fatal=fatal)
        await wait_all_tasks_blocked()

    async def interrupt_and_let_go(self) -> None:
        """Send a signal, see that it does nothing, and let the handler go on."""
        await self.interrupt()
        assert self.kernel.pending
        self.victim.go.set()

    async def survive_and_let_go(self) -> None:
        """Send a signal that nobody dies of, and let the handler go on."""
        await self.interrupt(fatal=False)
        assert self.kernel.pending
        self.victim.go.set()

    async def survive_and_die(self) -> None:
        """Send a signal that nobody dies of, and then one that is fatal."""
        await self.interrupt(fatal=False)
        await self.interrupt()

    async def serve_others(self) -> None:
        """Be somebody else, who must notice nothing."""
        with trio.fail_after(5):
            assert await self.kernel.read(OTHER, OTHER_FH, 0, 100) == FINE
            with suppress(FileNotFoundError):
                await self.kernel.lookup(OTHER, "absent")


Happen = Callable[[Scene], Awaitable[str]]


async def not_at_all(scene: Scene) -> None:
    """Nothing happens beside the fault."""


@attrs.frozen
class Fault:
    """What goes wrong, and what comes of it.

    Attributes:
      what: What goes wrong.
      victim: What the caller gets: an errno, a value, or what the block raises.
      happen: Does it; returns what the victim got.
      logged: A part of the one ERROR of the log, empty where there is none.
      options: For the session.
      ends: Whether the session ends with it, so that nobody is served any more.
      alone: Whether others have to wait meanwhile.
      real_time: Whether threads are at work, so that time is not the test's.
    """

    what: str
    victim: str
    happen: Happen
    logged: str = ""
    options: SessionOptions = attrs.Factory(SessionOptions)
    ends: bool = False
    alone: bool = False
    real_time: bool = False

    @property
    def test_id(self) -> str:
        """The name of its test."""
        return self.what.replace(" ", "-").replace("/", "-")


def breaking(method: str, wrong: Wrong) -> Happen:
    """Return what happens when a method is wrong and is called."""

    async def happen(scene: Scene) -> str:
        scene.victim.wrong[method] = wrong
        return await scene.ask(method)

    return happen


def hanging(
    method: str,
    wrong: Wrong,
    act: Callable[[Scene], Awaitable[None]],
) -> Happen:
    """Return what happens when a method hangs and something is done meanwhile."""

    async def happen(scene: Scene) -> str:
        scene.victim.wrong[method] = wrong

        async def then() -> None:
            await act(scene)

        return await scene.ask_and(method, then)

    return happen


def raising(exc: BaseException) -> Wrong:
    """Return a method that raises this."""

    async def wrong(victim: Victim, request: Any) -> Any:
        raise exc

    return wrong


def returning(value: object) -> Wrong:
    """Return a method that returns this."""

    async def wrong(victim: Victim, request: Any) -> Any:
        return value

    return wrong


async def holding(victim: Victim, request: Any) -> bytes:
    """Be a method that waits until the victim is let go."""
    await victim.hold()
    return FINE
