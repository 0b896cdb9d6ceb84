"""Listings: records byte for byte, and pages that lose and repeat nothing."""

from __future__ import annotations

import errno
import itertools
import stat
from collections.abc import Iterable, Iterator

import attrs
import pytest

from tests.wire.messages import CALLER
from tests.wire.oracle import golden_struct
from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import DirEntry, Entry, FileAttr
from triofuse.wire.directories import (
    NumberedListing,
    begin_listing,
    encode_direntplus,
    encode_dirents,
)
from triofuse.wire.layouts import DIRENT, ENTRY_OUT
from triofuse.wire.listing import BY_NAME, Listing, Page
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import OPERATIONS

NODEID = CALLER[1]
NO_ENTRY = bytes(128)


def plain(name: str, ino: int = 7) -> DirEntry:
    return DirEntry(name, ino, stat.S_IFREG | 0o644)


def counted(name: str, nodeid: int, *, offset: int | None = None) -> DirEntry:
    attr = FileAttr(
        nodeid, stat.S_IFREG, uid=0, gid=0, atime_ns=0, mtime_ns=0, ctime_ns=0
    )
    return DirEntry(name, nodeid, stat.S_IFREG, offset, Entry(attr))


def record(name: bytes, ino: int, offset: int, kind: int) -> bytes:
    fixed = golden_struct(
        "fuse_dirent", ino=ino, off=offset, namelen=len(name), type=kind
    )
    return (fixed + name).ljust(-(-len(fixed + name) // 8) * 8, b"\0")


@attrs.frozen
class Found:
    name: bytes
    ino: int
    offset: int
    nodeid: int


def records(page: bytes, *, plus: bool) -> Iterator[Found]:
    """Read a page as the kernel does (parse_dirfile() in fs/fuse/readdir.c)."""
    while page:
        nodeid = 0
        if plus:
            nodeid = ENTRY_OUT.unpack_from(page)[0]
            page = page[ENTRY_OUT.size :]
        ino, offset, namelen, _ = DIRENT.unpack_from(page)
        size = DIRENT.size + namelen + -namelen % 8
        assert size <= len(page), "the last record is padded too"
        assert not any(page[DIRENT.size + namelen : size])
        yield Found(page[DIRENT.size : DIRENT.size + namelen], ino, offset, nodeid)
        page = page[size:]


@attrs.define
class Stream:
    """An open directory: reads a listing page by page.

    Attributes:
      position: The cookie of the last record.
      sent: The lookups of the last page.
    """

    listing: Listing | NumberedListing
    plus: bool
    position: int = 0
    sent: list[Entry] = attrs.Factory(list)

    def page(self, size: int) -> bytes:
        page = self.listing.page(self.position, size, plus=self.plus)
        body = bytes(page.body)
        self.sent = page.sent
        for found in records(body, plus=self.plus):
            self.position = found.offset
        return body

    def left(self) -> list[int]:
        """Return the lookups that nobody takes so far."""
        return forgotten(self.listing.take_left())

    def close(self) -> list[Entry]:
        return self.listing.close()


def stream(
    entries: Iterable[DirEntry], nodeid: int, offset: int = 0, *, plus: bool
) -> Stream:
    listing = begin_listing(entries, nodeid, offset, plus=plus)
    return Stream(listing, plus, offset)


def names(listing: Stream, size: int) -> list[str]:
    page = listing.page(size)
    return [found.name.decode() for found in records(page, plus=listing.plus)]


def forgotten(entries: Iterable[Entry]) -> list[int]:
    return [entry.nodeid for entry in entries]


# --- Records


def test_entries_become_records_padded_to_eight_bytes() -> None:
    listing = stream(
        [DirEntry(".", 1), plain("hello"), plain("12345678")], 1, 0, plus=False
    )

    assert listing.page(4096) == (
        record(b".", 1, 1, 0) + record(b"hello", 7, 2, 8) + record(b"12345678", 7, 3, 8)
    )


def test_entries_with_attributes_become_longer_records() -> None:
    listing = stream(
        [counted(".", 1), counted("hello", 7), plain("none")], 1, 0, plus=True
    )

    entry = {"entry_valid": 1, "attr_valid": 1, "attr.nlink": 1, "attr.blksize": 4096}
    of_dot = golden_struct(
        "fuse_entry_out",
        nodeid=1,
        **entry,
        **{"attr.ino": 1, "attr.mode": stat.S_IFREG},
    )
    of_hello = golden_struct(
        "fuse_entry_out",
        nodeid=7,
        **entry,
        **{"attr.ino": 7, "attr.mode": stat.S_IFREG},
    )
    assert listing.page(4096) == (
        (of_dot + record(b".", 1, 1, 8))
        + (of_hello + record(b"hello", 7, 2, 8))
        + (NO_ENTRY + record(b"none", 7, 3, 8))
    )


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (0, 0),
        (0o644, 0),
        (stat.S_IFIFO, 1),
        (stat.S_IFCHR, 2),
        (stat.S_IFDIR | 0o755, 4),
        (stat.S_IFBLK, 6),
        (stat.S_IFREG | 0o644, 8),
        (stat.S_IFLNK | 0o777, 10),
        (stat.S_IFSOCK, 12),
    ],
)
def test_the_type_of_a_record_is_that_of_the_mode(mode: int, kind: int) -> None:
    listing = stream([DirEntry(".", 1, mode)], 1, 0, plus=False)

    assert listing.page(64) == record(b".", 1, 1, kind)


