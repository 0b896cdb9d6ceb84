"""What a disk was told, in order: changes, and calls that promise durability.

The law: an event says what was asked for and succeeded, and nothing of what a power
cut leaves of it.  That is the business of a `Model`.
"""

from __future__ import annotations

import attrs

__all__ = [
    "Change",
    "Event",
    "FailedSync",
    "Link",
    "Make",
    "Mark",
    "Rename",
    "SetAttributes",
    "SetXattr",
    "Sync",
    "SyncDirectory",
    "SyncFile",
    "Truncate",
    "Unlink",
    "Write",
    "Zero",
]


@attrs.frozen
class Event:
    """Something that happened on the disk; ``text`` is for people."""

    text: str


@attrs.frozen
class Change(Event):
    """A change of one inode, or of a name of it."""

    ino: int


@attrs.frozen
class Make(Change):
    """An inode was made; it has no name yet."""

    mode: int
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    target: str = ""


@attrs.frozen
class Write(Change):
    """Data were written; ``size`` is the size of the file before."""

    offset: int
    data: bytes = attrs.field(repr=False)
    size: int


@attrs.frozen
class Zero(Change):
    """A range within the file was set to zeros, or made a hole."""

    offset: int
    length: int


@attrs.frozen
class Truncate(Change):
    """The size was set; ``before`` is what it was."""

    size: int
    before: int


@attrs.frozen
class SetAttributes(Change):
    """Mode and owner, as they are after chmod(2) or chown(2)."""

    mode: int
    uid: int
    gid: int


@attrs.frozen
class SetXattr(Change):
    """An extended attribute was set, or removed if ``value`` is None."""

    name: str
    value: bytes | None


@attrs.frozen
class Link(Change):
    """The inode got a name."""

    directory: int
    name: str


@attrs.frozen
class Unlink(Change):
    """The inode lost a name."""

    directory: int
    name: str


@attrs.frozen
class Rename(Change):
    """The inode got another name.

    Attributes:
      replaced: The inode that had the new name; 0 for none.
      exchange: Whether that one got the old name.
    """

    directory: int
    name: str
    new_directory: int
    new_name: str
    replaced: int = 0
    exchange: bool = False


@attrs.frozen
class SyncFile(Event):
    """fsync(2) of a file succeeded, or fdatasync(2)."""

    ino: int
    data_only: bool = False


@attrs.frozen
class SyncDirectory(Event):
    """fsync(2) of a directory succeeded."""

    ino: int


@attrs.frozen
class Sync(Event):
    """sync(2): everything so far is durable."""


@attrs.frozen
class FailedSync(Event):
    """fsync(2) of a file failed, and its dirty pages were marked clean: they are lost."""

    ino: int


@attrs.frozen
class Mark(Event):
    """What the program said to the outside: "committed", for instance."""
