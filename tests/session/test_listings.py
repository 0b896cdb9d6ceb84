"""Who seeks where no cookie has ever led."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import triofuse as t
from tests.session.probe import Probe
from triofuse.testing import open_kernel


class Vast(Probe):
    """Its root has more names than can be listed.

    Attributes:
      made: How many entries were made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    async def readdir(  # type: ignore[override]
        self, request: t.Readdir
    ) -> Iterator[t.DirEntry]:
        return self._entries()

    def _entries(self) -> Iterator[t.DirEntry]:
        for number in range(2**60):
            assert self.made < 1000, "nobody asked for so many"
            self.made += 1
            yield t.DirEntry(f"name{number}", 9)


class Numbered(Probe):
    """Gives the largest cookies that there are itself."""

    async def readdir(self, request: t.Readdir) -> list[t.DirEntry]:
        names = ("a", 2**62), ("b", 2**63 - 1)
        return [
            t.DirEntry(name, 9, offset=offset)
            for name, offset in names
            if offset > request.offset
        ]


@pytest.mark.parametrize("offset", [2**61, 2**61 + 77, 2**62, 2**63 - 1])
async def test_who_seeks_at_random_has_nobody_list_all_names(offset: int) -> None:
    vast = Vast()
    async with open_kernel(vast) as kernel:
        opened = await kernel.opendir()
        assert await kernel.readdir(1, opened.fh, offset) == []
        await kernel.releasedir(1, opened.fh)

    assert vast.made < 10


async def test_a_filesystem_may_give_the_largest_cookies_itself() -> None:
    async with open_kernel(Numbered()) as kernel:
        opened = await kernel.opendir()
        listed = await kernel.readdir(1, opened.fh, 2**62)
        await kernel.releasedir(1, opened.fh)

    assert [entry.name for entry in listed] == ["b"]
