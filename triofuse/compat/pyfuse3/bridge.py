"""`Bridge`, which serves pyfuse3's `Operations` as a `triofuse.Filesystem`."""

from __future__ import annotations

import logging
from typing import Any

import trio

import triofuse as t
from triofuse.compat.pyfuse3.files import FileHandlers
from triofuse.compat.pyfuse3.inodes import InodeHandlers
from triofuse.compat.pyfuse3.names import NameHandlers

__all__ = ["Bridge", "bridge_for"]

_log = logging.getLogger("triofuse.compat.pyfuse3")


class Bridge(NameHandlers, InodeHandlers, FileHandlers):
    """Calls the handlers of an object such as `Operations`."""

    shielded = True

    def __init__(self, operations: Any, options: dict[str, int]) -> None:
        self._operations = operations
        self._options = options
        self._forgotten: list[tuple[int, int]] = []
        self._has_forgotten = trio.Event()

    async def init(self, config: t.KernelConfig) -> None:
        """Ask for what libfuse asks for, and for what the operations want."""
        flags = t.InitFlags
        wanted = {
            flags.ATOMIC_O_TRUNC: True,
            flags.EXPORT_SUPPORT: getattr(self._operations, "supports_dot_lookup", 1),
            flags.WRITEBACK_CACHE: getattr(
                self._operations, "enable_writeback_cache", 0
            ),
            flags.POSIX_ACL: getattr(self._operations, "enable_acl", 0),
        }
        for flag, is_wanted in wanted.items():
            if is_wanted and flag in config.offered:
                config.wanted |= flag
        for name, value in self._options.items():
            setattr(config, name, value)
        self._operations.init()

    def forget(self, request: t.Forget) -> None:
        """Note a node; `report_forgotten` tells the operations, whose handler is async."""
        self._forgotten.append((request.nodeid, request.nlookup))
        self._has_forgotten.set()

    async def report_forgotten(self) -> None:
        """Tell the operations of forgotten nodes, for ever."""
        while True:
            await self._has_forgotten.wait()
            self._has_forgotten = trio.Event()
            await self.report_once()

    async def report_once(self) -> None:
        """Tell the operations of the nodes that were forgotten until now."""
        forgotten, self._forgotten = self._forgotten, []
        if not forgotten:
            return
        try:
            await self._operations.forget(forgotten)
        except Exception:  # noqa: BLE001  (logged: no caller waits for it)
            _log.exception("%s.forget() failed", type(self).__name__)


def bridge_for(operations: Any, options: dict[str, int]) -> Bridge:
    """Return a bridge of a class of its own, so that logs name the operations."""
    made: type[Bridge] = type(type(operations).__name__, (Bridge,), {})
    return made(operations, options)
