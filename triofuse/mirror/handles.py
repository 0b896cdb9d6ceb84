"""File handles as node numbers: what makes an inode found again that was forgotten.

An NFS server, and open_by_handle_at(2), keep a node number and ask for the node of that
number long after the kernel forgot it, even in the next life of the mount.  So the
number must say by itself which inode it is.  Most filesystems' handles are an inode's
number and generation, each of 32 bits in use: together they are the 64 bits of a node
number.  A generation is a number that no later inode of the same number has.
"""

from __future__ import annotations

import os
import struct
import sys

import attrs

from triofuse.mirror import libc

_HEADER = struct.Struct("=Ii")  # struct file_handle: size, type
_LIMIT = 1 << 32

#: By size and type of a handle: where the number is, and where the generation.
#: Source: enum fid_type in linux/exportfs.h.
_PLACES = {
    (8, 1): (slice(0, 4), slice(4, 8)),  # FILEID_INO32_GEN: ext4, f2fs
    (12, 1): (slice(4, 12), slice(0, 4)),  # shmem_encode_fh(): tmpfs
    (12, 0x81): (slice(0, 8), slice(8, 12)),  # FILEID_INO64_GEN: XFS
    (20, 0x4D): (slice(0, 8), slice(16, 20)),  # FILEID_BTRFS_WITHOUT_PARENT
}

#: XFS numbers inodes by their place on the disk, and none is smaller than this.
_XFS_INODE_SIZE = 256


@attrs.frozen
class HandleNumbers:
    """Turns the handles of one filesystem into node numbers, and back.

    Attributes:
      pattern: Any handle of it: the bytes that all have in common.
    """

    pattern: bytes
    _number: slice
    _generation: slice

    @classmethod
    def of(cls, fd: int, pattern: bytes) -> HandleNumbers | None:
        """Return that of the filesystem of ``fd``, None where handles are too long."""
        kind = _HEADER.unpack_from(pattern)
        places = _PLACES.get(kind)
        if places is None:
            return None
        numbers = cls(pattern, *places)
        status = os.fstatvfs(fd)
        size = status.f_blocks * status.f_frsize
        if kind == (12, 0x81) and size >= _LIMIT * _XFS_INODE_SIZE // 2:
            return None
        return numbers if numbers.nodeid(pattern) else None

    @classmethod
    def of_directory(cls, path: str | os.PathLike[str]) -> HandleNumbers | None:
        """Return that of the filesystem of a directory, likewise."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            opened = open_root(fd)
            return cls.of(fd, opened[0]) if opened else None
        finally:
            os.close(fd)

    def nodeid(self, handle: bytes) -> int | None:
        """Return the number of a node, None if the handle does not fit."""
        body = handle[_HEADER.size :]
        number = int.from_bytes(body[self._number], sys.byteorder)
        generation = int.from_bytes(body[self._generation], sys.byteorder)
        if not 1 <= number < _LIMIT:
            return None
        nodeid = generation << 32 | number
        return nodeid if nodeid > 1 and self.handle(nodeid) == handle else None

    def handle(self, nodeid: int) -> bytes:
        """Return the handle of a node."""
        body = bytearray(self.pattern[_HEADER.size :])
        for place, value in (
            (self._number, nodeid % _LIMIT),
            (self._generation, nodeid // _LIMIT),
        ):
            size = place.stop - place.start
            body[place] = value.to_bytes(size, sys.byteorder)
        return self.pattern[: _HEADER.size] + bytes(body)


def open_root(root: int) -> tuple[bytes, int] | None:
    """Return the handle of the root and the number of its mount, if it can be opened.

    None for want of CAP_DAC_READ_SEARCH, or of support by the filesystem.
    """
    try:
        handle, mount = libc.handle_of(root)
        os.close(libc.open_handle(root, handle))
    except OSError:
        return None
    return handle, mount
