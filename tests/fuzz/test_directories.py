"""Directories of any names, in pages of any size: nothing is lost, nothing doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, strategies as st

from tests.fuzz.profile import fuzzed
from tests.fuzz.values import listings
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import DirEntry, Entry
from triofuse.testing import replies as f
from triofuse.wire.directories import Listing

sizes = st.lists(st.integers(300, 2000), min_size=1, max_size=5)


def decoded(page: bytes, *, plus: bool) -> list[DirEntry]:
    return (f.DIRENTPLUS if plus else f.DIRENTS).decode(page)


def pages(
    listing: Listing, rooms: list[int], *, plus: bool
) -> Iterator[list[DirEntry]]:
    """Yield page after page, of these sizes in turn, up to the empty one."""
    turn = 0
    while True:
        room = rooms[turn % len(rooms)] + 450 * plus
        page = listing.page(room)
        assert len(page) <= room
        found = decoded(page, plus=plus)
        if not found:
            return
        turn += 1
        yield found


def whole(entries: list[DirEntry]) -> list[str]:
    """Return the names that a directory has, dots included."""
    names = [entry.name for entry in entries]
    return names if names[:1] == ["."] else [".", "..", *names]


def lookups(entries: Iterable[DirEntry]) -> Counter[int]:
    """Count the entries that the kernel takes for lookups."""
    return Counter(
        entry.entry.nodeid
        for entry in entries
        if entry.entry and entry.entry.nodeid and entry.name not in (".", "..")
    )


def nodes(left: Iterable[Entry]) -> Counter[int]:
    return Counter(entry.nodeid for entry in left)


@fuzzed(150)
@given(listings(), sizes, st.booleans(), st.booleans())
def test_pages_hold_every_entry_once(
    entries: list[DirEntry], rooms: list[int], plus: bool, made: bool
) -> None:
    listing = Listing.of(entries if made else iter(entries), 1, 0, plus=plus)

    found = [entry for page in pages(listing, rooms, plus=plus) for entry in page]

    assert [entry.name for entry in found] == whole(entries)
    assert [entry.offset for entry in found] == list(range(1, len(found) + 1))
    told = {entry.name: (entry.ino, entry.mode) for entry in found}
    for entry in entries:
        assert told[entry.name] == (entry.ino, entry.mode)
    assert nodes(listing.close()) == (Counter() if plus else lookups(entries))


@fuzzed(150)
@given(listings(), sizes, st.integers(0, 5), st.booleans())
def test_every_entry_is_sent_or_given_back(
    entries: list[DirEntry], rooms: list[int], wanted: int, generated: bool
) -> None:
    made: list[DirEntry] = []

    def make() -> Iterator[DirEntry]:
        for entry in entries:
            made.append(entry)
            yield entry

    listing = Listing.of(make() if generated else entries, 1, 0, plus=True)
    sent: Counter[int] = Counter()
    told: list[DirEntry] = []

    for _, page in zip(range(wanted), pages(listing, rooms, plus=True), strict=False):
        sent += nodes(listing.sent)
        told += page
    left = nodes(listing.close())

    assert sent == lookups(told)
    assert sent + left == lookups(made if generated else entries)


@fuzzed(150)
@given(listings(), sizes, st.data(), st.booleans())
def test_a_listing_goes_on_behind_any_cookie(
    entries: list[DirEntry], rooms: list[int], data: st.DataObject, plus: bool
) -> None:
    names = whole(entries)
    cookie = data.draw(st.integers(0, len(names) + 2))

    listing = Listing.of(entries, 1, cookie, numbered=False, plus=plus)
    skipped = listing.skip_to(cookie)
    found = [entry for page in pages(listing, rooms, plus=plus) for entry in page]

    assert [entry.name for entry in found] == names[cookie:]
    told = Counter({entry.name: 1 for entry in found})
    assert nodes(skipped) == lookups(e for e in entries if not told[e.name])


@fuzzed(100)
@given(listings(numbered=True), sizes, st.data(), st.booleans())
def test_cookies_of_the_filesystem_are_kept(
    entries: list[DirEntry], rooms: list[int], data: st.DataObject, plus: bool
) -> None:
    start = data.draw(st.integers(0, len(entries)))
    cookie = 7 * start + 3 if start else 0

    listing = Listing.of(entries[start:], 1, cookie, numbered=True, plus=plus)
    found: list[DirEntry] = []
    for page in pages(listing, rooms, plus=plus):
        found += page
        assert listing.position == page[-1].offset

    expected = [(entry.name, entry.offset) for entry in entries[start:]]
    assert [(entry.name, entry.offset) for entry in found] == expected


@fuzzed(100)
@given(listings(), st.integers(0, 300), st.booleans())
def test_a_page_without_room_for_one_entry_loses_none(
    entries: list[DirEntry], room: int, plus: bool
) -> None:
    listing = Listing.of(entries, 1, 0, plus=plus)
    names: list[str] = []

    while True:
        try:
            page = decoded(listing.page(room), plus=plus)
        except FuseError:
            page = decoded(listing.page(1000), plus=plus)
            assert page
            with pytest.raises(FuseError, match="Invalid"):
                Listing.of([DirEntry(page[0].name, 1)], 1, 0, plus=plus).page(0)
        if not page:
            break
        names += [entry.name for entry in page]

    assert names == whole(entries)
