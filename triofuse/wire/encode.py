"""Encoders: from the return value of a method to the bytes of a reply.

The law: an encoder takes the value and its request, and returns the body that follows
fuse_out_header.  It is one buffer, if possible the filesystem's own, uncopied.

A value that cannot be sent raises ValueError, TypeError or struct.error.  That is a
bug of the filesystem, not of the kernel.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any

from triofuse.filesystem import requests as r
from triofuse.filesystem.errors import FuseError
from triofuse.filesystem.replies import (
    Buffer,
    Entry,
    FileData,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)
from triofuse.wire import layouts, replies
from triofuse.wire.attributes import encode_made
from triofuse.wire.decode import ENCODING, ENCODING_ERRORS
from triofuse.wire.replies import ReplyError

__all__ = [
    "StillInFile",
    "encode_block",
    "encode_copied",
    "encode_copied_32",
    "encode_created",
    "encode_data",
    "encode_error",
    "encode_header",
    "encode_ioctl",
    "encode_lock",
    "encode_name",
    "encode_nothing",
    "encode_offset",
    "encode_opened",
    "encode_revents",
    "encode_statfs",
    "encode_target",
    "encode_written",
    "encode_xattr",
    "encode_xattr_names",
    "shortened",
]

#: The device copies a reply page by page.  That is slow if the memory is not in the
#: CPU's caches, so a copy before it pays: 1 MiB of 64 takes 94 us, not 131.  Memory
#: in the caches is sent uncopied: 1 MiB of 2 takes 54 us, not 74.
_WORTH_WARMING = 64 << 10
_TOO_LARGE_FOR_CACHES = 16 << 20

#: fuse_readlink_folio(): target and NUL must fit into a page.
_READLINK_MAX = 4095

_pack_header = layouts.OUT_HEADER.pack
_HEADER_SIZE = layouts.OUT_HEADER.size


def encode_header(unique: int, size: int) -> bytes:
    """Return the header of a reply with a body of ``size`` bytes."""
    return _pack_header(_HEADER_SIZE + size, 0, unique)


def encode_error(unique: int, error: int) -> bytes:
    """Return a reply without a body; ``error`` is a positive errno."""
    return _pack_header(_HEADER_SIZE, -error, unique)


def encode_name(name: str) -> bytes:
    """Return the bytes of a name in a directory.

    Raises:
      ValueError: It has a slash or a NUL, or it is empty.
    """
    # In the str: a search in bytes takes ten times as long.
    if not name or "/" in name or "\0" in name:
        message = f"{name!r} cannot be a name in a directory"
        raise ValueError(message)
    return name.encode(ENCODING, ENCODING_ERRORS)


def encode_nothing(value: object, request: r.Request) -> Buffer:
    """Encode success: an empty body.

    Raises:
      ReplyError: The value is an errno, or False for a refusal, which the kernel would
        not get.  Any other value has no meaning.
    """
    if value is not None and _is_refusal(value):
        raise ReplyError(replies.NOTHING.instead_of(value))
    return b""


def _is_refusal(value: object) -> bool:
    """Whether a value says no, as in C or in other libraries."""
    return value is False or (type(value) is int and value != 0)


def encode_opened(opened: Opened, request: r.Request) -> Buffer:
    """Encode ``struct fuse_open_out``."""
    return layouts.OPEN_OUT.pack(opened.fh, opened.flags, opened.backing_id)


def encode_created(created: tuple[Entry, Opened], request: r.Request) -> Buffer:
    """Encode ``struct fuse_entry_out`` and ``struct fuse_open_out``."""
    entry, opened = created
    return encode_made(entry, request) + encode_opened(opened, request)


class StillInFile(Exception):  # noqa: N818  (not an error)
    """The bytes of a reply are in a file and have to be read first."""


def encode_data(data: Buffer | FileData, request: r.Read) -> Buffer:
    """Return the bytes of a READ, uncopied if possible.

    Raises:
      StillInFile: The value is a `FileData`: the bytes have to be read first.
    """
    if type(data) is not bytes:
        if isinstance(data, FileData):
            raise _in_file(data, request)
        data = memoryview(data)
        if data.itemsize != 1 or data.ndim != 1:
            data = data.cast("B")
    size = len(data)
    if size > request.size:
        raise _too_much(size, request)
    if size >= _WORTH_WARMING and isinstance(data, memoryview) and _is_cold(data):
        return bytes(data)
    return data


def _is_cold(view: memoryview) -> bool:
    """Whether a view is of an object too large to be in the CPU's caches."""
    whole: Any = view.obj  # None for memory of C code
    return whole is not None and memoryview(whole).nbytes >= _TOO_LARGE_FOR_CACHES


