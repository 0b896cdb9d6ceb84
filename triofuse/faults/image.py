"""What is on a disk: inodes and names, apart from any mount."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator

import attrs

from triofuse.faults import events as e

__all__ = ["ROOT", "Image", "Stored"]

ROOT = 1


@attrs.define
class Stored:
    """An inode on the disk.

    Attributes:
      data: What is in its blocks; they may reach beyond ``size``.
      names: Of a directory: names and inode numbers.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    target: str = ""
    size: int = 0
    data: bytearray = attrs.field(factory=bytearray, repr=False)
    xattrs: dict[str, bytes] = attrs.field(factory=dict)
    names: dict[str, int] = attrs.field(factory=dict)

    @property
    def content(self) -> bytes:
        """What read(2) shows."""
        return bytes(self.data[: self.size]).ljust(self.size, b"\0")

    def copy(self) -> Stored:
        """Return a copy that shares nothing."""
        return attrs.evolve(
            self,
            data=bytearray(self.data),
            xattrs=dict(self.xattrs),
            names=dict(self.names),
        )

    def put(self, offset: int, data: bytes) -> None:
        """Store data in the blocks; the size stays."""
        missing = offset - len(self.data)
        if missing > 0:
            self.data.extend(bytes(missing))
        self.data[offset : offset + len(data)] = data

    def resize(self, size: int) -> None:
        """Set the size; what is cut off is gone."""
        self.size = size
        del self.data[size:]


@attrs.define
class Image:
    """All inodes of a disk, by number; ``ROOT`` is the root directory."""

    nodes: dict[int, Stored] = attrs.field(
        factory=lambda: {ROOT: Stored(stat.S_IFDIR | 0o755)}
    )

    def after(self, changes: list[e.Change]) -> Image:
        """Return the image after changes, some of which may be missing before others."""
        image = Image(dict(self.nodes))
        copied: set[int] = set()
        for change in changes:
            image._apply(change, copied)
        return image

    def _apply(self, change: e.Change, copied: set[int]) -> None:
        if isinstance(change, e.Make):
            made = Stored(
                change.mode, change.uid, change.gid, change.rdev, change.target
            )
            self.nodes[change.ino] = made
            copied.add(change.ino)
        elif isinstance(change, (e.Link, e.Unlink, e.Rename)):
            self._rename(change, copied)
        elif change.ino in self.nodes:
            _change(self._own(change.ino, copied), change)

    def _own(self, ino: int, copied: set[int]) -> Stored:
        """Return an inode that may be changed."""
        if ino not in copied:
            copied.add(ino)
            self.nodes[ino] = self.nodes[ino].copy()
        return self.nodes[ino]

    def _rename(self, change: e.Link | e.Unlink | e.Rename, copied: set[int]) -> None:
        if change.directory not in self.nodes:
            return
        names = self._own(change.directory, copied).names
        if isinstance(change, e.Link):
            names[change.name] = change.ino
            return
        if names.get(change.name) == change.ino:
            del names[change.name]
        if isinstance(change, e.Rename) and change.new_directory in self.nodes:
            if change.exchange:
                names[change.name] = change.replaced
            self._own(change.new_directory, copied).names[change.new_name] = change.ino

    def walk(self) -> Iterator[tuple[str, int]]:
        """Yield path and number of each name that is reached from the root."""
        waiting = [("", ROOT)]
        seen = {ROOT}
        while waiting:
            path, ino = waiting.pop()
            for name, child in sorted(self.nodes[ino].names.items()):
                if child not in self.nodes:
                    continue
                yield f"{path}{name}", child
                if stat.S_ISDIR(self.nodes[child].mode) and child not in seen:
                    seen.add(child)
                    waiting.append((f"{path}{name}/", child))

    def digest(self) -> bytes:
        """Return the same bytes for images that a program cannot tell apart."""
        digest = hashlib.blake2b(digest_size=16)
        for path, ino in self.walk():
            node = self.nodes[ino]
            what = (path, ino, node.mode, node.uid, node.gid, node.target, node.rdev)
            digest.update(repr((what, sorted(node.xattrs.items()))).encode())
            digest.update(node.content)
        return digest.digest()


def _change(node: Stored, change: e.Change) -> None:
    """Do what an event says to an inode."""
    match change:
        case e.Write():
            node.put(change.offset, change.data)
        case e.Zero():
            end = min(change.offset + change.length, len(node.data))
            if end > change.offset:
                node.put(change.offset, bytes(end - change.offset))
        case e.Truncate():
            node.resize(change.size)
        case e.SetAttributes():
            node.mode, node.uid, node.gid = change.mode, change.uid, change.gid
        case e.SetXattr(value=None):
            node.xattrs.pop(change.name, None)
        case e.SetXattr(value=bytes(value)):
            node.xattrs[change.name] = value
        case _:
            message = f"{change!r} changes no inode"
            raise TypeError(message)
