"""What a handler tells the kernel goes out at once, unless the kernel would wait.

Each of these operations is held by its handler, which tells the kernel of its own
nodes and of others; a kernel that waited for the request would never come back.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import triofuse as t
from tests.kernel.recorder import Recorder, mounted, off_thread, until
from triofuse.session.notifications import notifier
from triofuse.wire.waiting import may_wait_for

pytestmark = pytest.mark.mount

Call = Callable[[str], object]


def with_fd(path: str, flags: int, function: Callable[[int], object]) -> None:
    fd = os.open(path, flags)
    try:
        function(fd)
    finally:
        os.close(fd)


def copy(root: str) -> None:
    def into(source: int) -> None:
        with_fd(
            f"{root}/file",
            os.O_WRONLY,
            lambda fd: os.copy_file_range(source, fd, 100),
        )

    with_fd(f"{root}/other", os.O_RDONLY, into)


#: The method that holds its request, and what makes the kernel send that.
CALLS: dict[str, tuple[str, Call]] = {
    "lookup": ("lookup", lambda m: os.stat(f"{m}/directory/absent")),
    "create": ("create", lambda m: os.close(os.open(f"{m}/directory/new", os.O_CREAT))),
    "mknod": ("mknod", lambda m: os.mknod(f"{m}/directory/new")),
    "mkdir": ("mkdir", lambda m: os.mkdir(f"{m}/directory/new")),
    "symlink": ("symlink", lambda m: os.symlink("x", f"{m}/directory/new")),
    "link": ("link", lambda m: os.link(f"{m}/file", f"{m}/directory/new")),
    "unlink": ("unlink", lambda m: os.unlink(f"{m}/directory/name")),
    "rename": ("rename", lambda m: os.rename(f"{m}/directory/name", f"{m}/second/x")),
    "getattr": ("getattr", lambda m: os.stat(f"{m}/file")),
    "chmod": ("setattr", lambda m: os.chmod(f"{m}/file", 0o600)),
    "truncate": ("setattr", lambda m: os.truncate(f"{m}/file", 100)),
    "setxattr": ("setxattr", lambda m: os.setxattr(f"{m}/file", "user.x", b"1")),
    "readlink": ("readlink", lambda m: os.readlink(f"{m}/symlink")),
    "open": ("open", lambda m: os.close(os.open(f"{m}/file", os.O_RDONLY))),
    "O_TRUNC": (
        "open",
        lambda m: os.close(os.open(f"{m}/file", os.O_WRONLY | os.O_TRUNC)),
    ),
    "read": (
        "read",
        lambda m: with_fd(f"{m}/file", os.O_RDONLY, lambda fd: os.read(fd, 9)),
    ),
    "write": (
        "write",
        lambda m: with_fd(f"{m}/file", os.O_WRONLY, lambda fd: os.write(fd, b"w")),
    ),
    "fallocate": (
        "fallocate",
        lambda m: with_fd(
            f"{m}/file", os.O_WRONLY, lambda fd: os.posix_fallocate(fd, 0, 9999)
        ),
    ),
    "lseek": (
        "lseek",
        lambda m: with_fd(
            f"{m}/file", os.O_RDONLY, lambda fd: os.lseek(fd, 0, os.SEEK_DATA)
        ),
    ),
    "copy_file_range": ("copy_file_range", copy),
    "readdirplus": ("readdirplus", lambda m: os.listdir(f"{m}/directory")),
    "release": ("release", lambda m: os.close(os.open(f"{m}/file", os.O_RDONLY))),
}

#: Where the kernel waits for the request, by operation: what it was seen to wait with.
WAITS = {
    "mkdir": {"inval_entry directory", "expire_entry directory"},
    "create": {"inval_entry directory", "expire_entry directory"},
    "unlink": {"inval_entry directory", "expire_entry directory"},
    "rename": {
        "inval_entry directory",
        "inval_entry second",
        "expire_entry directory",
    },
    "readdirplus": {"inval_entry directory", "expire_entry directory"},
    "read": {"inval_inode file", "store file"},
    "write": {"inval_inode file", "store file", "delete file"},
    "readlink": {"inval_inode symlink"},
    "chmod": {"delete file"},
    "link": {"inval_entry directory", "expire_entry directory", "delete file"},
}


class Telling(Recorder):
    """Does what the test wants when one of its methods is called."""

    def __init__(self) -> None:
        super().__init__(
            t.InitFlags.ATOMIC_O_TRUNC | t.InitFlags.CACHE_SYMLINKS, valid=60
        )
        self.node = {
            "file": self.put("file", b"x" * 5000),
            "other": self.put("other", b"y" * 5000),
            "directory": self.put("directory", mode=0o40755),
            "second": self.put("second", mode=0o40755),
            "symlink": self.put("symlink", mode=0o120777),
        }
        name = self.put("name")
        del self.nodes[1].names["name"]
        self.nodes[self.node["directory"]].names["name"] = name
        self.nodes[self.node["symlink"]].target = "file"
        self.held = ""
        self.tell: Callable[[t.Request], Awaitable[None]] | None = None

    async def note(self, method: str, request: t.Request) -> None:
        if method == self.held and self.tell is not None:
            tell, self.tell = self.tell, None
            await tell(request)

    async def lseek(self, request: t.Lseek) -> int:
        await self.note("lseek", request)
        return 0

    async def copy_file_range(self, request: t.CopyFileRange) -> int:
        await self.note("copy_file_range", request)
        return request.len

    async def link(self, request: t.Link) -> t.Entry:
        await self.note("link", request)
        return self.entry(request.oldnodeid)

    def told(self) -> dict[str, tuple[str, tuple[Any, ...]]]:
        """Return all there is to tell: a method of the notifier, and arguments."""
        node = self.node
        return {
            "inval_inode file": ("inval_inode", (node["file"], 0, 0)),
            "inval_inode other": ("inval_inode", (node["other"], 0, 0)),
            "inval_inode symlink": ("inval_inode", (node["symlink"], 0, 0)),
            "store file": ("store", (node["file"], 0, b"q")),
            "inval_entry directory": ("inval_entry", (node["directory"], "none")),
            "inval_entry second": ("inval_entry", (node["second"], "none")),
            "inval_entry /": ("inval_entry", (1, "none")),
            "expire_entry directory": ("expire_entry", (node["directory"], "none")),
            "prune other": ("prune", ([node["other"]],)),
            "delete file": ("delete", (1, node["file"], "file")),
        }


def warm(root: str) -> None:
    """Have the kernel know names and data."""
    for name in ("symlink", "second", "directory/name", "directory"):
        os.lstat(f"{root}/{name}")
    for name in ("file", "other"):
        with_fd(f"{root}/{name}", os.O_RDONLY, lambda fd: os.read(fd, 9))


def expire(telling: Telling) -> None:
    """Have the kernel ask again, where the test needs it."""
    for node in telling.nodes.values():
        node.attr.attr_valid = telling.valid = 0


@pytest.mark.parametrize("operation", CALLS)
async def test_a_handler_tells_the_kernel_anything_and_is_answered(
    mountpoint: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without losing patience: what is not deferred waits for nothing."""
    monkeypatch.setattr(notifier, "_MAX_WAIT", math.inf)
    telling = Telling()
    told: dict[str, bool] = {}

    async def tell(request: t.Request) -> None:
        for name, (method, arguments) in telling.told().items():
            await getattr(telling.notifier, method)(*arguments)
            told[name] = may_wait_for(request, method, arguments)

    async with mounted(telling, mountpoint) as root:
        telling.held = CALLS[operation][0]
        system_call = CALLS[operation][1]
        if telling.held in ("lookup", "getattr"):
            expire(telling)
        await off_thread(warm, str(root))
        telling.tell = tell
        with trio.fail_after(15):
            try:
                await off_thread(system_call, str(root))
            except OSError as exc:
                assert exc.errno == errno.ENOENT  # noqa: PT017
            while len(told) < len(telling.told()):  # a RELEASE goes on behind close(2)
                await trio.lowlevel.checkpoint()

    deferred = {name for name, late in told.items() if late}
    assert WAITS.get(operation, set()) <= deferred
    assert "inval_inode other" not in deferred


