"""The paths of what the kernel knows, for filesystems that know nodes only."""

from __future__ import annotations

import attrs

from triofuse.filesystem.replies import Entry

__all__ = ["Paths"]

ROOT = 1


@attrs.define(eq=False)
class Paths:
    """Where each node was seen last; as long as the kernel knows it."""

    #: For each node its directory, its name there, and its lookups.
    _nodes: dict[int, tuple[int, str, int]] = attrs.field(factory=dict)
    _names: dict[tuple[int, str], int] = attrs.field(factory=dict)

    def path(self, nodeid: int, name: str = "") -> str:
        """Return a path relative to the root; ``#7/x`` below an unknown node."""
        parts = [name] if name else []
        seen = set()
        while nodeid != ROOT and nodeid in self._nodes and nodeid not in seen:
            seen.add(nodeid)
            nodeid, part, _ = self._nodes[nodeid]
            parts.append(part)
        if nodeid != ROOT:
            parts.append(f"#{nodeid}")
        return "/".join(reversed(parts)) or "."

    def saw(self, directory: int, name: str, entry: Entry | None) -> None:
        """Note a name that the kernel was told, which is a lookup."""
        if entry is not None and entry.nodeid and name not in (".", ".."):
            nodeid = entry.nodeid
            known = self._nodes.get(nodeid)
            self._nodes[nodeid] = (directory, name, known[2] + 1 if known else 1)
            self._names[directory, name] = nodeid

    def forget(self, nodeid: int, count: int) -> None:
        """Note that the kernel has forgotten lookups."""
        known = self._nodes.get(nodeid)
        if known is None:
            return
        directory, name, lookups = known
        if lookups > count:
            self._nodes[nodeid] = (directory, name, lookups - count)
            return
        del self._nodes[nodeid]
        if self._names.get((directory, name)) == nodeid:
            del self._names[directory, name]

    def renamed(
        self, old: tuple[int, str], new: tuple[int, str], *, exchange: bool
    ) -> None:
        """Note that two names have changed; each is a directory and a name."""
        moved, other = self._names.pop(old, None), self._names.pop(new, None)
        self._place(moved, new)
        if exchange:
            self._place(other, old)

    def _place(self, nodeid: int | None, place: tuple[int, str]) -> None:
        if nodeid is not None and nodeid in self._nodes:
            self._nodes[nodeid] = (*place, self._nodes[nodeid][2])
            self._names[place] = nodeid

    def removed(self, directory: int, name: str) -> None:
        """Note that a name is gone; its node keeps the path while it is known."""
        self._names.pop((directory, name), None)

    def nodes(self) -> list[int]:
        """Return all nodes that the kernel knows, but the root."""
        return list(self._nodes)

    def names(self) -> list[tuple[int, str]]:
        """Return all names that the kernel knows."""
        return list(self._names)
