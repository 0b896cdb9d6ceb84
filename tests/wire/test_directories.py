"""Listings: records byte for byte, and pages that lose and repeat nothing."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable, Iterator

import attrs
import pytest

from tests.wire.messages import CALLER
from tests.wire.oracle import golden_struct
from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import DirEntry, Entry, FileAttr
from triofuse.wire.directories import Listing, encode_direntplus, encode_dirents
from triofuse.wire.layouts import DIRENT, ENTRY_OUT
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


def names(listing: Listing, size: int) -> list[str]:
    page = listing.page(size)
    return [found.name.decode() for found in records(page, plus=listing.plus)]


def forgotten(entries: Iterable[Entry]) -> list[int]:
    return [entry.nodeid for entry in entries]


# --- Records


def test_entries_become_records_padded_to_eight_bytes() -> None:
    listing = Listing.of(
        [DirEntry(".", 1), plain("hello"), plain("12345678")], 1, 0, plus=False
    )

    assert listing.page(4096) == (
        record(b".", 1, 1, 0) + record(b"hello", 7, 2, 8) + record(b"12345678", 7, 3, 8)
    )


def test_entries_with_attributes_become_longer_records() -> None:
    listing = Listing.of(
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
    listing = Listing.of([DirEntry(".", 1, mode)], 1, 0, plus=False)

    assert listing.page(64) == record(b".", 1, 1, kind)


def test_names_are_bytes_to_the_kernel() -> None:
    listing = Listing.of([DirEntry(".", 1), plain("\udcff\udc80ä")], 1, 0, plus=False)

    assert listing.page(4096) == (
        record(b".", 1, 1, 0) + record(b"\xff\x80\xc3\xa4", 7, 2, 8)
    )


# --- Dots


def test_the_dots_are_added() -> None:
    listing = Listing.of([plain("a")], 42, 0, plus=False)

    assert listing.page(4096) == (
        record(b".", 42, 1, 4) + record(b"..", 0xFFFFFFFF, 2, 4) + record(b"a", 7, 3, 8)
    )


def test_an_empty_directory_has_the_dots() -> None:
    assert names(Listing.of([], 42, 0, plus=False), 4096) == [".", ".."]


def test_the_dots_are_not_added_where_the_filesystem_has_them() -> None:
    listing = Listing.of([plain("."), plain(".."), plain("a")], 42, 0, plus=False)

    assert names(listing, 4096) == [".", "..", "a"]


def test_the_dots_are_not_added_where_the_filesystem_does_the_paging() -> None:
    listing = Listing.of([DirEntry("a", 7, offset=100)], 42, 0, plus=False)

    assert names(listing, 4096) == ["a"]
    assert listing.numbered
    assert names(Listing.of([], 42, 100, numbered=True, plus=False), 4096) == []


def test_the_dots_never_count_as_lookups() -> None:
    entries = [counted(".", 1), counted("..", 2), counted("...", 3)]
    listing = Listing.of(entries, 1, 0, plus=True)

    listing.page(4096)

    assert forgotten(listing.sent) == [3]
    assert forgotten(Listing.of(entries, 1, 0, plus=True).close()) == [3]


# --- Paging

MANY = [
    counted("x" * (number % 40 + 1) + str(number), number) for number in range(1, 90)
]
WHOLE = [".", "..", *(entry.name for entry in MANY)]


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("size", [216, 300, 512, 1000, 4096])
@pytest.mark.parametrize("made", [False, True])
def test_page_by_page_a_listing_is_the_whole(size: int, plus: bool, made: bool) -> None:
    listing = Listing.of(MANY if made else iter(MANY), 1, 0, plus=plus)
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


def test_a_page_is_filled_to_the_last_byte() -> None:
    listing = Listing.of(
        [plain("."), plain("12345678"), plain("next")], 1, 0, plus=False
    )

    assert names(listing, 32 + 32) == [".", "12345678"]
    assert names(listing, 32) == ["next"]


def test_an_entry_that_does_not_fit_comes_next() -> None:
    listing = Listing.of(
        [plain("."), plain("12345678"), counted("next", 3)], 1, 0, plus=False
    )

    assert names(listing, 32 + 31) == ["."]
    assert listing.position == 1
    assert names(listing, 4096) == ["12345678", "next"]


def test_an_entry_that_did_not_fit_is_no_lookup_yet() -> None:
    listing = Listing.of(
        [plain("."), counted("a", 3), counted("b", 4)], 1, 0, plus=True
    )

    assert names(listing, 160 * 2 + 100) == [".", "a"]
    assert forgotten(listing.sent) == [3]
    assert names(listing, 160) == ["b"]
    assert forgotten(listing.sent) == [4]


def test_a_page_with_room_for_nothing_is_einval() -> None:
    listing = Listing.of([plain("."), plain("12345678")], 1, 0, plus=False)

    with pytest.raises(FuseError) as refusal:
        listing.page(31)

    assert refusal.value.errno == errno.EINVAL
    assert names(listing, 4096) == [".", "12345678"]


def test_the_end_is_an_empty_page_again_and_again() -> None:
    listing = Listing.of([], 1, 0, plus=True)
    listing.page(4096)

    assert listing.page(0) == b""
    assert listing.page(4096) == b""
    assert listing.sent == []


def test_a_numbered_listing_goes_out_with_its_own_cookies() -> None:
    entries = [counted("a", 3, offset=700), counted("b", 4, offset=100)]
    listing = Listing.of(entries, 1, 5, plus=True)

    assert listing.position == 5
    assert [found.offset for found in records(listing.page(160), plus=True)] == [700]
    assert listing.position == 700
    assert forgotten(listing.sent) == [3]
    assert forgotten(listing.close()) == [4]


def test_names_are_taken_all_at_once() -> None:
    directory = {"a": plain("a"), "b": plain("b")}
    entries = list(directory.values())

    listing = Listing.of((e for e in directory.values()), 1, 0, plus=False)
    other = Listing.of(entries, 1, 0, plus=False)
    directory.clear()
    entries.clear()

    assert names(listing, 4096) == names(other, 4096) == [".", "..", "a", "b"]


def test_a_generator_is_asked_for_no_more_than_fits() -> None:
    made: list[int] = []

    def entries() -> Iterator[DirEntry]:
        for number in range(2, 100):
            made.append(number)
            yield counted(str(number), number)

    listing = Listing.of(entries(), 1, 0, plus=True)
    listing.page(160 * 4)

    assert made == [2, 3, 4]
    assert forgotten(listing.sent) == [2, 3]
    assert forgotten(listing.close()) == [4]
    assert made == [2, 3, 4]


# --- Errors on the way


def test_a_name_that_is_none_fails_and_is_still_there() -> None:
    listing = Listing.of(
        [plain("."), counted("a/b", 3), counted("c", 4)], 1, 0, plus=True
    )

    for _ in range(2):
        with pytest.raises(ValueError, match="name 'a/b'; a name"):
            listing.page(4096)

    assert forgotten(listing.close()) == [3, 4]


def test_what_was_listed_before_an_error_is_in_sent() -> None:
    def entries() -> Iterator[DirEntry]:
        yield counted("a", 3)
        raise OSError(errno.EIO, "disk")

    listing = Listing.of(entries(), 1, 0, plus=True)

    with pytest.raises(OSError, match="disk"):
        listing.page(4096)

    assert forgotten(listing.sent) == [3]


def test_a_name_that_is_none_fails_among_names_only_too() -> None:
    entries = [plain("."), counted("a", 3), plain("b"), plain("a/b"), counted("c", 4)]
    listing = Listing.of(entries, 1, 0, plus=False)

    assert names(listing, 32 * 2) == [".", "a"]
    with pytest.raises(ValueError, match="name 'a/b'; a name"):
        listing.page(4096)

    assert listing.position not in (2, 3), "whoever goes on begins again"
    assert forgotten(listing.close()) == [3, 4]
    with pytest.raises(ValueError, match="name 'a/b'; a name"):
        Listing.of(iter(entries), 1, 0, plus=False)


def test_entries_listed_without_attributes_are_no_lookups() -> None:
    entries = [counted("a", 3, offset=7), counted("b", 4, offset=8)]
    numbered = Listing.of(entries, 1, 0, plus=False)
    other = Listing.of([counted("a", 3), counted("b", 4)], 1, 0, plus=False)

    assert names(numbered, 32) == ["a"]
    assert names(other, 32 * 3) == [".", "..", "a"]

    assert numbered.sent == other.sent == []
    assert forgotten(numbered.close()) == forgotten(other.close()) == [3, 4]


# --- Moving on


def test_a_listing_moves_on_to_a_cookie() -> None:
    listing = Listing.of(iter(MANY), 1, 10, plus=True)

    skipped = listing.skip_to(10)

    assert listing.position == 10
    assert forgotten(skipped) == list(range(1, 9))
    assert names(listing, 192) == [WHOLE[10]]


def test_a_listing_does_not_move_beyond_its_end() -> None:
    listing = Listing.of([counted("a", 3)], 1, 100, plus=False)

    assert forgotten(listing.skip_to(100)) == [3]
    assert listing.position == 3
    assert listing.page(4096) == b""


def test_seeking_back_in_an_empty_directory_finds_the_second_dot() -> None:
    listing = Listing.of([], 1, 1, numbered=False, plus=False)
    listing.skip_to(1)

    assert names(listing, 4096) == [".."]


def test_a_numbered_listing_is_where_it_was_asked_to_be() -> None:
    listing = Listing.of([DirEntry("a", 7, offset=900)], 1, 800, plus=False)

    assert listing.skip_to(800) == []
    assert names(listing, 4096) == ["a"]


def test_closing_returns_the_lookups_that_are_left() -> None:
    negative = DirEntry("gone", 9, entry=Entry.negative())
    entries = [counted("a", 3), negative, plain("p"), counted("b", 4), counted("c", 5)]
    listing = Listing.of(entries, 1, 0, plus=True)
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


def test_a_listing_goes_on_where_it_stands() -> None:
    listing = Listing.of(MANY, 1, 0, plus=True)
    encode = OPERATIONS[Opcode.READDIRPLUS].encode

    first = encode(listing, _request(r.Readdirplus, 0, 400))
    second = encode(listing, _request(r.Readdirplus, 2, 400))

    assert [found.offset for found in records(bytes(first), plus=True)] == [1, 2]
    assert [found.offset for found in records(bytes(second), plus=True)] == [3, 4]


def test_a_refused_page_is_taken_back() -> None:
    listing = Listing.of(MANY, 1, 0, plus=True)
    row = OPERATIONS[Opcode.READDIRPLUS]
    request = _request(r.Readdirplus, 0, 800)

    row.encode(listing, request)

    assert row.undo(listing, request) == [
        r.Forget(0, nodeid, 0, 0, 0, 1) for nodeid in (1, 2, 3)
    ]