@pytest.mark.parametrize("operation", WAITS)
async def test_the_kernel_does_wait_for_what_is_deferred(
    mountpoint: str, operation: str
) -> None:
    telling = Telling()
    held, go = trio.Event(), trio.Event()

    async def hold(request: t.Request) -> None:
        held.set()
        await go.wait()

    async with mounted(telling, mountpoint) as root:
        telling.held, system_call = CALLS[operation]
        await off_thread(warm, str(root))
        telling.tell = hold
        session = telling.notifier
        async with trio.open_nursery() as nursery:
            nursery.start_soon(off_thread, system_call, str(root))
            await held.wait()
            async with trio.open_nursery() as waiting:
                for name in WAITS[operation]:
                    method, arguments = telling.told()[name]
                    waiting.start_soon(_tell, session, method, arguments)
                await telling.notifier.inval_inode(telling.node["other"])
                count = len(WAITS[operation])
                await until(lambda: session.waiting == count)  # type: ignore[attr-defined]
                await off_thread(os.stat, f"{root}/other")
                assert session.waiting == count  # type: ignore[attr-defined]
                go.set()


async def _tell(told: t.Notifier, method: str, arguments: tuple[Any, ...]) -> None:
    await getattr(told, method)(*arguments)


async def test_a_handler_whose_patience_ends_goes_on_and_what_it_told_arrives(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rename(2) locks two directories before it looks a name up in one of them."""
    monkeypatch.setattr(notifier, "_MAX_WAIT", 0.05)
    telling = Telling()
    expire(telling)
    waiting: list[int] = []

    async def tell(request: t.Request) -> None:
        if request.nodeid == telling.node["directory"]:
            await telling.notifier.inval_entry(telling.node["second"], "none")
            waiting.append(telling.notifier.waiting)  # type: ignore[attr-defined]
        else:
            telling.tell = tell

    async with mounted(telling, mountpoint) as root:
        await off_thread(warm, str(root))
        telling.held, telling.tell = "lookup", tell
        await off_thread(os.rename, f"{root}/directory/name", f"{root}/second/x")

    assert waiting == [1]
    assert list(telling.nodes[telling.node["second"]].names) == ["x"]


async def test_what_a_write_has_changed_elsewhere_is_read_right_after_it(
    mountpoint: str,
) -> None:
    """A file of commands, and one of results which the kernel may keep for ever."""

    class Commanded(Telling):
        async def init(self, config: t.KernelConfig) -> None:
            config.decline(t.InitFlags.AUTO_INVAL_DATA)

    commanded = Commanded()

    async def work(request: t.Request) -> None:
        count = int(commanded.content(commanded.node["other"])[:4]) + 1
        commanded.rewrite(commanded.node["other"], b"%04d" % count)
        await commanded.notifier.inval_inode(commanded.node["other"])
        commanded.tell = work

    def use(root: str) -> list[int]:
        seen = []
        with open(f"{root}/other", "rb", 0) as results:
            with open(f"{root}/file", "wb", 0) as commands:
                for _ in range(50):
                    os.pread(results.fileno(), 4, 0)
                    commands.write(b"go")
                    seen.append(int(os.pread(results.fileno(), 4, 0)))
        return seen

    commanded.rewrite(commanded.node["other"], b"0000")
    async with mounted(commanded, mountpoint) as root:
        commanded.held, commanded.tell = "write", work
        seen = await off_thread(use, str(root))

    assert seen == list(range(1, 51))
