"""Encoding of requests as the kernel sends them."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import TypedDict

from triofuse.filesystem.flags import InitFlags, RenameFlags
from triofuse.wire import layouts
from triofuse.wire.decode import ENCODING, ENCODING_ERRORS
from triofuse.wire.opcodes import Opcode

__all__ = [
    "Caller",
    "Creator",
    "encode_extensions",
    "encode_names",
    "encode_request",
    "identity",
]


class Caller(TypedDict, total=False):
    """The credentials of a caller; by default those of this process."""

    uid: int
    gid: int
    pid: int


class Creator(Caller, total=False):
    """The caller that creates an inode, and the extensions that INIT negotiated.

    Attributes:
      security_contexts: Names and values (FUSE_SECURITY_CTX).
      groups: Supplementary groups (FUSE_CREATE_SUPP_GROUP).
    """

    security_contexts: Sequence[tuple[str, bytes]]
    groups: Sequence[int]


#: Requests of the kernel itself, without a caller.
_KERNEL_OWN = {
    Opcode.INIT,
    Opcode.DESTROY,
    Opcode.RELEASE,
    Opcode.RELEASEDIR,
    Opcode.FORGET,
    Opcode.BATCH_FORGET,
    Opcode.INTERRUPT,
}

#: Requests with uid and gid even on a connection that allows id-mapped mounts.
_CREATING = {
    Opcode.MKNOD,
    Opcode.MKDIR,
    Opcode.SYMLINK,
    Opcode.CREATE,
    Opcode.TMPFILE,
}

#: FUSE_INVALID_UIDGID of linux/fuse.h.
_NOBODY = 0xFFFFFFFF

#: FUSE_EXT_GROUPS of linux/fuse.h.
_EXT_GROUPS = 32


def identity(
    opcode: int, granted: InitFlags, caller: Caller, flags: int = 0
) -> tuple[int, int, int]:
    """Return uid, gid and pid of a request (``fuse_force_creds()`` and the like).

    Args:
      opcode: The opcode of the request.
      granted: The flags that INIT negotiated.
      caller: The credentials of the caller.
      flags: The flags of a RENAME2.
    """
    if opcode in _KERNEL_OWN:
        return 0, 0, 0
    pid = caller.get("pid", os.getpid())
    owned = opcode in _CREATING or flags & RenameFlags.WHITEOUT
    if granted & InitFlags.ALLOW_IDMAP and not owned:
        return _NOBODY, _NOBODY, pid
    return caller.get("uid", os.getuid()), caller.get("gid", os.getgid()), pid


def encode_request(
    opcode: int,
    unique: int,
    nodeid: int,
    credentials: tuple[int, int, int],
    body: bytes,
    extensions: bytes = b"",
) -> bytes:
    """Return a whole message."""
    length = layouts.IN_HEADER.size + len(body) + len(extensions)
    words = len(extensions) // 8
    header = layouts.IN_HEADER.pack(length, opcode, unique, nodeid, *credentials, words)
    return header + body + extensions


def encode_names(*names: str) -> bytes:
    """Return names, each with its NUL."""
    return b"".join(name.encode(ENCODING, ENCODING_ERRORS) + b"\0" for name in names)


def encode_extensions(granted: InitFlags, creator: Creator) -> bytes:
    """Return the extensions of a request that creates an inode (``get_create_ext()``)."""
    blocks = b""
    if granted & InitFlags.SECURITY_CTX:
        contexts = creator.get("security_contexts", ())
        content = b"".join(_context(name, value) for name, value in contexts)
        size = layouts.SECCTX_HEADER.size + len(content)
        blocks += layouts.SECCTX_HEADER.pack(size, len(contexts)) + content
    groups = creator.get("groups", ())
    if groups and granted & InitFlags.CREATE_SUPP_GROUP:
        content = layouts.SUPP_GROUPS.pack(len(groups))
        content += struct.pack(f"={len(groups)}I", *groups)
        size = layouts.EXT_HEADER.size + len(content)
        blocks += _padded(layouts.EXT_HEADER.pack(size, _EXT_GROUPS) + content)
    return blocks


def _context(name: str, value: bytes) -> bytes:
    return _padded(layouts.SECCTX.pack(len(value)) + encode_names(name) + value)


def _padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % 8)