def test_names_are_bytes_to_the_kernel() -> None:
    listing = stream([DirEntry(".", 1), plain("\udcff\udc80ä")], 1, 0, plus=False)

    assert listing.page(4096) == (
        record(b".", 1, 1, 0) + record(b"\xff\x80\xc3\xa4", 7, 2, 8)
    )


# --- Dots


def test_the_dots_are_added() -> None:
    listing = stream([plain("a")], 42, 0, plus=False)

    assert listing.page(4096) == (
        record(b".", 42, 1, 4) + record(b"..", 0xFFFFFFFF, 2, 4) + record(b"a", 7, 3, 8)
    )


def test_an_empty_directory_has_the_dots() -> None:
    assert names(stream([], 42, 0, plus=False), 4096) == [".", ".."]


def test_the_dots_are_not_added_where_the_filesystem_has_them() -> None:
    listing = stream([plain("."), plain(".."), plain("a")], 42, 0, plus=False)

    assert names(listing, 4096) == [".", "..", "a"]


def test_the_dots_are_not_added_where_the_filesystem_does_the_paging() -> None:
    listing = stream([DirEntry("a", 7, offset=100)], 42, 0, plus=False)

    assert names(listing, 4096) == ["a"]
    assert names(stream([], 42, 100, plus=False), 4096) == []


def test_the_dots_never_count_as_lookups() -> None:
    entries = [counted(".", 1), counted("..", 2), counted("...", 3)]
    listing = stream(entries, 1, 0, plus=True)

    listing.page(4096)

    assert forgotten(listing.sent) == [3]
    assert forgotten(stream(entries, 1, 0, plus=True).close()) == [3]


# --- Paging

MANY = [
    counted("x" * (number % 40 + 1) + str(number), number) for number in range(1, 90)
]
WHOLE = [".", "..", *(entry.name for entry in MANY)]


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("size", [216, 300, 512, 1000, 4096])
@pytest.mark.parametrize("made", [False, True])
def test_page_by_page_a_listing_is_the_whole(size: int, plus: bool, made: bool) -> None:
    listing = stream(MANY if made else iter(MANY), 1, 0, plus=plus)
    found: list[Found] = []
    counts: list[int] = []

    while page := listing.page(size):
        assert len(page) <= size
        found += records(page, plus=plus)
        counts += forgotten(listing.sent)
        assert listing.position == found[-1].offset

    assert [entry.name.decode() for entry in found] == WHOLE
    assert [entry.offset for entry in found] == list(range(1, len(WHOLE) + 1))
    assert counts == (list(range(1, 90)) if plus else [])
    assert forgotten(listing.close()) == ([] if plus else list(range(1, 90)))
    assert not listing.left()


def test_a_page_is_filled_to_the_last_byte() -> None:
    listing = stream([plain("."), plain("12345678"), plain("next")], 1, 0, plus=False)

    assert names(listing, 32 + 32) == [".", "12345678"]
    assert names(listing, 32) == ["next"]


