"""The paths of what the kernel knows, for filesystems that know nodes only."""

from __future__ import annotations

from typing import Final

import attrs

from triofuse.filesystem.replies import Entry

__all__ = ["Paths"]

ROOT = 1

#: Up to so many nodes are remembered after the kernel has forgotten them: to count
#: lookups as it does would cost each of them more than the operation itself.
_MANY: Final = 100_000


@attrs.define(eq=False)
class Paths:
    """Where each node was seen last: a directory, and the name in it."""

    places: dict[int, tuple[int, str]] = attrs.field(factory=dict)
    #: The same by place; made when a name is changed for the first time.
    _names: dict[tuple[int, str], int] | None = None

    def path(self, nodeid: int, name: str = "") -> str:
        """Return a path relative to the root; ``#7/x`` below an unknown node."""
        parts = [name] if name else []
        seen = set()
        while nodeid != ROOT and nodeid in self.places and nodeid not in seen:
            seen.add(nodeid)
            nodeid, part = self.places[nodeid]
            parts.append(part)
        if nodeid != ROOT:
            parts.append(f"#{nodeid}")
        return "/".join(reversed(parts)) or "."

    def saw(self, directory: int, name: str, entry: Entry) -> None:
        """Note a name that the kernel was told."""
        nodeid = entry.nodeid
        if nodeid and name not in (".", ".."):
            place = self.places[nodeid] = (directory, name)
            if self._names is not None:
                self._names[place] = nodeid

    def forget(self, nodeid: int) -> None:
        """Note that the kernel has forgotten a node."""
        if len(self.places) > _MANY:
            place = self.places.pop(nodeid, None)
            if self._names is not None and place is not None:
                self._names.pop(place, None)

    def renamed(
        self, old: tuple[int, str], new: tuple[int, str], *, exchange: bool
    ) -> None:
        """Note that two names have changed; each is a directory and a name."""
        if self._names is None:
            self._names = {place: nodeid for nodeid, place in self.places.items()}
        moved, other = self._names.pop(old, None), self._names.pop(new, None)
        if moved is not None:
            self.places[moved] = new
            self._names[new] = moved
        if exchange and other is not None:
            self.places[other] = old
            self._names[old] = other
