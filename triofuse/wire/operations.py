"""The table of the protocol: opcode, decoder, method, encoder, undo.

It has one row per operation.  mypy checks each row: the decoder returns what the
method takes, and the encoder takes what the method returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs

from triofuse.filesystem import requests as r
from triofuse.filesystem.filesystem import Filesystem
from triofuse.filesystem.flags import (
    GetattrFlags,
    InitFlags,
    SetattrValid,
)
from triofuse.filesystem.replies import Buffer, Entry, FileLock, Opened
from triofuse.wire import attributes as a, encode as e, layouts, replies as due
from triofuse.wire.decode import (
    Decoder,
    Message,
    creating,
    fixed,
    named,
    with_payload,
)
from triofuse.wire.directories import encode_direntplus, encode_dirents
from triofuse.wire.listing import Page
from triofuse.wire.opcodes import Opcode

__all__ = ["OPERATIONS", "Operation", "operations_for"]

R = TypeVar("R", bound=r.Request)
T = TypeVar("T")


@attrs.frozen
class Operation:
    """One operation of the protocol.

    Attributes:
      opcode: Its number.
      decode: Makes the request from a message.
      method: The name of the filesystem's method.
      encode: Makes the body of the reply from value and request.
      due: The types that the method must return.
      undo: Makes the requests that undo the operation.  They are served if the kernel
        refuses the reply, because the caller is gone (ENOENT).
    """

    opcode: Opcode
    decode: Callable[[Message], r.Request]
    method: str
    encode: Callable[[Any, Any], Buffer]
    due: due.Due
    undo: Callable[[Any, Any], list[r.Request]]


def _undo_nothing(value: object, request: r.Request) -> list[r.Request]:
    return []


def _undo_entry(entry: Entry, request: r.Request) -> list[r.Request]:
    return [r.Forget(0, entry.nodeid, 0, 0, 0, nlookup=1)] if entry.nodeid else []


def _undo_opened(opened: Opened, request: r.Open) -> list[r.Request]:
    close = r.Releasedir if isinstance(request, r.Opendir) else r.Release
    return [close(0, request.nodeid, 0, 0, 0, opened.fh, request.flags, 0, 0)]


def _undo_created(created: tuple[Entry, Opened], request: r.Create) -> list[r.Request]:
    entry, opened = created
    release = r.Release(0, entry.nodeid, 0, 0, 0, opened.fh, request.flags, 0, 0)
    return [release, *_undo_entry(entry, request)]


def _undo_listing(listing: object, request: r.Request) -> list[r.Request]:
    entries = listing.sent if isinstance(listing, Page) else ()
    return [undone for entry in entries for undone in _undo_entry(entry, request)]


def _row(
    opcode: Opcode,
    decode: Decoder[R],
    method: Callable[[Filesystem, R], Awaitable[T]],
    encode: Callable[[T, R], Buffer],
    undo: Callable[[T, R], list[r.Request]] = _undo_nothing,
) -> Operation:
    """Make a row; the types of its columns must agree."""
    return Operation(opcode, decode, method.__name__, encode, _DUE[encode], undo)


#: The return types that each encoder takes.
_DUE: dict[Callable[..., Buffer], due.Due] = {
    a.encode_attr: due.ATTR,
    a.encode_entry: due.ENTRY,
    a.encode_made: due.ENTRY,
    a.encode_statx: due.ATTR,
    e.encode_block: due.BLOCK,
    e.encode_copied: due.SIZE,
    e.encode_copied_32: due.SIZE,
    e.encode_created: due.CREATED,
    e.encode_data: due.DATA,
    e.encode_ioctl: due.IOCTL,
    e.encode_lock: due.LOCK,
    e.encode_nothing: due.NOTHING,
    e.encode_offset: due.OFFSET,
    e.encode_opened: due.OPENED,
    e.encode_revents: due.EVENTS,
    e.encode_statfs: due.STATFS,
    e.encode_target: due.TARGET,
    e.encode_written: due.SIZE,
    e.encode_xattr: due.BYTES,
    e.encode_xattr_names: due.NAMES,
    encode_direntplus: due.ENTRIES,
    encode_dirents: due.ENTRIES,
}


# --- Requests whose fields differ from those on the wire

_NS = 1_000_000_000

# Plain integers: ``&`` with a member of an IntFlag takes a microsecond.
_GETATTR_FH = int(GetattrFlags.FH)
_VALID = {member.name: int(member) for member in SetattrValid}


def _getattr(
    unique: int, nodeid: int, uid: int, gid: int, pid: int, flags: int, fh: int
) -> r.Getattr:
    known = fh if flags & _GETATTR_FH else None
    return r.Getattr(unique, nodeid, uid, gid, pid, flags, known)


def _statx(*fields: Any) -> r.Statx:
    unique, nodeid, uid, gid, pid, flags, fh, sx_flags, sx_mask = fields
    known = fh if flags & _GETATTR_FH else None
    return r.Statx(unique, nodeid, uid, gid, pid, flags, known, sx_flags, sx_mask)


def _setattr(*fields: Any) -> r.Setattr:
    unique, nodeid, uid, gid, pid, valid, fh, size, lock_owner, *rest = fields
    atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, new_uid, new_gid = rest
    return r.Setattr(
        unique,
        nodeid,
        uid,
        gid,
        pid,
        valid,
        fh if valid & _VALID["FH"] else None,
        size if valid & _VALID["SIZE"] else None,
        lock_owner if valid & _VALID["LOCKOWNER"] else None,
        atime * _NS + atimensec if valid & _VALID["ATIME"] else None,
        mtime * _NS + mtimensec if valid & _VALID["MTIME"] else None,
        ctime * _NS + ctimensec if valid & _VALID["CTIME"] else None,
        mode if valid & _VALID["MODE"] else None,
        new_uid if valid & _VALID["UID"] else None,
        new_gid if valid & _VALID["GID"] else None,
    )


def _rename2(*fields: Any) -> r.Rename:
    unique, nodeid, uid, gid, pid, newdir, flags, name, newname = fields
    return r.Rename(unique, nodeid, uid, gid, pid, newdir, name, newname, flags)


L = TypeVar("L", bound=r.Getlk)


def _locking(request: type[L]) -> Decoder[L]:
    def build(*fields: Any) -> L:
        unique, nodeid, uid, gid, pid, fh, owner, *lock, lk_flags = fields
        wanted = FileLock(*lock)
        return request(unique, nodeid, uid, gid, pid, fh, owner, wanted, lk_flags)

    return fixed(build, layouts.LK_IN)


_SETXATTR_LONG: Decoder[r.Setxattr] = with_payload(
    r.Setxattr, layouts.SETXATTR_IN, "size", name=True
)
_SETXATTR_SHORT: Decoder[r.Setxattr] = with_payload(
    r.Setxattr, layouts.SETXATTR_IN.prefix(8), "size", name=True
)
#: Where the long one has its flags, of which only those of the first byte exist.
_SETXATTR_FLAGS = layouts.IN_HEADER.size + 8


def _decode_setxattr(message: Message) -> r.Setxattr:
    """Decode a SETXATTR in either layout, where the long one is negotiated.

    The kernel chooses before it waits for INIT: a request that was made before has the
    short one, with a name where the long one has flags (fuse_setxattr()).
    """
    is_short = len(message) >= _SETXATTR_FLAGS + 4 and any(
        message[_SETXATTR_FLAGS + 1 : _SETXATTR_FLAGS + 4]
    )
    return _SETXATTR_SHORT(message) if is_short else _SETXATTR_LONG(message)


# fmt: off
_ROWS = [
    _row(Opcode.LOOKUP, named(r.Lookup), Filesystem.lookup, a.encode_entry, _undo_entry),
    _row(Opcode.GETATTR, fixed(_getattr, layouts.GETATTR_IN), Filesystem.getattr, a.encode_attr),
    _row(Opcode.SETATTR, fixed(_setattr, layouts.SETATTR_IN), Filesystem.setattr, a.encode_attr),
    _row(Opcode.READLINK, fixed(r.Readlink), Filesystem.readlink, e.encode_target),
    _row(Opcode.SYMLINK, creating(r.Symlink, target=True), Filesystem.symlink, a.encode_made, _undo_entry),
    _row(Opcode.MKNOD, creating(r.Mknod, layouts.MKNOD_IN), Filesystem.mknod, a.encode_made, _undo_entry),
    _row(Opcode.MKDIR, creating(r.Mkdir, layouts.MKDIR_IN), Filesystem.mkdir, a.encode_made, _undo_entry),
    _row(Opcode.UNLINK, named(r.Unlink), Filesystem.unlink, e.encode_nothing),
    _row(Opcode.RMDIR, named(r.Rmdir), Filesystem.rmdir, e.encode_nothing),
    _row(Opcode.RENAME, named(r.Rename, layouts.RENAME_IN, names=2), Filesystem.rename, e.encode_nothing),
    _row(Opcode.LINK, named(r.Link, layouts.LINK_IN), Filesystem.link, a.encode_made, _undo_entry),
    _row(Opcode.OPEN, fixed(r.Open, layouts.OPEN_IN), Filesystem.open, e.encode_opened, _undo_opened),
    _row(Opcode.READ, fixed(r.Read, layouts.READ_IN), Filesystem.read, e.encode_data),
    _row(Opcode.WRITE, with_payload(r.Write, layouts.WRITE_IN, "size"), Filesystem.write, e.encode_written),
    _row(Opcode.STATFS, fixed(r.StatfsRequest), Filesystem.statfs, e.encode_statfs),
    _row(Opcode.RELEASE, fixed(r.Release, layouts.RELEASE_IN), Filesystem.release, e.encode_nothing),
    _row(Opcode.FSYNC, fixed(r.Fsync, layouts.FSYNC_IN), Filesystem.fsync, e.encode_nothing),
    _row(Opcode.SETXATTR, _decode_setxattr, Filesystem.setxattr, e.encode_nothing),
    _row(Opcode.GETXATTR, named(r.Getxattr, layouts.GETXATTR_IN, paths=True), Filesystem.getxattr, e.encode_xattr),
    _row(Opcode.LISTXATTR, fixed(r.Listxattr, layouts.GETXATTR_IN), Filesystem.listxattr, e.encode_xattr_names),
    _row(Opcode.REMOVEXATTR, named(r.Removexattr, paths=True), Filesystem.removexattr, e.encode_nothing),
    _row(Opcode.FLUSH, fixed(r.Flush, layouts.FLUSH_IN), Filesystem.flush, e.encode_nothing),
    _row(Opcode.OPENDIR, fixed(r.Opendir, layouts.OPEN_IN), Filesystem.opendir, e.encode_opened, _undo_opened),
    _row(Opcode.READDIR, fixed(r.Readdir, layouts.READ_IN), Filesystem.readdir, encode_dirents),
    _row(Opcode.RELEASEDIR, fixed(r.Releasedir, layouts.RELEASE_IN), Filesystem.releasedir, e.encode_nothing),
    _row(Opcode.FSYNCDIR, fixed(r.Fsyncdir, layouts.FSYNC_IN), Filesystem.fsyncdir, e.encode_nothing),
    _row(Opcode.GETLK, _locking(r.Getlk), Filesystem.getlk, e.encode_lock),
    _row(Opcode.SETLK, _locking(r.Setlk), Filesystem.setlk, e.encode_nothing),
    _row(Opcode.SETLKW, _locking(r.Setlkw), Filesystem.setlkw, e.encode_nothing),
    _row(Opcode.ACCESS, fixed(r.Access, layouts.ACCESS_IN), Filesystem.access, e.encode_nothing),
    _row(Opcode.CREATE, creating(r.Create, layouts.CREATE_IN), Filesystem.create, e.encode_created, _undo_created),
    _row(Opcode.BMAP, fixed(r.Bmap, layouts.BMAP_IN), Filesystem.bmap, e.encode_block),
    _row(Opcode.IOCTL, with_payload(r.Ioctl, layouts.IOCTL_IN, "in_size"), Filesystem.ioctl, e.encode_ioctl),
    _row(Opcode.POLL, fixed(r.Poll, layouts.POLL_IN), Filesystem.poll, e.encode_revents),
    _row(Opcode.FALLOCATE, fixed(r.Fallocate, layouts.FALLOCATE_IN), Filesystem.fallocate, e.encode_nothing),
    _row(Opcode.READDIRPLUS, fixed(r.Readdirplus, layouts.READ_IN), Filesystem.readdirplus, encode_direntplus, _undo_listing),
    _row(Opcode.RENAME2, named(_rename2, layouts.RENAME2_IN, names=2), Filesystem.rename2, e.encode_nothing),
    _row(Opcode.LSEEK, fixed(r.Lseek, layouts.LSEEK_IN), Filesystem.lseek, e.encode_offset),
    _row(Opcode.COPY_FILE_RANGE, fixed(r.CopyFileRange, layouts.COPY_FILE_RANGE_IN), Filesystem.copy_file_range, e.encode_copied_32),
    _row(Opcode.SYNCFS, fixed(r.Syncfs, layouts.SYNCFS_IN), Filesystem.syncfs, e.encode_nothing),
    _row(Opcode.TMPFILE, creating(r.Tmpfile, layouts.CREATE_IN, nameless=True), Filesystem.tmpfile, e.encode_created, _undo_created),
    _row(Opcode.STATX, fixed(_statx, layouts.STATX_IN), Filesystem.statx, a.encode_statx),
    _row(Opcode.COPY_FILE_RANGE_64, fixed(r.CopyFileRange, layouts.COPY_FILE_RANGE_IN), Filesystem.copy_file_range, e.encode_copied),
]
# fmt: on

#: All rows by opcode, in the layouts of the newest protocol.
OPERATIONS: dict[int, Operation] = {row.opcode: row for row in _ROWS}

#: Requests that are shorter in old protocols: below which minor, and the decoder.
_OLDER_REQUESTS = [
    (9, Opcode.WRITE, with_payload(r.Write, layouts.WRITE_IN.prefix(24), "size")),
    (12, Opcode.MKNOD, creating(r.Mknod, layouts.MKNOD_IN.prefix(8))),
    (12, Opcode.CREATE, creating(r.Create, layouts.CREATE_IN.prefix(8))),
]

#: Reply structs that are shorter: below which minor, the old size, the layout.
_OLDER_REPLIES: list[tuple[int, Callable[[Any, Any], Buffer], int, layouts.Layout]] = [
    (4, e.encode_statfs, 48, layouts.STATFS_OUT),
    (9, a.encode_attr, 96, layouts.ATTR_OUT),
    (9, a.encode_entry, 120, layouts.ENTRY_OUT),
    (9, a.encode_made, 120, layouts.ENTRY_OUT),
    (9, e.encode_created, 120, layouts.ENTRY_OUT),
]


def operations_for(minor: int, flags: InitFlags) -> dict[int, Operation]:
    """Return all rows by opcode, in the layouts that were negotiated.

    Args:
      minor: The protocol in use is 7.minor.
      flags: The flags granted in INIT.
    """
    rows = dict(OPERATIONS)
    for before, opcode, decode in _OLDER_REQUESTS:
        if minor < before:
            rows[opcode] = attrs.evolve(rows[opcode], decode=decode)
    if not flags & InitFlags.SETXATTR_EXT:
        row = rows[Opcode.SETXATTR]
        rows[Opcode.SETXATTR] = attrs.evolve(row, decode=_SETXATTR_SHORT)
    for before, encode, old, layout in _OLDER_REPLIES:
        if minor < before:
            shorter = e.shortened(encode, old, layout.size)
            for row in OPERATIONS.values():
                if row.encode is encode:
                    older = attrs.evolve(rows[row.opcode], encode=shorter)
                    rows[row.opcode] = older
    return rows