def test_an_entry_that_does_not_fit_comes_next() -> None:
    listing = stream(
        [plain("."), plain("12345678"), counted("next", 3)], 1, 0, plus=False
    )

    assert names(listing, 32 + 31) == ["."]
    assert listing.position == 1
    assert names(listing, 4096) == ["12345678", "next"]


def test_an_entry_that_did_not_fit_is_no_lookup_yet() -> None:
    listing = stream([plain("."), counted("a", 3), counted("b", 4)], 1, 0, plus=True)

    assert names(listing, 160 * 2 + 100) == [".", "a"]
    assert forgotten(listing.sent) == [3]
    assert names(listing, 160) == ["b"]
    assert forgotten(listing.sent) == [4]


def test_a_page_with_room_for_nothing_is_einval() -> None:
    listing = stream([plain("."), plain("12345678")], 1, 0, plus=False)

    with pytest.raises(FuseError) as refusal:
        listing.page(31)

    assert refusal.value.errno == errno.EINVAL
    assert names(listing, 4096) == [".", "12345678"]


def test_the_end_is_an_empty_page_again_and_again() -> None:
    listing = stream([], 1, 0, plus=True)
    listing.page(4096)

    assert listing.page(0) == b""
    assert listing.page(4096) == b""
    assert listing.sent == []


def test_a_numbered_listing_goes_out_with_its_own_cookies() -> None:
    entries = [counted("a", 3, offset=700), counted("b", 4, offset=100)]
    listing = stream(entries, 1, 5, plus=True)

    assert listing.position == 5
    assert [found.offset for found in records(listing.page(160), plus=True)] == [700]
    assert listing.position == 700
    assert forgotten(listing.sent) == [3]
    assert forgotten(listing.close()) == [4]


def test_names_are_taken_all_at_once() -> None:
    directory = {"a": plain("a"), "b": plain("b")}
    entries = list(directory.values())

    listing = stream((e for e in directory.values()), 1, plus=False)
    other = stream(entries, 1, plus=False)
    seen = names(listing, 32), names(other, 32)
    directory.clear()
    entries.clear()

    assert seen == (["."], ["."])
    assert names(listing, 4096) == names(other, 4096) == ["..", "a", "b"]


@pytest.mark.parametrize("plus", [False, True])
def test_what_exists_already_may_change_while_it_is_listed(plus: bool) -> None:
    directory = {"a": counted("a", 3), "b": counted("b", 4)}

    listing = stream(directory.values(), 1, plus=plus)
    names(listing, 160 if plus else 32)
    directory.clear()

    assert "b" in names(listing, 4096)


def test_a_generator_is_asked_for_no_more_than_fits() -> None:
    made: list[int] = []

    def entries() -> Iterator[DirEntry]:
        for number in range(2, 100):
            made.append(number)
            yield counted(str(number), number)

    listing = stream(entries(), 1, 0, plus=True)
    listing.page(160 * 4)

    assert made == [2, 3, 4]
    assert forgotten(listing.sent) == [2, 3]
    assert forgotten(listing.close()) == [4]
    assert made == [2, 3, 4]


# --- Errors on the way


def test_a_name_that_is_none_fails_and_is_still_there() -> None:
    entries = [plain("."), counted("a/b", 3), counted("c", 4)]
    listing = stream(entries, 1, plus=True)

    with pytest.raises(ValueError, match="name 'a/b'; a name"):
        listing.page(4096)
    assert names(listing, 4096) == ["."]
    with pytest.raises(ValueError, match="name 'a/b'; a name"):
        listing.page(4096)

    assert listing.listing.needs_anew(1, plus=True)  # type: ignore[union-attr]
    assert forgotten(listing.close()) == [3, 4]


def half(*names: str) -> Iterator[DirEntry]:
    """List some names, and fail."""
    for number, name in enumerate(names):
        yield counted(name, 3 + number)
    raise OSError(errno.EIO, "disk")


