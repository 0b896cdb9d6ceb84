"""Directories of any names, in pages of any size: nothing is lost, nothing doubled."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import attrs
from hypothesis import given, strategies as st

from tests.fuzz.profile import fuzzed
from tests.fuzz.values import listings
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import DirEntry, Entry
from triofuse.testing.listings import DIRENTPLUS, DIRENTS
from triofuse.wire.directories import NumberedListing, begin_listing
from triofuse.wire.listing import Listing

sizes = st.lists(st.integers(300, 2000), min_size=1, max_size=5)


def decoded(page: bytes, *, plus: bool) -> list[DirEntry]:
    return (DIRENTPLUS if plus else DIRENTS).decode(page)


@attrs.define
class Stream:
    """Reads a listing to its end, in pages of these sizes in turn.

    Attributes:
      sent: The lookups of what was read.
    """

    listing: Listing | NumberedListing
    rooms: list[int]
    plus: bool
    position: int = 0
    sent: Counter[int] = attrs.Factory(Counter)

    def __iter__(self) -> Iterator[list[DirEntry]]:
        for turn in itertools.count():
            room = self.rooms[turn % len(self.rooms)] + 450 * self.plus
            page = self.listing.page(self.position, room, plus=self.plus)
            assert len(page.body) <= room
            self.sent += nodes(page.sent)
            found = decoded(bytes(page.body), plus=self.plus)
            if not found:
                return
            self.position = found[-1].offset or 0
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
    given = entries if made else (entry for entry in entries)
    listing = begin_listing(given, 1, 0, plus=plus)

    found = [entry for page in Stream(listing, rooms, plus) for entry in page]

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

    listing = begin_listing(make() if generated else entries, 1, 0, plus=True)
    stream = Stream(listing, rooms, plus=True)

    told = [entry for page in itertools.islice(stream, wanted) for entry in page]
    left = nodes(listing.close())

    assert stream.sent == lookups(told)
    assert stream.sent + left == lookups(made if generated else entries)


@fuzzed(200)
@given(
    listings(),
    st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.integers(750, 2000))),
    st.booleans(),
    st.booleans(),
)
def test_every_cookie_stays_true_and_every_lookup_is_counted_once(
    entries: list[DirEntry],
    reads: list[tuple[int, bool, int]],
    plus: bool,
    made: bool,
) -> None:
    names = whole(entries)
    given = entries if made else iter(list(entries))
    listing = begin_listing(given, 1, 0, plus=plus)
    assert isinstance(listing, Listing)
    sent: Counter[int] = Counter()

    for cookie, now_plus, room in reads:
        page = listing.page(cookie, room, plus=now_plus)
        sent += nodes(page.sent)
        found = decoded(bytes(page.body), plus=now_plus)
        assert [entry.name for entry in found] == names[cookie : cookie + len(found)]
        assert bool(found) == (cookie < len(names))

    assert sent + nodes(listing.close()) == lookups(entries)


@fuzzed(100)
@given(listings(), st.sets(st.integers(0, 60)), sizes, st.integers(0, 5))
def test_another_reading_goes_on_where_the_first_has_ended(
    entries: list[DirEntry], gone: set[int], rooms: list[int], pages: int
) -> None:
    listing = begin_listing((entry for entry in entries), 1, 0, plus=True)
    assert isinstance(listing, Listing)
    stream = Stream(listing, rooms, plus=True)
    told = [entry.name for page in itertools.islice(stream, pages) for entry in page]
    stay = [
        entry
        for number, entry in enumerate(entries)
        if number not in gone or entry.name in (".", "..")
    ]

    if listing.needs_anew(stream.position, plus=False):
        listing.go_on([*stay[:2], *stay[:1:-1]], 1, plus=False)
    rest = Stream(listing, rooms, plus=False, position=stream.position)
    told += [entry.name for page in rest for entry in page]

    assert len(set(told)) == len(told)
    assert {entry.name for entry in stay} <= set(told)


@fuzzed(100)
@given(listings(numbered=True), sizes, st.booleans())
def test_cookies_of_the_filesystem_are_kept(
    entries: list[DirEntry], rooms: list[int], plus: bool
) -> None:
    found: list[DirEntry] = []
    cookie = 0
    while True:
        rest = entries[(cookie - 3) // 7 if cookie else 0 :]
        listing = begin_listing(rest, 1, cookie, plus=plus)
        page = listing.page(cookie, rooms[0] + 450 * plus, plus=plus)
        read = decoded(bytes(page.body), plus=plus)
        if not rest:
            break
        found += read
        cookie = read[-1].offset or 0

    expected = [(entry.name, entry.offset) for entry in entries]
    assert [(entry.name, entry.offset) for entry in found] == expected


@fuzzed(100)
@given(listings(), st.integers(0, 300), st.booleans())
def test_a_page_without_room_for_one_entry_loses_none(
    entries: list[DirEntry], room: int, plus: bool
) -> None:
    listing = begin_listing(entries, 1, 0, plus=plus)
    names: list[str] = []

    while True:
        cookie = len(names)
        try:
            page = listing.page(cookie, room, plus=plus)
        except FuseError:
            page = listing.page(cookie, 1000, plus=plus)
            assert page.body
        read = decoded(bytes(page.body), plus=plus)
        if not read:
            break
        names += [entry.name for entry in read]

    assert names == whole(entries)
