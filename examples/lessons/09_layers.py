"""Any filesystem, far away: ``python examples/lessons/09_layers.py MOUNTPOINT``."""

from collections.abc import Iterable

import trio

import triofuse
from triofuse import Buffer, DirEntry, Entry, FileData


class FarAway(triofuse.Layer):
    """A filesystem around another one, which answers some seconds later.

    Args:
      inner: The other one.
      latency: The seconds.
    """

    def __init__(self, inner: triofuse.Filesystem, latency: float) -> None:
        super().__init__(inner)
        self.latency = latency

    async def lookup(self, request: triofuse.Lookup) -> Entry:
        await trio.sleep(self.latency)
        return await super().lookup(request)

    async def readdirplus(self, request: triofuse.Readdirplus) -> Iterable[DirEntry]:
        await trio.sleep(self.latency)
        return await super().readdirplus(request)

    async def read(self, request: triofuse.Read) -> Buffer | FileData:
        await trio.sleep(self.latency)
        return await super().read(request)


def make(*, latency: float = 0.25) -> triofuse.Filesystem:
    """Show four files that are far away, and cannot be changed.

    Args:
      latency: Seconds until each answer.
    """
    files = {name: f"This is {name}.\n" for name in ("one", "two", "three", "four")}
    inner = triofuse.Tree(triofuse.Directory(files, writable=True))
    return triofuse.ReadOnly(FarAway(inner, latency))


if __name__ == "__main__":
    triofuse.main(make)
