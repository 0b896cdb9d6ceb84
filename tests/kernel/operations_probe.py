"""A filesystem that notes what it is asked, and answers what a test tells it to."""

from __future__ import annotations

import errno
import stat
from collections.abc import Awaitable
from functools import partial
from inspect import isawaitable
from typing import Any, TypeVar

import attrs
import trio

import triofuse as t

R = TypeVar("R", bound=t.Request)

TEXT = b"0123456789" * 10
ROOT, FILE, DIR, LINK, OTHER, NEW = 1, 2, 3, 4, 5, 10
NAMES = {"file": FILE, "dir": DIR, "link": LINK, "other": OTHER}
_MODES = {
    ROOT: stat.S_IFDIR | 0o755,
    FILE: stat.S_IFREG | 0o644,
    DIR: stat.S_IFDIR | 0o755,
    LINK: stat.S_IFLNK | 0o777,
    OTHER: stat.S_IFREG | 0o644,
}


def attr(nodeid: int, mode: int, **fields: Any) -> t.FileAttr:
    """Return attributes that the kernel asks for again each time."""
    return t.FileAttr(nodeid, mode, **{"attr_valid": 0, **fields})


def new(mode: int, **fields: Any) -> t.Entry:
    """Return the entry of a node that was made; its attributes keep for a minute."""
    kept = {"attr_valid": 60, **fields}
    return t.Entry(attr(NEW, mode, **kept), entry_valid=0)


def _payload_copied(request: t.Request) -> t.Request:
    """Keep the payload, which is the handler's only until it returns."""
    if isinstance(request, t.Write | t.Ioctl):
        return attrs.evolve(request, data=memoryview(bytes(request.data)))
    if isinstance(request, t.Setxattr):
        return attrs.evolve(request, value=memoryview(bytes(request.value)))
    return request


class Probe(t.Filesystem):
    """Has the methods for which it is given answers, and those no client can miss.

    Args:
      answers: By method: a value, an exception to raise, or a function of the
        request that returns the value, perhaps after some waiting.  ``want`` are
        capabilities to take besides the usual.
    """

    def __init__(self, **answers: Any) -> None:
        self.want: t.InitFlags = answers.pop("want", t.InitFlags(0))
        self.config: t.KernelConfig | None = None
        self.asked: list[tuple[str, t.Request]] = []
        self.attrs = {nodeid: attr(nodeid, mode) for nodeid, mode in _MODES.items()}
        self.attrs[FILE].size = self.attrs[OTHER].size = len(TEXT)
        self.destroyed = 0
        self._news = trio.Event()
        usual: dict[str, Any] = {
            "lookup": self._found,
            "getattr": lambda request: self.attrs[request.nodeid],
            "open": t.Opened(fh=77),
            "release": None,
        }
        for method, answer in {**usual, **answers}.items():
            assert hasattr(t.Filesystem, method), method
            setattr(self, method, partial(self._answer, method, answer))

    async def init(self, config: t.KernelConfig) -> None:
        config.want(self.want)
        self.config = config

    async def destroy(self) -> None:
        self.destroyed += 1

    def forget(self, request: t.Forget) -> None:
        self._note("forget", request)

    def all(self, kind: type[R]) -> list[R]:
        """Return all requests of exactly this class, oldest first."""
        return [request for _, request in self.asked if type(request) is kind]

    def only(self, kind: type[R]) -> R:
        """Return the one request of this class."""
        (request,) = self.all(kind)
        return request

    async def arrival(self, kind: type[R], count: int = 1) -> R:
        """Wait for a request that nobody waits for; return the ``count``-th."""
        while len(self.all(kind)) < count:
            await self._news.wait()
        return self.all(kind)[count - 1]

    def methods(self) -> list[str]:
        """Return the methods that were called, in order."""
        return [method for method, _ in self.asked]

    def _note(self, method: str, request: t.Request) -> None:
        self.asked.append((method, _payload_copied(request)))
        self._news.set()
        self._news = trio.Event()

    async def _answer(self, method: str, answer: Any, request: t.Request) -> Any:
        if method == "getattr" and not request.unique:  # mount() looks at the root
            return self.attrs[ROOT]
        self._note(method, request)
        if isinstance(answer, BaseException):
            raise answer
        value: Awaitable[Any] | Any = answer(request) if callable(answer) else answer
        return await value if isawaitable(value) else value

    def _found(self, request: t.Lookup) -> t.Entry:
        if request.nodeid != ROOT or request.name not in NAMES:
            raise t.FuseError(errno.ENOENT)
        return t.Entry(self.attrs[NAMES[request.name]], entry_valid=0)
