"""Access control lists: what acl(5) adds to the permissions of a mode.

A list is an extended attribute.  ACCESS is who may use the file; DEFAULT, of a
directory, is what everything made in it begins with.  The kernel lets in and keeps
out by the list, and takes none that makes no sense.  It leaves to the filesystem
what this module does: a list and the mode beside it must always agree, for three of
its entries are the nine bits that ``ls -l`` shows::

    user::rw-          the owner                     rwx------
    user:ann:r--
    group::r--
    mask::r--          the most that all but the     ---rwx---
    other::---         owner and others get          ------rwx

Where nobody is named there is no mask, and ``group::`` has its place.

Source: linux/posix_acl_xattr.h; fs/posix_acl.c.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple, Self

import attrs

from triofuse.filesystem.errors import FuseError

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

#: ``struct posix_acl_xattr_header``: a_version.
HEADER = struct.Struct("<I")
VERSION = 2
#: ``struct posix_acl_xattr_entry``: e_tag e_perm e_id.
ENTRY = struct.Struct("<HHI")

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = (1 << bit for bit in range(6))


class AclEntry(NamedTuple):
    """What somebody may: ``perm`` is 4 to read, 2 to write, 1 to execute.

    ``id`` says who if ``tag`` is USER or GROUP, else it has no meaning.
    """

    tag: int
    perm: int
    id: int


@attrs.frozen
class Acl:
    """A list: those who may."""

    entries: tuple[AclEntry, ...]

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read the value of the extended attribute.

        Raises:
          FuseError: EINVAL: it is none.
        """
        body = value[HEADER.size :]
        if value[: HEADER.size] != HEADER.pack(VERSION) or len(body) % ENTRY.size:
            raise FuseError(errno.EINVAL)
        return cls(tuple(AclEntry(*fields) for fields in ENTRY.iter_unpack(body)))

    def encode(self) -> bytes:
        """Return the value of the extended attribute."""
        return HEADER.pack(VERSION) + b"".join(ENTRY.pack(*e) for e in self.entries)

    @property
    def names_somebody(self) -> bool:
        """Whether the list says more than a mode can."""
        return any(entry.tag in (USER, GROUP, MASK) for entry in self.entries)

    @property
    def permissions(self) -> int:
        """The nine bits of the mode."""
        places = self._places()
        return sum(
            entry.perm << places[entry.tag]
            for entry in self.entries
            if entry.tag in places
        )

    def chmod(self, mode: int) -> Acl:
        """Return the list that belongs to a new mode."""
        places = self._places()
        return Acl(
            tuple(
                entry._replace(perm=mode >> places[entry.tag] & 0o7)
                if entry.tag in places
                else entry
                for entry in self.entries
            )
        )

    def inherit(self, mode: int) -> Acl:
        """Return the list of what is made with ``mode`` where this is the default."""
        return self.chmod(self.permissions & mode)

    def _places(self) -> dict[int, int]:
        """Return which entries are part of the mode, and how far left there."""
        has_mask = any(entry.tag == MASK for entry in self.entries)
        return {USER_OBJ: 6, MASK if has_mask else GROUP_OBJ: 3, OTHER: 0}
