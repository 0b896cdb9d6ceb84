"""Which requests the kernel never sends at the same time."""

from __future__ import annotations

import pytest

from triofuse.filesystem import requests as r
from triofuse.wire.claims import claims_of

HEAD = (0, 9, 0, 0, 0)  # of node 9

LOOKUP = r.Lookup(*HEAD, "a")
MKDIR = r.Mkdir(*HEAD, 0o755, 0, "b")
GETATTR = r.Getattr(*HEAD, 0, None)
READ = r.Read(*HEAD, 1, 0, 10, 0, 0, 0)
WRITE = r.Write(*HEAD, 1, 0, 1, 0, 0, 0, memoryview(b"x"))
RENAME = r.Rename(0, 8, 0, 0, 0, 9, "a", "b", 0)
LINK = r.Link(0, 8, 0, 0, 0, 9, "a")


@pytest.mark.parametrize(
    ("first", "then", "excluded"),
    [
        (MKDIR, MKDIR, True),
        (MKDIR, LOOKUP, True),
        (LOOKUP, MKDIR, True),
        (LOOKUP, LOOKUP, False),
        (MKDIR, GETATTR, False),
        (RENAME, MKDIR, True),
        (RENAME, LINK, True),
        (LINK, MKDIR, False),  # node 9 is its inode, not its directory
        (READ, READ, False),
        (READ, WRITE, False),
        (WRITE, WRITE, True),
    ],
)
def test_what_excludes_what(first: r.Request, then: r.Request, excluded: bool) -> None:
    assert claims_of(first).excludes(claims_of(then)) is excluded


def test_a_link_uses_the_inode_and_the_directory() -> None:
    assert claims_of(LINK).nodes == {8, 9}
