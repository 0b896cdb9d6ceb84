"""The filesystem in memory, with mfusepy: by path, and in one thread."""

from __future__ import annotations

import errno
import itertools
import stat
from collections.abc import Iterable
from typing import Any

import attrs
import mfusepy

from tests.benchmarks.servers.contents import (
    DIRECTORY,
    FILE,
    LINK,
    contents,
    resize,
    store,
)
from tests.benchmarks.shape import Shape

#: linux/fuse.h and libfuse's fuse_common.h have the same number for it.
WRITEBACK_CACHE = 1 << 16


@attrs.define(eq=False)
class Node:
    """An inode: what GETATTR answers, and what is in it."""

    status: dict[str, int]
    data: bytearray = attrs.Factory(bytearray)
    children: dict[str, Node] = attrs.Factory(dict)
    target: str = ""


class Memory(mfusepy.Operations):
    """A tree in memory, complete enough for cp(1) and git(1)."""

    use_ns = True

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._inos = itertools.count(1)
        root = self._make(DIRECTORY)
        self._nodes = {"/": root}
        for name, data in contents(shape).items():
            node = root.children[name] = self._make(FILE, data)
            self._nodes[f"/{name}"] = node

    def _make(self, mode: int, data: bytearray | None = None) -> Node:
        status = {
            "st_ino": next(self._inos),
            "st_mode": mode,
            "st_nlink": 1,
            "st_size": 0 if data is None else len(data),
        }
        return Node(status, bytearray() if data is None else data)

    def _node(self, path: str) -> Node:
        try:
            return self._nodes[path]
        except KeyError:
            raise mfusepy.FuseOSError(errno.ENOENT) from None

    def _add(self, path: str, mode: int) -> Node:
        parent, _, name = path.rpartition("/")
        node = self._node(parent or "/").children[name] = self._make(mode)
        self._nodes[path] = node
        return node

    def _remove(self, path: str) -> Node:
        parent, _, name = path.rpartition("/")
        del self._node(parent or "/").children[name]
        return self._nodes.pop(path)

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        if self._shape.io == "writeback":
            conn_info.want |= WRITEBACK_CACHE

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        return self._node(path).status

    def chmod(self, path: str, mode: int) -> int:
        status = self._node(path).status
        status["st_mode"] = stat.S_IFMT(status["st_mode"]) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        status = self._node(path).status
        status["st_uid"] = status.get("st_uid", 0) if uid == -1 else uid
        status["st_gid"] = status.get("st_gid", 0) if gid == -1 else gid
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        status = self._node(path).status
        status["st_atime"], status["st_mtime"] = times or (0, 0)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        node = self._node(path)
        resize(node.data, length)
        node.status["st_size"] = length
        return 0

    def create(self, path: str, mode: int, flags: int) -> int:
        return self._add(path, mode).status["st_ino"]

    def mkdir(self, path: str, mode: int) -> int:
        self._add(path, stat.S_IFDIR | mode)
        return 0

    def symlink(self, target: str, source: str) -> int:
        self._add(target, LINK).target = source
        return 0

    def readlink(self, path: str) -> str:
        return self._node(path).target

    def unlink(self, path: str) -> int:
        self._remove(path)
        return 0

    def rmdir(self, path: str) -> int:
        if self._node(path).children:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        self._remove(path)
        return 0

    def rename(self, old: str, new: str) -> int:
        for path in [path for path in self._nodes if path.startswith(f"{old}/")]:
            self._nodes[new + path.removeprefix(old)] = self._nodes.pop(path)
        node = self._nodes[new] = self._remove(old)
        parent, _, name = new.rpartition("/")
        self._node(parent or "/").children[name] = node
        return 0

    def open(self, path: str, flags: int) -> int:
        return self._node(path).status["st_ino"]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(memoryview(self._node(path).data)[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        node = self._node(path)
        store(node.data, offset, data)
        node.status["st_size"] = len(node.data)
        return len(data)

    def readdir(self, path: str, fh: int) -> Iterable[tuple[str, dict[str, int], int]]:
        for name, node in self._node(path).children.items():
            yield name, node.status, 0


def main() -> None:
    mountpoint, shape = Shape.read()
    mfusepy.FUSE(
        Memory(shape),
        mountpoint,
        foreground=True,
        nothreads=True,
        direct_io=shape.io == "direct",
        attr_timeout=shape.valid,
        entry_timeout=shape.valid,
    )


if __name__ == "__main__":
    main()
