"""What has happened on a disk since it was last known to be durable."""

from __future__ import annotations

import attrs

from triofuse.faults import events as e
from triofuse.faults.image import ROOT, Image
from triofuse.faults.models import Model
from triofuse.filesystem.replies import FileAttr

__all__ = ["Journal"]


@attrs.define(eq=False)
class Journal:
    """A durable image, and the events after it.

    Attributes:
      base: What is durable.
      events: What happened since, in order.
      open: Whether anything is noted; not after the power was cut.
    """

    base: Image
    events: list[e.Event] = attrs.field(factory=list)
    open: bool = True
    _sizes: dict[int, int] = attrs.field(factory=dict, init=False, repr=False)
    _names: dict[tuple[int, str], int] = attrs.field(
        factory=dict, init=False, repr=False
    )
    _places: dict[int, tuple[int, str]] = attrs.field(
        factory=dict, init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        for ino, node in self.base.nodes.items():
            self._sizes[ino] = node.size
            for name, child in node.names.items():
                self._name(ino, name, child)

    def _name(self, directory: int, name: str, ino: int) -> None:
        self._names[directory, name] = ino
        self._places[ino] = (directory, name)

    def path(self, ino: int, name: str = "") -> str:
        """Return the path of an inode, or of a name in it; a ``#number`` if unknown."""
        parts = [name] if name else []
        while ino != ROOT:
            if ino not in self._places or len(parts) > 100:
                return "/".join([f"#{ino}", *reversed(parts)])
            ino, part = self._places[ino]
            parts.append(part)
        return "/".join(reversed(parts)) or "."

    def size(self, ino: int) -> int:
        """Return the size of a file as programs see it."""
        return self._sizes.get(ino, 0)

    def image(self, model: Model, chosen: frozenset[int] | None = None) -> Image:
        """Return what is on the disk.

        Args:
          model: The order of durability.
          chosen: The indices of the model's records that survive.  Default: all.
        """
        pending = model.pending(self.events)
        if chosen is None:
            chosen = frozenset(range(len(pending.records)))
        return self.base.after(pending.chosen(chosen))

    def durable(self, model: Model) -> Image:
        """Return what was promised, and no more."""
        return self.image(model, frozenset(model.pending(self.events).kept))

    # --- Noting

    def _note(self, event: e.Event) -> None:
        if self.open:
            self.events.append(event)

    def make(self, attr: FileAttr, text: str, target: str = "") -> None:
        """Note that an inode was made."""
        self._sizes[attr.ino] = 0
        mode, uid, gid, rdev = attr.mode, attr.uid, attr.gid, attr.rdev
        self._note(e.Make(text, attr.ino, mode, uid, gid, rdev, target))

    def link(self, directory: int, name: str, ino: int, text: str) -> None:
        """Note that an inode got a name."""
        self._name(directory, name, ino)
        self._note(e.Link(text, ino, directory, name))

    def unlink(self, directory: int, name: str, verb: str) -> None:
        """Note that a name is gone."""
        text = f"{verb} {self.path(directory, name)}"
        ino = self._names.pop((directory, name), 0)
        self._note(e.Unlink(text, ino, directory, name))

    def rename(
        self, old: tuple[int, str], new: tuple[int, str], *, exchange: bool
    ) -> None:
        """Note that an inode has another name; old and new are directory and name."""
        verb = "exchange" if exchange else "rename"
        text = f"{verb} {self.path(*old)} -> {self.path(*new)}"
        ino, replaced = self._names.get(old, 0), self._names.get(new, 0)
        if ino == replaced:
            return  # two names of one inode: both stay
        del self._names[old]
        self._name(*new, ino)
        if exchange:
            self._name(*old, replaced)
        self._note(e.Rename(text, ino, *old, *new, replaced, exchange))

    def write(self, ino: int, offset: int, data: bytes) -> None:
        """Note that data were written."""
        size = self.size(ino)
        text = f"write {self.path(ino)} {offset}+{len(data)}"
        self._note(e.Write(text, ino, offset, data, size))
        self._sizes[ino] = max(size, offset + len(data))

    def zero(self, ino: int, offset: int, length: int) -> None:
        """Note that a range was set to zeros."""
        text = f"zero {self.path(ino)} {offset}+{length}"
        self._note(e.Zero(text, ino, offset, length))

    def truncate(self, ino: int, size: int) -> None:
        """Note that the size was set."""
        before = self.size(ino)
        if size != before:
            text = f"truncate {self.path(ino)} to {size}"
            self._note(e.Truncate(text, ino, size, before))
            self._sizes[ino] = size

    def set_attributes(self, ino: int, attr: FileAttr) -> None:
        """Note mode and owner."""
        text = f"setattr {self.path(ino)} {attr.mode:o}"
        self._note(e.SetAttributes(text, ino, attr.mode, attr.uid, attr.gid))

    def set_xattr(self, ino: int, name: str, value: bytes | None) -> None:
        """Note an extended attribute."""
        verb = "removexattr" if value is None else "setxattr"
        self._note(e.SetXattr(f"{verb} {self.path(ino)} {name}", ino, name, value))

    def sync_file(self, ino: int, *, data_only: bool) -> None:
        """Note that fsync(2) of a file succeeded."""
        verb = "fdatasync" if data_only else "fsync"
        self._note(e.SyncFile(f"{verb} {self.path(ino)}", ino, data_only))

    def sync_directory(self, ino: int) -> None:
        """Note that fsync(2) of a directory succeeded."""
        self._note(e.SyncDirectory(f"fsync {self.path(ino)}/", ino))

    def sync(self) -> None:
        """Note that everything is durable."""
        self._note(e.Sync("sync"))

    def fail_sync(self, ino: int) -> None:
        """Note that fsync(2) of a file failed and its dirty pages are lost."""
        self._note(e.FailedSync(f"fsync {self.path(ino)} fails", ino))

    def mark(self, text: str) -> None:
        """Note what the program has said."""
        self._note(e.Mark(text))