def _in_file(data: FileData, request: r.Read) -> Exception:
    if not 0 <= data.size <= request.size:
        return _too_much(data.size, request)
    if data.offset < 0:  # -1 means something else to preadv2(2)
        return ValueError(f"a file has no offset {data.offset}")
    return StillInFile()


def _too_much(size: int, request: r.Read) -> ValueError:
    message = f"{size} bytes read where {request.size} were asked for"
    return ValueError(message)


def encode_target(target: str, request: r.Request) -> Buffer:
    """Encode the target of a symbolic link."""
    encoded = target.encode(ENCODING, ENCODING_ERRORS)
    if len(encoded) > _READLINK_MAX or "\0" in target:
        message = f"{target!r:.80} cannot be the target of a symbolic link"
        raise ValueError(message)
    return encoded


def encode_written(size: int, request: r.Write) -> Buffer:
    """Encode ``struct fuse_write_out``."""
    if not 0 <= size <= request.size:
        message = f"{size} bytes written where there were {request.size}"
        raise ValueError(message)
    return layouts.WRITE_OUT.pack(size)


def encode_copied_32(size: int, request: r.CopyFileRange) -> Buffer:
    """Encode ``struct fuse_write_out`` for COPY_FILE_RANGE."""
    return layouts.WRITE_OUT.pack(_copied(size, request))


def encode_copied(size: int, request: r.CopyFileRange) -> Buffer:
    """Encode ``struct fuse_copy_file_range_out``."""
    return layouts.COPY_FILE_RANGE_OUT.pack(_copied(size, request))


def _copied(size: int, request: r.CopyFileRange) -> int:
    if not 0 <= size <= request.len:
        message = f"{size} bytes copied where {request.len} were asked for"
        raise ValueError(message)
    return size


def encode_statfs(statfs: Statfs, request: r.Request) -> Buffer:
    """Encode ``struct fuse_statfs_out``."""
    return layouts.STATFS_OUT.pack(
        statfs.blocks,
        statfs.bfree,
        statfs.bavail,
        statfs.files,
        statfs.ffree,
        statfs.bsize,
        statfs.namelen,
        statfs.frsize,
    )


def _sized(value: Buffer, size: int) -> Buffer:
    """Return a value of at most ``size`` bytes; if ``size`` is 0, its length."""
    if type(value) is not bytes:
        value = memoryview(value).cast("B")
    if size == 0:
        return layouts.GETXATTR_OUT.pack(len(value))
    if len(value) > size:
        raise FuseError(errno.ERANGE)
    return value


def encode_xattr(value: Buffer, request: r.Getxattr) -> Buffer:
    """Encode an extended attribute, or ``struct fuse_getxattr_out``."""
    return _sized(value, request.size)


def encode_xattr_names(names: Iterable[str], request: r.Listxattr) -> Buffer:
    """Encode the names of extended attributes, each with its NUL."""
    if isinstance(names, str):
        raise ReplyError(replies.NAMES.instead_of(names))
    listed: list[Any] = list(names)
    for name in listed:
        if not isinstance(name, str) or not name or "\0" in name:
            message = (
                f"{replies.shown(name)} among the names of extended attributes; "
                "each is a str without a NUL, and not empty"
            )
            raise ReplyError(message)
    text = "".join(name + "\0" for name in listed)
    return _sized(text.encode(ENCODING, ENCODING_ERRORS), request.size)


def encode_lock(lock: FileLock, request: r.Getlk) -> Buffer:
    """Encode ``struct fuse_lk_out``."""
    return layouts.LK_OUT.pack(lock.start, lock.end, lock.type, lock.pid)


def encode_ioctl(reply: IoctlReply, request: r.Ioctl) -> Buffer:
    """Encode ``struct fuse_ioctl_out`` and the data behind it."""
    data = memoryview(reply.data).cast("B")
    if len(data) > request.out_size:
        message = f"{len(data)} bytes of ioctl data, room for {request.out_size}"
        raise ValueError(message)
    return layouts.IOCTL_OUT.pack(reply.result, 0, 0, 0) + data


def encode_revents(revents: int, request: r.Poll) -> Buffer:
    """Encode ``struct fuse_poll_out``."""
    return layouts.POLL_OUT.pack(revents)


def encode_offset(offset: int, request: r.Lseek) -> Buffer:
    """Encode ``struct fuse_lseek_out``."""
    return layouts.LSEEK_OUT.pack(offset)


def encode_block(block: int, request: r.Bmap) -> Buffer:
    """Encode ``struct fuse_bmap_out``."""
    return layouts.BMAP_OUT.pack(block)


def shortened(
    encode: Callable[..., Buffer], old: int, new: int
) -> Callable[..., Buffer]:
    """Return the encoder of an older minor: cut a struct of ``new`` to ``old`` bytes."""

    def encode_older(value: object, request: r.Request) -> Buffer:
        body = bytes(encode(value, request))
        return body[:old] + body[new:]

    return encode_older
