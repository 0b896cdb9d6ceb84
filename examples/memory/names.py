"""The names of a directory of memfs.py: a table in the order in which they came.

A place in a listing is a number that a name keeps, its cookie, so listings stand firm
while names come and go.

The table is cut into shards, each a dict of names whose cookies follow those of the
shard before.  A dict of a million names would stop everybody for 50 ms when it grows;
a shard has some thousands, and a listing goes on from any cookie without a walk of
all names.  Nearly every directory has one shard.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import attrs

if TYPE_CHECKING:
    from memory.nodes import Node

#: The most names of one shard.
SHARD = 1 << 12


class Link(NamedTuple):
    """A name in a directory; ``cookie`` is its place in the listing."""

    cookie: int
    name: str
    node: Node


@attrs.define
class _Shard:
    """Names whose cookies are ``first`` or more, in the order of their cookies."""

    first: int
    links: dict[str, Link]


def _cookie(link: Link) -> int:
    return link.cookie


def _first(shard: _Shard) -> int:
    return shard.first


@attrs.define(eq=False)
class Names:
    """A table of names; ``cookies`` are those of the names to come."""

    _cookies: Iterator[int]
    _shards: list[_Shard] = attrs.Factory(list)

    def __bool__(self) -> bool:
        return bool(self._shards)

    def get(self, name: str) -> Link | None:
        """Return the link of a name, or None."""
        for shard in self._shards:
            link = shard.links.get(name)
            if link:
                return link
        return None

    def replace(self, old: Link, node: Node) -> None:
        """Set the node of a name that is there."""
        place = bisect_right(self._shards, old.cookie, key=_first) - 1
        # What replaces keeps the place, or a listing could show it twice.
        self._shards[place].links[old.name] = old._replace(node=node)

    def add(self, name: str, node: Node) -> None:
        """Add a name that is not there."""
        cookie = next(self._cookies)
        if not self._shards or len(self._shards[-1].links) >= SHARD:
            self._shards.append(_Shard(cookie, {}))
        self._shards[-1].links[name] = Link(cookie, name, node)

    def pop(self, name: str) -> Link:
        """Take a name out that is there, and return its link."""
        for place, shard in enumerate(self._shards):
            link = shard.links.pop(name, None)
            if link:
                self._tidy(place)
                return link
        raise KeyError(name)

    def after(self, cookie: int) -> Iterator[Link]:
        """Yield the links behind a cookie, whatever comes and goes meanwhile."""
        while True:
            place = max(bisect_right(self._shards, cookie, key=_first) - 1, 0)
            links: list[Link] = []
            while not links and place < len(self._shards):
                shard = list(self._shards[place].links.values())
                links = shard[bisect_right(shard, cookie, key=_cookie) :]
                place += 1
            if not links:
                return
            yield from links
            cookie = links[-1].cookie

    def _tidy(self, place: int) -> None:
        """Drop an empty shard, or fill one up with the next: they must stay few."""
        links = self._shards[place].links
        if not links:
            del self._shards[place]
        elif len(links) < SHARD // 4 and place + 1 < len(self._shards):
            following = self._shards[place + 1].links
            if len(following) < SHARD // 4:
                links.update(following)
                del self._shards[place + 1]
