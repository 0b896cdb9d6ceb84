"""Every number and layout of triofuse against what a C compiler says."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import pytest

from tests.wire import oracle
from triofuse.filesystem import flags as f
from triofuse.wire import decode, layouts, notifications, opcodes
from triofuse.wire.control import CONTROL
from triofuse.wire.layouts import Layout
from triofuse.wire.opcodes import NotifyCode, Opcode
from triofuse.wire.operations import OPERATIONS

LAYOUTS = {
    layout.cname: layout
    for layout in vars(layouts).values()
    if isinstance(layout, Layout) and layout.cname
}

#: Each enum, its group in the oracle, and the prefix that its members drop.
ENUMS: list[tuple[type[IntFlag], str, str]] = [
    (f.InitFlags, "init", "FUSE_"),
    (f.OpenFlags, "fopen", "FOPEN_"),
    (f.SetattrValid, "fattr", "FATTR_"),
    (f.OpenInFlags, "open_in", "FUSE_OPEN_"),
    (f.GetattrFlags, "getattr", "FUSE_GETATTR_"),
    (f.SetxattrInFlags, "setxattr", "FUSE_SETXATTR_"),
    (f.ReadFlags, "read", "FUSE_READ_"),
    (f.WriteFlags, "write", "FUSE_WRITE_"),
    (f.ReleaseFlags, "release", "FUSE_RELEASE_"),
    (f.FsyncFlags, "fsync", "FUSE_FSYNC_"),
    (f.LockFlags, "lk", "FUSE_LK_"),
    (f.PollFlags, "poll", "FUSE_POLL_"),
    (f.IoctlFlags, "ioctl", "FUSE_IOCTL_"),
    (f.AttrFlags, "attr", "FUSE_ATTR_"),
]

#: The same for what comes from other headers than linux/fuse.h.
RELATED: list[tuple[type[IntFlag | IntEnum], str, str]] = [
    (f.StatxMask, "statx_mask", "STATX_"),
    (f.StatxAttributes, "statx_attributes", "STATX_ATTR_"),
    (f.RenameFlags, "rename", "RENAME_"),
    (f.FallocateMode, "fallocate", "FALLOC_FL_"),
    (f.SetxattrFlags, "setxattr", "XATTR_"),
    (f.LockType, "lock_type", "F_"),
]

#: Names that are no identifiers, and an old name of KILL_SUIDGID.
RENAMED = {"FUSE_IOCTL_32BIT": "IS_32BIT", "FUSE_WRITE_KILL_PRIV": "KILL_SUIDGID"}

#: Groups that a filesystem never sees.
OTHER_GROUPS = {
    "cuse_init",  # /dev/cuse
    "setupmapping",  # virtiofs
    "notify_inval_entry",
    "unique",
    "ext_type",
}

#: Numbers that the header keeps so that nobody uses them: never sent.
RESERVED = {Opcode.CUSE_INIT_BSWAP_RESERVED, Opcode.INIT_BSWAP_RESERVED}


def unsigned(codes: str) -> str:
    """Forget about signs: the header is not careful with them."""
    return codes.replace("q", "Q").replace("i", "I")


def test_no_struct_of_the_header_is_missing_and_none_is_made_up() -> None:
    assert LAYOUTS.keys() == oracle.STRUCTS.keys()


@pytest.mark.parametrize("name", oracle.STRUCTS)
def test_a_layout_is_that_of_the_header(name: str) -> None:
    layout = LAYOUTS[name]
    struct = oracle.STRUCTS[name]
    lean = oracle.spelled_out(struct["format_lean"])

    assert layout.size == struct["size"]
    assert layout.fields == tuple(struct["format_lean_values"])
    assert unsigned(oracle.spelled_out(layout.codes)) == unsigned(lean)


def test_opcodes_are_those_of_the_header() -> None:
    numbers = {name: opcode["number"] for name, opcode in oracle.OPCODES.items()}

    assert numbers == {
        opcode.name if "CUSE" in opcode.name else f"FUSE_{opcode.name}": opcode
        for opcode in Opcode
    }


def test_notification_codes_are_those_of_the_header() -> None:
    numbers = {name: code["number"] for name, code in oracle.NOTIFY.items()}

    assert numbers == {f"FUSE_NOTIFY_{code.name}": code for code in NotifyCode}


@pytest.mark.parametrize("enum", [enum for enum, _, _ in ENUMS[1:]])
def test_a_bit_of_a_request_is_a_plain_number(enum: type[IntFlag]) -> None:
    for flag in enum:
        assert type(-1 & flag) is int
        assert -1 & flag == flag
        assert 0 & flag == 0
        assert flag | flag is flag


@pytest.mark.parametrize(("enum", "group", "prefix"), ENUMS)
def test_flags_are_those_of_the_header(
    enum: type[IntFlag], group: str, prefix: str
) -> None:
    numbers = {
        RENAMED.get(name, name.removeprefix(prefix)): value
        for name, value in oracle.flags(group).items()
    }

    assert numbers == {name: flag.value for name, flag in enum.__members__.items()}


@pytest.mark.parametrize(("enum", "word", "prefix"), RELATED)
def test_numbers_of_other_headers_are_right(
    enum: type[IntFlag | IntEnum], word: str, prefix: str
) -> None:
    numbers = {
        name.removeprefix(prefix): value for name, value in oracle.related(word).items()
    }

    assert numbers == {name: int(flag) for name, flag in enum.__members__.items()}


def test_no_group_of_flags_is_overlooked() -> None:
    assert {group for _, group, _ in ENUMS} | OTHER_GROUPS == oracle.GROUPS.keys()


def test_flags_that_only_the_runtime_uses_are_those_of_the_header() -> None:
    kinds = oracle.flags("ext_type")

    assert oracle.flags("unique") == {"FUSE_UNIQUE_RESEND": opcodes.FUSE_UNIQUE_RESEND}
    assert kinds["FUSE_MAX_NR_SECCTX"] == decode._MAX_NR_SECCTX
    assert kinds["FUSE_EXT_GROUPS"] == decode._EXT_GROUPS
    assert oracle.flags("notify_inval_entry") == {
        "FUSE_EXPIRE_ONLY": notifications._EXPIRE_ONLY
    }


@pytest.mark.parametrize(
    "name",
    [
        "FUSE_KERNEL_VERSION",
        "FUSE_KERNEL_MINOR_VERSION",
        "FUSE_ROOT_ID",
        "FUSE_MIN_READ_BUFFER",
    ],
)
def test_constants_are_those_of_the_header(name: str) -> None:
    assert getattr(opcodes, name) == oracle.CONSTANTS[name]


def test_limits_are_those_of_the_kernel() -> None:
    assert oracle.LIMITS["header_room"]["value"] == opcodes.HEADER_ROOM
    assert oracle.LIMITS["interrupt_id_bit"]["value"] == opcodes.INTERRUPT_BIT


@pytest.mark.parametrize(
    ("layout", "constant"),
    [
        (layouts.ENTRY_OUT, "FUSE_COMPAT_ENTRY_OUT_SIZE"),
        (layouts.ATTR_OUT, "FUSE_COMPAT_ATTR_OUT_SIZE"),
        (layouts.MKNOD_IN, "FUSE_COMPAT_MKNOD_IN_SIZE"),
        (layouts.WRITE_IN, "FUSE_COMPAT_WRITE_IN_SIZE"),
        (layouts.STATFS_OUT, "FUSE_COMPAT_STATFS_SIZE"),
        (layouts.SETXATTR_IN, "FUSE_COMPAT_SETXATTR_IN_SIZE"),
        (layouts.INIT_OUT, "FUSE_COMPAT_INIT_OUT_SIZE"),
        (layouts.INIT_OUT, "FUSE_COMPAT_22_INIT_OUT_SIZE"),
    ],
)
def test_a_prefix_ends_at_a_field_and_knows_what_it_lacks(
    layout: Layout, constant: str
) -> None:
    size = oracle.CONSTANTS[constant]

    shorter = layout.prefix(size)

    assert shorter.size == size
    assert shorter.fields == layout.fields[: len(shorter.fields)]
    assert len(shorter.absent) == len(layout.fields) - len(shorter.fields)


def test_every_opcode_has_its_place() -> None:
    placed = [*OPERATIONS, *CONTROL, Opcode.INIT, *RESERVED]

    assert sorted(placed) == sorted(Opcode)


def test_the_table_of_operations_is_keyed_by_opcode() -> None:
    assert all(row.opcode == opcode for opcode, row in OPERATIONS.items())