@pytest.mark.parametrize("plus", [False, True])
def test_after_an_error_the_listing_goes_on_with_another_reading(plus: bool) -> None:
    listing = begin_listing(half("a", "b"), 1, 0, plus=plus)
    assert isinstance(listing, Listing)

    with pytest.raises(OSError, match="disk"):
        listing.page(0, 4096, plus=plus)
    assert forgotten(listing.take_left()) == [3, 4]
    assert not listing.needs_anew(0, plus=plus), "these have their cookies"
    assert listing.needs_anew(4, plus=plus)
    anew = [counted(name, number) for number, name in enumerate("cba", 7)]
    listing.go_on(anew, 1, plus=plus)
    seen = Stream(listing, plus)

    assert names(seen, 4096) + names(seen, 4096) == [".", "..", "a", "b", "c"]
    assert forgotten(listing.close()) == ([8, 9] if plus else [7, 8, 9])


def test_a_name_that_is_none_fails_among_names_only_too() -> None:
    entries = [plain("."), counted("a", 3), plain("b"), plain("a/b"), counted("c", 4)]
    listing = stream(entries, 1, plus=False)

    with pytest.raises(ValueError, match="name 'a/b'; a name"):
        listing.page(4096)

    assert listing.listing.needs_anew(3, plus=False)  # type: ignore[union-attr]
    assert forgotten(listing.close()) == [3, 4]


def test_entries_listed_without_attributes_are_no_lookups() -> None:
    entries = [counted("a", 3, offset=7), counted("b", 4, offset=8)]
    numbered = stream(entries, 1, 0, plus=False)
    other = stream([counted("a", 3), counted("b", 4)], 1, 0, plus=False)

    assert names(numbered, 32) == ["a"]
    assert names(other, 32 * 3) == [".", "..", "a"]

    assert numbered.sent == other.sent == []
    assert forgotten(numbered.close()) == forgotten(other.close()) == [3, 4]


# --- Any cookie, again and again


def test_a_listing_begins_behind_a_cookie() -> None:
    listing = stream(iter(MANY), 1, plus=True)
    listing.position = 10

    assert names(listing, 192) == [WHOLE[10]]
    assert listing.left() == list(range(1, 9)), "nobody gets those"


def test_a_listing_does_not_move_beyond_its_end() -> None:
    listing = stream([counted("a", 3)], 1, plus=False)
    listing.position = 100

    assert listing.page(4096) == b""
    assert listing.left() == [3]


def test_seeking_back_in_an_empty_directory_finds_the_second_dot() -> None:
    listing = stream([], 1, plus=False)
    names(listing, 4096)
    listing.position = 1

    assert names(listing, 4096) == [".."]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("then", [False, True])
@pytest.mark.parametrize("made", [False, True])
def test_each_cookie_stays_true(first: bool, then: bool, made: bool) -> None:
    listing = begin_listing(MANY if made else iter(MANY), 1, 0, plus=first)
    whole = Stream(listing, first)
    while whole.page(1000):
        pass

    for cookie in [40, 3, 90, 0, 91, 89]:
        again = Stream(listing, then, cookie)
        seen: list[str] = []
        while page := names(again, 700):
            seen += page
            assert again.sent == [], "its lookup was counted before"
        assert seen == WHOLE[cookie:]


def test_what_goes_out_again_counts_no_lookup_and_has_no_attributes() -> None:
    listing = stream([plain("."), counted("a", 3)], 1, plus=True)
    first = names(listing, 4096), forgotten(listing.sent)
    listing.position = 1
    again = list(records(listing.page(4096), plus=True))

    assert first == ([".", "a"], [3])
    assert [(found.name, found.nodeid) for found in again] == [(b"a", 0)]
    assert listing.sent == []
    assert forgotten(listing.close()) == []


def test_names_are_wanted_anew_where_each_would_be_looked_up() -> None:
    entries = [counted(name, number) for number, name in enumerate("abcd", 3)]
    lazy = begin_listing(iter(map(counted, "abcd", range(3, 7))), 1, 0, plus=True)
    made = begin_listing(entries, 1, 0, plus=True)
    assert isinstance(lazy, Listing)
    assert isinstance(made, Listing)

    for listing in lazy, made:
        assert len(listing.page(0, 160 * 4, plus=True).sent) == 2
        assert not listing.needs_anew(3, plus=False)
    assert lazy.needs_anew(4, plus=False)
    assert not lazy.needs_anew(4, plus=True)
    assert not made.needs_anew(4, plus=False)

    lazy.go_on([plain("d"), plain("b"), plain("e")], 1, plus=False)
    goes_on = Stream(lazy, plus=False, position=3)
    assert names(goes_on, 4096) == ["b", "d", "e"], "b has its cookie already"
    assert forgotten(lazy.close()) == [5], "it was looked at, and nobody gets it"


