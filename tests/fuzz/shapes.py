"""What a message consists of, by opcode, and what its request must say then.

The law: a request says all that its message says, byte for byte, but for padding
and for fields that are not valid.  The decoders have no part in it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping

import attrs

from triofuse.filesystem import requests as r
from triofuse.filesystem.flags import GetattrFlags, InitFlags, SetattrValid
from triofuse.testing.messages import (
    encode_extensions,
    encode_names,
    encode_request,
)
from triofuse.wire import control as c, layouts
from triofuse.wire.control import CONTROL
from triofuse.wire.decode import Decoder, Message, peek, peek_caller, peek_unique
from triofuse.wire.errors import ProtocolError
from triofuse.wire.layouts import IN_HEADER, NOTHING, Layout
from triofuse.wire.opcodes import Opcode
from triofuse.wire.operations import operations_for

__all__ = ["DIALECTS", "SHAPES", "Dialect", "Shape", "check", "encode_again"]

_NS = 1_000_000_000


@attrs.frozen
class Shape:
    """The parts of a message behind its header, in their order.

    Attributes:
      request: What it becomes.
      layout: The struct; nothing by default.
      names: The attributes that are names, each with a NUL.
      payload: The attribute that is the rest.
      size: The field that says how long it is.
      item: The layout of each of ``items``.
      extended: Whether extensions may follow.
      paths: The names that may have a slash.
    """

    request: type[r.Request]
    layout: Layout = NOTHING
    names: tuple[str, ...] = ()
    payload: str = ""
    size: str = ""
    item: Layout | None = None
    extended: bool = False
    paths: frozenset[str] = frozenset()


def _making(request: type[r.Request], layout: Layout = NOTHING) -> Shape:
    return Shape(request, layout, ("name",), extended=True)


_NAME = frozenset({"name"})

#: Of the newest protocol.
SHAPES: dict[int, Shape] = {
    Opcode.LOOKUP: Shape(r.Lookup, names=("name",)),
    Opcode.FORGET: Shape(r.Forget, layouts.FORGET_IN),
    Opcode.GETATTR: Shape(r.Getattr, layouts.GETATTR_IN),
    Opcode.SETATTR: Shape(r.Setattr, layouts.SETATTR_IN),
    Opcode.READLINK: Shape(r.Readlink),
    Opcode.SYMLINK: Shape(
        r.Symlink,
        names=("name", "target"),
        extended=True,
        paths=frozenset({"target"}),
    ),
    Opcode.MKNOD: _making(r.Mknod, layouts.MKNOD_IN),
    Opcode.MKDIR: _making(r.Mkdir, layouts.MKDIR_IN),
    Opcode.UNLINK: Shape(r.Unlink, names=("name",)),
    Opcode.RMDIR: Shape(r.Rmdir, names=("name",)),
    Opcode.RENAME: Shape(r.Rename, layouts.RENAME_IN, ("name", "newname")),
    Opcode.LINK: Shape(r.Link, layouts.LINK_IN, ("newname",)),
    Opcode.OPEN: Shape(r.Open, layouts.OPEN_IN),
    Opcode.READ: Shape(r.Read, layouts.READ_IN),
    Opcode.WRITE: Shape(r.Write, layouts.WRITE_IN, payload="data", size="size"),
    Opcode.STATFS: Shape(r.StatfsRequest),
    Opcode.RELEASE: Shape(r.Release, layouts.RELEASE_IN),
    Opcode.FSYNC: Shape(r.Fsync, layouts.FSYNC_IN),
    Opcode.SETXATTR: Shape(
        r.Setxattr, layouts.SETXATTR_IN, ("name",), "value", "size", paths=_NAME
    ),
    Opcode.GETXATTR: Shape(r.Getxattr, layouts.GETXATTR_IN, ("name",), paths=_NAME),
    Opcode.LISTXATTR: Shape(r.Listxattr, layouts.GETXATTR_IN),
    Opcode.REMOVEXATTR: Shape(r.Removexattr, names=("name",), paths=_NAME),
    Opcode.FLUSH: Shape(r.Flush, layouts.FLUSH_IN),
    Opcode.OPENDIR: Shape(r.Opendir, layouts.OPEN_IN),
    Opcode.READDIR: Shape(r.Readdir, layouts.READ_IN),
    Opcode.RELEASEDIR: Shape(r.Releasedir, layouts.RELEASE_IN),
    Opcode.FSYNCDIR: Shape(r.Fsyncdir, layouts.FSYNC_IN),
    Opcode.GETLK: Shape(r.Getlk, layouts.LK_IN),
    Opcode.SETLK: Shape(r.Setlk, layouts.LK_IN),
    Opcode.SETLKW: Shape(r.Setlkw, layouts.LK_IN),
    Opcode.ACCESS: Shape(r.Access, layouts.ACCESS_IN),
    Opcode.CREATE: _making(r.Create, layouts.CREATE_IN),
    Opcode.INTERRUPT: Shape(c.Interrupt, layouts.INTERRUPT_IN),
    Opcode.BMAP: Shape(r.Bmap, layouts.BMAP_IN),
    Opcode.DESTROY: Shape(c.Destroy),
    Opcode.IOCTL: Shape(r.Ioctl, layouts.IOCTL_IN, payload="data", size="in_size"),
    Opcode.POLL: Shape(r.Poll, layouts.POLL_IN),
    Opcode.NOTIFY_REPLY: Shape(
        c.NotifyReply, layouts.NOTIFY_RETRIEVE_IN, payload="data", size="size"
    ),
    Opcode.BATCH_FORGET: Shape(
        c.BatchForget, layouts.BATCH_FORGET_IN, item=layouts.FORGET_ONE
    ),
    Opcode.FALLOCATE: Shape(r.Fallocate, layouts.FALLOCATE_IN),
    Opcode.READDIRPLUS: Shape(r.Readdirplus, layouts.READ_IN),
    Opcode.RENAME2: Shape(r.Rename, layouts.RENAME2_IN, ("name", "newname")),
    Opcode.LSEEK: Shape(r.Lseek, layouts.LSEEK_IN),
    Opcode.COPY_FILE_RANGE: Shape(r.CopyFileRange, layouts.COPY_FILE_RANGE_IN),
    Opcode.SETUPMAPPING: Shape(c.Setupmapping, layouts.SETUPMAPPING_IN),
    Opcode.REMOVEMAPPING: Shape(
        c.Removemapping, layouts.REMOVEMAPPING_IN, item=layouts.REMOVEMAPPING_ONE
    ),
    Opcode.SYNCFS: Shape(r.Syncfs, layouts.SYNCFS_IN),
    Opcode.TMPFILE: attrs.evolve(_making(r.Tmpfile, layouts.CREATE_IN), paths=_NAME),
    Opcode.STATX: Shape(r.Statx, layouts.STATX_IN),
    Opcode.COPY_FILE_RANGE_64: Shape(r.CopyFileRange, layouts.COPY_FILE_RANGE_IN),
    Opcode.CUSE_INIT: Shape(c.CuseInit, layouts.CUSE_INIT_IN),
}

_OLDER = [(9, Opcode.WRITE, 24), (12, Opcode.MKNOD, 8), (12, Opcode.CREATE, 8)]


@attrs.frozen
class Dialect:
    """The protocol as one minor version has it.

    Attributes:
      minor: Of 7.minor.
      decoders: By opcode.
      shapes: Likewise.
    """

    minor: int
    decoders: Mapping[int, Decoder[r.Request]] = attrs.field(repr=False)
    shapes: Mapping[int, Shape] = attrs.field(repr=False)

    @classmethod
    def of(cls, minor: int, flags: InitFlags) -> Dialect:
        """Return the protocol of a minor version."""
        rows = operations_for(minor, flags)
        decoders = {opcode: row.decode for opcode, row in rows.items()}
        shapes = dict(SHAPES)
        older = [(opcode, size) for before, opcode, size in _OLDER if minor < before]
        if not flags & InitFlags.SETXATTR_EXT:
            older.append((Opcode.SETXATTR, 8))
        for opcode, size in older:
            shape = shapes[opcode]
            shapes[opcode] = attrs.evolve(shape, layout=shape.layout.prefix(size))
        return cls(minor, {**CONTROL, **decoders}, shapes)

    def shape_of(self, opcode: int, message: bytes) -> Shape:
        """Return the shape of a message: a SETXATTR from before INIT is short.

        Then the bytes of a name stand where the long one has flags that do not exist.
        """
        shape = self.shapes[opcode]
        flags = message[IN_HEADER.size + 8 : IN_HEADER.size + 12]
        if opcode == Opcode.SETXATTR and len(flags) == 4 and any(flags[1:]):
            return attrs.evolve(shape, layout=shape.layout.prefix(8))
        return shape


DIALECTS = [
    Dialect.of(45, InitFlags.SETXATTR_EXT),
    *(Dialect.of(minor, InitFlags(0)) for minor in (0, 3, 4, 8, 9, 11, 12, 44, 45)),
]


# --- From a request to its message


def encode_again(shape: Shape, opcode: int, request: r.Request) -> bytes:
    """Return the message of a request; what it does not say is 0."""
    fields = _fields(shape, request)
    body = shape.layout.pack(*(fields[name] or 0 for name in shape.layout.fields))
    caller = (request.uid, request.gid, request.pid)
    extensions = _extensions_of(request)
    body += _rest(shape, request)
    return encode_request(
        opcode, request.unique, request.nodeid, caller, body, extensions
    )


def _extensions_of(request: r.Request) -> bytes:
    granted = InitFlags(0)
    contexts = getattr(request, "security_contexts", ())
    groups = getattr(request, "groups", ())
    if contexts:
        granted |= InitFlags.SECURITY_CTX
    if groups:
        granted |= InitFlags.CREATE_SUPP_GROUP
    creator = {"security_contexts": contexts, "groups": groups}
    return encode_extensions(granted, creator)  # type: ignore[arg-type]


def _rest(shape: Shape, request: r.Request) -> bytes:
    """Return what stands between the struct and the extensions."""
    rest = encode_names(*(getattr(request, name) for name in shape.names))
    if shape.payload:
        rest += bytes(getattr(request, shape.payload))
    if shape.item is not None:
        items: tuple[tuple[int, int], ...] = getattr(request, "items")  # noqa: B009
        rest += b"".join(shape.item.pack(*item) for item in items)
    return rest


def _fields(shape: Shape, request: r.Request) -> dict[str, int | None]:
    """Return the fields of the struct as the request has them; None is not valid."""
    match request:
        case r.Setattr():
            return _setattr_fields(request)
        case r.Getlk(fh=fh, owner=owner, lock=lock, lk_flags=lk_flags):
            return {
                "fh": fh,
                "owner": owner,
                "lk.start": lock.start,
                "lk.end": lock.end,
                "lk.type": lock.type,
                "lk.pid": lock.pid,
                "lk_flags": lk_flags,
            }
        case c.Interrupt(target=target):
            return {"unique": target}
        case c.BatchForget(items=items) | c.Removemapping(items=items):
            return {"count": len(items)}
    return {name: getattr(request, name) for name in shape.layout.fields}


def _setattr_fields(request: r.Setattr) -> dict[str, int | None]:
    fields: dict[str, int | None] = {
        "valid": request.valid,
        "fh": request.fh,
        "size": request.size,
        "lock_owner": request.lock_owner,
        "mode": request.mode,
        "uid": request.new_uid,
        "gid": request.new_gid,
    }
    for name in ("atime", "mtime", "ctime"):
        time = getattr(request, f"{name}_ns")
        fields[name] = None if time is None else time // _NS
        fields[f"{name}nsec"] = None if time is None else time % _NS
    return fields


# --- From a message to what its request must be


def check(dialect: Dialect, message: bytes) -> r.Request | None:
    """Decode a message; see that it is refused, or that its request says the same.

    Returns:
      The request, None where there is a ProtocolError or no such opcode.

    Raises:
      AssertionError: The request says something else, or what it cannot.
      Exception: Whatever a decoder raises that is no ProtocolError.
    """
    whole = len(message) >= IN_HEADER.size
    honest = whole and struct.unpack_from("=I", message)[0] == len(message)
    for form in (message, memoryview(message)):
        assert _refuses(lambda form=form: peek(form)) != honest  # type: ignore[misc]
        assert _refuses(lambda form=form: peek_caller(form)) <= (not whole)  # type: ignore[misc]
        assert 0 <= peek_unique(form) < 2**64
    if not honest:
        return None
    opcode, unique = peek(message)
    assert peek_caller(message) == (opcode, unique, IN_HEADER.unpack_from(message)[6])
    decode = dialect.decoders.get(opcode)
    if decode is None:
        return None
    request = _decoded(decode, message)
    assert request == _decoded(decode, memoryview(message))
    if request is not None:
        _check_request(dialect.shape_of(opcode, message), message, request)
    return request


def _refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except ProtocolError:
        return True
    return False


def _decoded(decode: Decoder[r.Request], message: Message) -> r.Request | None:
    try:
        return decode(message)
    except ProtocolError as exc:
        said = exc
    assert said.length == len(message)
    assert str(said)
    assert said.field
    return None


def _check_request(shape: Shape, message: bytes, request: r.Request) -> None:
    assert type(request) is shape.request
    header = dict(zip(IN_HEADER.fields, IN_HEADER.unpack_from(message), strict=True))
    for name in ("unique", "nodeid", "uid", "gid", "pid"):
        assert getattr(request, name) == header[name], name
    found = dict(
        zip(
            shape.layout.fields,
            shape.layout.unpack_from(message, IN_HEADER.size),
            strict=True,
        )
    )
    _check_fields(request, _carried(request, found), _fields(shape, request))
    end = len(message) - 8 * header["total_extlen"] * shape.extended
    start = IN_HEADER.size + shape.layout.size
    assert _rest(shape, request) == message[start:end]
    if shape.size:
        assert getattr(request, shape.size) == len(getattr(request, shape.payload))
    for name in shape.names:
        _check_name(request, getattr(request, name), name in shape.paths)
    if shape.extended:
        _check_extensions(request, message[end:])


def _carried(request: r.Request, found: dict[str, int]) -> dict[str, int]:
    """Return the fields with nanoseconds that are less than a second."""
    if isinstance(request, r.Setattr):
        for name in ("atime", "mtime", "ctime"):
            more, found[f"{name}nsec"] = divmod(found[f"{name}nsec"], _NS)
            found[name] += more
    return found


def _check_fields(
    request: r.Request, found: dict[str, int], told: dict[str, int | None]
) -> None:
    absent = {name for name, value in told.items() if value is None}
    assert {name: told[name] for name in found.keys() - absent} == {
        name: found[name] for name in found.keys() - absent
    }
    for name in told.keys() - found.keys():  # an older struct ends before it
        assert told[name] == 0
    if isinstance(request, r.Getattr | r.Statx):
        with_fh = request.getattr_flags & GetattrFlags.FH
        assert absent == (set() if with_fh else {"fh"})
    elif isinstance(request, r.Setattr):
        for flag in SetattrValid:
            name = str(flag.name).lower().replace("lockowner", "lock_owner")
            if name in told:
                assert (name in absent) != bool(request.valid & flag), name
    else:
        assert not absent


def _check_name(request: r.Request, name: str, path: bool) -> None:
    assert name
    assert "\0" not in name
    if isinstance(request, r.Tmpfile):
        assert name == "/" or "/" not in name
    else:
        assert path or "/" not in name
    assert os.fsdecode(os.fsencode(name)) == name


def _check_extensions(request: r.Request, extensions: bytes) -> None:
    """See that contexts and groups are of the message's; a round trip shows the rest."""
    contexts: tuple[tuple[str, bytes], ...] = getattr(request, "security_contexts")  # noqa: B009
    groups: tuple[int, ...] = getattr(request, "groups")  # noqa: B009
    for name, value in contexts:
        assert os.fsencode(name) + b"\0" + value in extensions
    assert struct.pack(f"={len(groups)}I", *groups) in extensions
