"""Arbitrary requests and answers: everything that the wire can say."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import attrs
from hypothesis import strategies as st

from tests.fuzz.shapes import SHAPES, Shape
from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import GetattrFlags, SetattrValid
from triofuse.filesystem.replies import (
    DirEntry,
    Entry,
    FileAttr,
    FileLock,
    IoctlReply,
    Opened,
    Statfs,
)
from triofuse.wire.layouts import Layout
from triofuse.wire.opcodes import Opcode

__all__ = [
    "ANSWERS",
    "attributes",
    "entries",
    "listings",
    "names",
    "opcodes",
    "requests",
]

T = TypeVar("T")

_NS = 1_000_000_000

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
s32 = st.integers(-(2**31), 2**31 - 1)
s64 = st.integers(-(2**63), 2**63 - 1)

_NUMBERS = {"H": u16, "I": u32, "Q": u64, "i": s32, "q": s64}

opcodes = st.sampled_from(sorted(SHAPES))


def _texts(without: bytes, most: int) -> st.SearchStrategy[str]:
    """Return texts of any bytes but some, as os.fsdecode has them."""
    instead = bytes(byte if byte not in without else 120 for byte in range(256))
    wild = st.binary(min_size=1, max_size=most)
    proper = st.text(min_size=1, max_size=most // 4).map(_encoded)
    encoded = st.one_of(st.sampled_from([b"a", b"name"]), wild, proper)
    return encoded.map(lambda name: os.fsdecode(name.translate(instead)))


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")


names = _texts(b"\0/", 255)
paths = _texts(b"\0", 300)

_contexts = st.lists(st.tuples(paths, st.binary(max_size=40)), max_size=4)
_groups = st.lists(u32, max_size=5)


# --- Requests


def _numbers(layout: Layout) -> dict[str, st.SearchStrategy[int]]:
    codes = re.findall(r"(\d*)([A-Za-z])", layout.codes)
    single = [
        code for number, code in codes if code != "x" for _ in range(int(number or 1))
    ]
    return dict(zip(layout.fields, (_NUMBERS[code] for code in single), strict=True))


def _caller() -> dict[str, st.SearchStrategy[int]]:
    return {"unique": u64, "nodeid": u64, "uid": u32, "gid": u32, "pid": u32}


@cache  # to make a strategy takes longer than to draw from it
def requests(shape: Shape) -> st.SearchStrategy[r.Request]:
    """Return requests such as a message of this shape can say."""
    known = _caller() | _numbers(shape.layout)
    fields: dict[str, st.SearchStrategy[Any]] = {}
    wanted = {field.name: field for field in attrs.fields(shape.request)}
    for name, field in wanted.items():
        if name in known:
            fields[name] = known[name]
        elif name in shape.names:
            fields[name] = paths if name in shape.paths else names
        elif field.default is attrs.NOTHING and name not in _MADE:
            fields[name] = st.just(0)  # a struct of an older protocol ends before it
    if shape.request is r.Tmpfile:
        fields["name"] = st.just("/")
    if shape.payload:
        fields[shape.payload] = st.binary(max_size=200)
    if shape.item is not None:
        fields["items"] = st.lists(st.tuples(u64, u64), max_size=9).map(tuple)
    if shape.extended:
        fields["security_contexts"] = _contexts.map(tuple)
        fields["groups"] = _groups.map(tuple)
    special = _SPECIAL.get(shape.request)
    if special is not None:
        return special(fields)
    return st.builds(_consistent, st.just(shape), st.fixed_dictionaries(fields))


#: What is not a field of a struct.
_MADE = {"items", "data", "value", "lock", "target"}


def _consistent(shape: Shape, fields: dict[str, Any]) -> r.Request:
    if shape.payload:
        fields[shape.payload] = memoryview(fields[shape.payload])
        fields[shape.size] = len(fields[shape.payload])
    if "target" in {field.name for field in attrs.fields(shape.request)}:
        fields.setdefault("target", fields["unique"] ^ 1)
    return shape.request(**fields)


def _with_fh(request: r.Getattr | r.Statx) -> r.Request:
    known = request.getattr_flags & GetattrFlags.FH
    return request if known else attrs.evolve(request, fh=None)


def _getattrs(fields: dict[str, Any]) -> st.SearchStrategy[r.Request]:
    return st.builds(r.Getattr, **fields).map(_with_fh)


def _statxs(fields: dict[str, Any]) -> st.SearchStrategy[r.Request]:
    return st.builds(r.Statx, **fields).map(_with_fh)


_times = st.integers(-(2**63) * _NS, 2**63 * _NS - 1)


#: What a SETATTR may change.
_CHANGES: dict[str, st.SearchStrategy[int]] = {
    "fh": u64,
    "size": u64,
    "lock_owner": u64,
    "atime_ns": _times,
    "mtime_ns": _times,
    "ctime_ns": _times,
    "mode": u32,
    "new_uid": u32,
    "new_gid": u32,
}


def _setattrs(_: object) -> st.SearchStrategy[r.Request]:
    return st.builds(r.Setattr, **_caller(), valid=u32, **_CHANGES).map(_with_valid)


def _with_valid(request: r.Setattr) -> r.Request:
    flags = {
        name: name.removesuffix("_ns").removeprefix("new_").replace("_", "").upper()
        for name in _CHANGES
    }
    unchanged: Any = {
        name: None
        for name, flag in flags.items()
        if not request.valid & SetattrValid[flag]
    }
    return attrs.evolve(request, **unchanged)


_locks = st.builds(FileLock, start=u64, end=u64, type=u32, pid=u32)


def _locking(request: type[r.Getlk]) -> Callable[[Any], st.SearchStrategy[r.Request]]:
    def build(_: object) -> st.SearchStrategy[r.Request]:
        own: dict[str, st.SearchStrategy[Any]] = {
            "fh": u64,
            "owner": u64,
            "lock": _locks,
            "lk_flags": u32,
        }
        return st.builds(request, **_caller(), **own)

    return build


_SPECIAL: dict[type[r.Request], Callable[[Any], st.SearchStrategy[r.Request]]] = {
    r.Getattr: _getattrs,
    r.Statx: _statxs,
    r.Setattr: _setattrs,
    r.Getlk: _locking(r.Getlk),
    r.Setlk: _locking(r.Setlk),
    r.Setlkw: _locking(r.Setlkw),
}


# --- Answers

#: Lifetimes that nanoseconds and floats hold alike, and for ever.
_valid = st.one_of(
    st.integers(0, 2**20).map(lambda count: count / 512),
    st.integers(0, 2**32 - 1).map(float),
    st.just(math.inf),
)

_KINDS = [
    stat.S_IFREG,
    stat.S_IFDIR,
    stat.S_IFLNK,
    stat.S_IFCHR,
    stat.S_IFBLK,
    stat.S_IFIFO,
    stat.S_IFSOCK,
]


def _modes(*kinds: int) -> st.SearchStrategy[int]:
    return st.builds(int.__or__, st.sampled_from(kinds), st.integers(0, 0o7777))


def attributes(*kinds: int) -> st.SearchStrategy[FileAttr]:
    """Return what GETATTR may answer, of some types of file."""
    return st.builds(
        FileAttr,
        ino=u64,
        mode=_modes(*kinds or _KINDS),
        nlink=u32,
        size=st.integers(0, 2**63 - 1),
        blocks=u64,
        uid=u32,
        gid=u32,
        rdev=u32,
        atime_ns=_times,
        mtime_ns=_times,
        ctime_ns=_times,
        btime_ns=st.none(),
        blksize=u32,
        flags=u32,
        attributes=st.just(0),
        attr_valid=_valid,
    )


def entries(*kinds: int, known: bool = True) -> st.SearchStrategy[Entry]:
    """Return what LOOKUP may answer; unless it must be known, also what is not."""
    nodeids = st.integers(2, 2**64 - 1)
    found = st.builds(
        Entry,
        attr=attributes(*kinds),
        nodeid=nodeids,
        generation=u64,
        entry_valid=_valid,
    )
    return found if known else st.one_of(found, st.builds(Entry.negative, _valid))


_opened = st.builds(Opened, fh=u64, flags=u32, backing_id=s32)

_statx = st.builds(
    attrs.evolve,
    attributes(),
    flags=st.just(0),
    btime_ns=st.one_of(st.none(), _times),
    attributes=u64,
)

#: Locks that the kernel believes.
_ranges = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)).map(sorted)
_held = st.builds(
    lambda range_, kind, pid: FileLock(range_[0], range_[1], kind, pid),
    _ranges,
    st.sampled_from([0, 1, 2]),
    u32,
)

Answer = Callable[[Any], st.SearchStrategy[Any]]


def _always(strategy: st.SearchStrategy[T]) -> Answer:
    return lambda request: strategy


def _up_to(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=min(size, 300))


_xattr_names = st.lists(paths, max_size=6)

#: What a method may answer to a request, by opcode.
ANSWERS: dict[int, Answer] = {
    Opcode.LOOKUP: _always(entries(known=False)),
    Opcode.GETATTR: _always(attributes()),
    Opcode.SETATTR: _always(attributes()),
    Opcode.READLINK: _always(paths),
    Opcode.SYMLINK: _always(entries(stat.S_IFLNK)),
    Opcode.MKNOD: _always(entries(stat.S_IFIFO)),
    Opcode.MKDIR: _always(entries(stat.S_IFDIR)),
    Opcode.LINK: _always(entries()),
    Opcode.OPEN: _always(_opened),
    Opcode.OPENDIR: _always(_opened),
    Opcode.READ: lambda request: _up_to(request.size),
    Opcode.WRITE: lambda request: st.integers(0, request.size),
    Opcode.STATFS: _always(st.builds(Statfs, u64, u64, u64, u64, u64, u32, u32, u32)),
    Opcode.GETXATTR: lambda request: _up_to(request.size),
    Opcode.LISTXATTR: _always(_xattr_names),
    Opcode.GETLK: _always(_held),
    Opcode.CREATE: _always(st.tuples(entries(stat.S_IFREG), _opened)),
    Opcode.TMPFILE: _always(st.tuples(entries(stat.S_IFREG), _opened)),
    Opcode.BMAP: _always(u64),
    Opcode.IOCTL: lambda request: st.builds(IoctlReply, s32, _up_to(request.out_size)),
    Opcode.POLL: _always(u32),
    Opcode.LSEEK: _always(s64),
    Opcode.COPY_FILE_RANGE: lambda request: st.integers(0, min(request.len, 2**32 - 1)),
    Opcode.STATX: _always(_statx),
    Opcode.COPY_FILE_RANGE_64: lambda request: st.integers(0, request.len),
}


# --- Directories


def listings(*, numbered: bool = False) -> st.SearchStrategy[list[DirEntry]]:
    """Return directories of up to 40 names, with entries or without."""
    own = st.one_of(st.none(), entries(known=False))
    kinds = st.sampled_from([0, *_KINDS])
    one = st.builds(DirEntry, names, u64, kinds, st.none(), own)
    several = st.lists(one, max_size=40, unique_by=lambda entry: entry.name)
    dots = st.sampled_from([[], [DirEntry(".", 1), DirEntry("..", 2)]])
    whole = st.builds(lambda first, rest: first + rest, dots, several.map(_undotted))
    return whole.map(_numbered) if numbered else whole


def _undotted(found: list[DirEntry]) -> list[DirEntry]:
    return [entry for entry in found if entry.name not in (".", "..")]


def _numbered(found: list[DirEntry]) -> list[DirEntry]:
    """Give each entry a cookie of its own: growing, and with gaps."""
    return [
        attrs.evolve(entry, offset=7 * place + 3)
        for place, entry in enumerate(found, start=1)
    ]