@pytest.mark.parametrize("plus", [False, True])
def test_cookies_by_name_hold_for_any_reading(plus: bool) -> None:
    def by_name(entries: list[DirEntry]) -> Stream:
        listing = begin_listing(entries, 1, 0, plus=plus)
        assert isinstance(listing, Listing)
        listing.order_by_name()
        assert listing.is_by_name
        return Stream(listing, plus)

    first = by_name(MANY)
    seen = names(first, 4000)
    assert BY_NAME <= first.position < 2**63
    second = by_name(MANY[::-2])
    second.position = first.position
    while page := names(second, 4000):
        seen += page

    assert seen[:2] == [".", ".."]
    assert len(set(seen)) == len(seen)
    assert {entry.name for entry in MANY[::-2]} <= set(seen) <= set(WHOLE)


def test_a_numbered_listing_is_where_it_was_asked_to_be() -> None:
    listing = stream([DirEntry("a", 7, offset=900)], 1, 800, plus=False)

    assert names(listing, 4096) == ["a"]
    assert listing.position == 900


def test_an_entry_without_a_number_among_others_is_named() -> None:
    listing = stream([DirEntry("a", 7, offset=900), plain("b")], 1, plus=False)

    with pytest.raises(ValueError, match="'b' without an offset"):
        listing.page(4096)


class Counting:
    """An iterator that computes, and is no generator."""

    def __init__(self) -> None:
        self.made = 0

    def __iter__(self) -> Iterator[DirEntry]:
        return self

    def __next__(self) -> DirEntry:
        self.made += 1
        return counted(f"{self.made}", self.made)


@pytest.mark.parametrize("plus", [False, True])
def test_closing_computes_no_more_entries(plus: bool) -> None:
    counting = Counting()
    listing = stream(itertools.chain([], counting), 1, plus=True)
    listing.page(160 * 4)
    made = counting.made

    assert forgotten(listing.close()) == list(range(3, made + 1))
    assert counting.made == made


def test_closing_returns_the_lookups_that_are_left() -> None:
    negative = DirEntry("gone", 9, entry=Entry.negative())
    entries = [counted("a", 3), negative, plain("p"), counted("b", 4), counted("c", 5)]
    listing = stream(entries, 1, 0, plus=True)
    listing.page(160 * 3)

    assert forgotten(listing.sent) == [3]
    assert forgotten(listing.close()) == [4, 5]
    assert listing.close() == []
    assert listing.page(4096) == b""


# --- As columns of the table


def _request(kind: type[r.Read], offset: int, size: int) -> r.Read:
    return kind(*CALLER, 1, offset, size, 0, 0, 0)


def test_a_plain_iterable_is_listed_from_the_cookie_on() -> None:
    dirents = encode_dirents(MANY, _request(r.Readdir, 20, 4096))  # type: ignore[arg-type]
    plus = encode_direntplus(MANY, _request(r.Readdirplus, 20, 400))  # type: ignore[arg-type]

    assert next(records(bytes(dirents), plus=False)).name.decode() == WHOLE[20]
    assert [found.offset for found in records(bytes(plus), plus=True)] == [21, 22]


def test_a_page_is_the_body_of_the_reply() -> None:
    encode = OPERATIONS[Opcode.READDIRPLUS].encode

    assert encode(Page(b"body"), _request(r.Readdirplus, 0, 400)) == b"body"


def test_a_refused_page_is_taken_back() -> None:
    page = begin_listing(MANY, 1, 0, plus=True).page(0, 800, plus=True)
    row = OPERATIONS[Opcode.READDIRPLUS]
    request = _request(r.Readdirplus, 0, 800)

    assert row.undo(page, request) == [
        r.Forget(0, nodeid, 0, 0, 0, 1) for nodeid in (1, 2, 3)
    ]
