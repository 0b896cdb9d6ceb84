"""The structs of linux/fuse.h, one line each.

A field is ``name:code``, with the code of Python's struct module.  A code without a
name is padding; all padding is explicit.  The byte order is the machine's.  Times and
seek offsets are signed.
"""

from __future__ import annotations

import struct
from typing import Self

__all__ = ["Layout"]


def _codes(declaration: str) -> str:
    return "".join(field.rpartition(":")[2] for field in declaration.split())


class Layout(struct.Struct):
    """A C struct: a `struct.Struct` with its name and its fields.

    Attributes:
      cname: Its name in linux/fuse.h.
      codes: The format, without byte order.
      fields: The names of the fields in order, without padding.
      absent: A zero for each field that a `prefix` leaves out.
    """

    __slots__ = ("absent", "cname", "codes", "declaration", "fields")

    def __new__(cls, cname: str, declaration: str) -> Self:  # noqa: ARG004, D102
        # Python 3.15 and PyPy set the format of a Struct in __new__().
        return super().__new__(cls, "=" + _codes(declaration))  # type: ignore[call-arg]

    def __init__(self, cname: str, declaration: str) -> None:
        names = [field.rpartition(":")[0] for field in declaration.split()]
        self.cname: str = cname
        self.declaration: str = declaration
        self.codes: str = _codes(declaration)
        self.fields: tuple[str, ...] = tuple(filter(None, names))
        self.absent: tuple[int, ...] = ()
        super().__init__("=" + self.codes)

    def inside(self, member: str) -> str:
        """Return the declaration of this struct as a member of another."""
        return " ".join(
            f"{member}.{field}" if ":" in field else field
            for field in self.declaration.split()
        )

    def before(self, last: Layout) -> struct.Struct:
        """Return the struct of all fields before the last member, a struct itself.

        To pack the two apart is faster than to pass all fields on.
        """
        return struct.Struct("=" + self.codes.removesuffix(last.codes))

    def prefix(self, size: int) -> Layout:
        """Return the older, shorter layout of the first ``size`` bytes."""
        fields = self.declaration.split()
        while Layout(self.cname, " ".join(fields)).size > size:
            fields.pop()
        shorter = Layout(self.cname, " ".join(fields))
        shorter.absent = (0,) * (len(self.fields) - len(shorter.fields))
        return shorter


NOTHING = Layout("", "")

# --- Parts

ATTR = Layout(
    "fuse_attr",
    "ino:Q size:Q blocks:Q atime:q mtime:q ctime:q atimensec:I mtimensec:I ctimensec:I"
    " mode:I nlink:I uid:I gid:I rdev:I blksize:I flags:I",
)
SX_TIME = Layout("fuse_sx_time", "tv_sec:q tv_nsec:I 4x")
STATX = Layout(
    "fuse_statx",
    "mask:I blksize:I attributes:Q nlink:I uid:I gid:I mode:H 2x ino:Q size:Q blocks:Q"
    f" attributes_mask:Q {SX_TIME.inside('atime')} {SX_TIME.inside('btime')}"
    f" {SX_TIME.inside('ctime')} {SX_TIME.inside('mtime')}"
    " rdev_major:I rdev_minor:I dev_major:I dev_minor:I 112x",
)
KSTATFS = Layout(
    "fuse_kstatfs",
    "blocks:Q bfree:Q bavail:Q files:Q ffree:Q bsize:I namelen:I frsize:I 28x",
)
FILE_LOCK = Layout("fuse_file_lock", "start:Q end:Q type:I pid:I")

# --- Headers and extensions

IN_HEADER = Layout(
    "fuse_in_header",
    "len:I opcode:I unique:Q nodeid:Q uid:I gid:I pid:I total_extlen:H 2x",
)
OUT_HEADER = Layout("fuse_out_header", "len:I error:i unique:Q")
EXT_HEADER = Layout("fuse_ext_header", "size:I type:I")
SECCTX_HEADER = Layout("fuse_secctx_header", "size:I nr_secctx:I")
SECCTX = Layout("fuse_secctx", "size:I 4x")
SUPP_GROUPS = Layout("fuse_supp_groups", "nr_groups:I")

# --- Requests

FORGET_IN = Layout("fuse_forget_in", "nlookup:Q")
FORGET_ONE = Layout("fuse_forget_one", "nodeid:Q nlookup:Q")
BATCH_FORGET_IN = Layout("fuse_batch_forget_in", "count:I 4x")
GETATTR_IN = Layout("fuse_getattr_in", "getattr_flags:I 4x fh:Q")
STATX_IN = Layout("fuse_statx_in", "getattr_flags:I 4x fh:Q sx_flags:I sx_mask:I")
MKNOD_IN = Layout("fuse_mknod_in", "mode:I rdev:I umask:I 4x")
MKDIR_IN = Layout("fuse_mkdir_in", "mode:I umask:I")
RENAME_IN = Layout("fuse_rename_in", "newdir:Q")
RENAME2_IN = Layout("fuse_rename2_in", "newdir:Q flags:I 4x")
LINK_IN = Layout("fuse_link_in", "oldnodeid:Q")
SETATTR_IN = Layout(
    "fuse_setattr_in",
    "valid:I 4x fh:Q size:Q lock_owner:Q atime:q mtime:q ctime:q"
    " atimensec:I mtimensec:I ctimensec:I mode:I 4x uid:I gid:I 4x",
)
OPEN_IN = Layout("fuse_open_in", "flags:I open_flags:I")
CREATE_IN = Layout("fuse_create_in", "flags:I mode:I umask:I open_flags:I")
RELEASE_IN = Layout("fuse_release_in", "fh:Q flags:I release_flags:I lock_owner:Q")
FLUSH_IN = Layout("fuse_flush_in", "fh:Q 4x 4x lock_owner:Q")
READ_IN = Layout(
    "fuse_read_in", "fh:Q offset:Q size:I read_flags:I lock_owner:Q flags:I 4x"
)
WRITE_IN = Layout(
    "fuse_write_in", "fh:Q offset:Q size:I write_flags:I lock_owner:Q flags:I 4x"
)
FSYNC_IN = Layout("fuse_fsync_in", "fh:Q fsync_flags:I 4x")
SETXATTR_IN = Layout("fuse_setxattr_in", "size:I flags:I setxattr_flags:I 4x")
GETXATTR_IN = Layout("fuse_getxattr_in", "size:I 4x")
LK_IN = Layout("fuse_lk_in", f"fh:Q owner:Q {FILE_LOCK.inside('lk')} lk_flags:I 4x")
ACCESS_IN = Layout("fuse_access_in", "mask:I 4x")
INIT_IN = Layout("fuse_init_in", "major:I minor:I max_readahead:I flags:I flags2:I 44x")
CUSE_INIT_IN = Layout("cuse_init_in", "major:I minor:I 4x flags:I")
INTERRUPT_IN = Layout("fuse_interrupt_in", "unique:Q")
BMAP_IN = Layout("fuse_bmap_in", "block:Q blocksize:I 4x")
IOCTL_IN = Layout("fuse_ioctl_in", "fh:Q flags:I cmd:I arg:Q in_size:I out_size:I")
POLL_IN = Layout("fuse_poll_in", "fh:Q kh:Q flags:I events:I")
FALLOCATE_IN = Layout("fuse_fallocate_in", "fh:Q offset:Q length:Q mode:I 4x")
LSEEK_IN = Layout("fuse_lseek_in", "fh:Q offset:q whence:I 4x")
COPY_FILE_RANGE_IN = Layout(
    "fuse_copy_file_range_in",
    "fh_in:Q off_in:Q nodeid_out:Q fh_out:Q off_out:Q len:Q flags:Q",
)
SYNCFS_IN = Layout("fuse_syncfs_in", "8x")
SETUPMAPPING_IN = Layout(
    "fuse_setupmapping_in", "fh:Q foffset:Q len:Q flags:Q moffset:Q"
)
REMOVEMAPPING_IN = Layout("fuse_removemapping_in", "count:I")
REMOVEMAPPING_ONE = Layout("fuse_removemapping_one", "moffset:Q len:Q")
NOTIFY_RETRIEVE_IN = Layout("fuse_notify_retrieve_in", "8x offset:Q size:I 4x 8x 8x")

# --- Replies

ENTRY_OUT = Layout(
    "fuse_entry_out",
    "nodeid:Q generation:Q entry_valid:Q attr_valid:Q"
    f" entry_valid_nsec:I attr_valid_nsec:I {ATTR.inside('attr')}",
)
ATTR_OUT = Layout(
    "fuse_attr_out", f"attr_valid:Q attr_valid_nsec:I 4x {ATTR.inside('attr')}"
)
STATX_OUT = Layout(
    "fuse_statx_out",
    f"attr_valid:Q attr_valid_nsec:I flags:I 16x {STATX.inside('stat')}",
)
OPEN_OUT = Layout("fuse_open_out", "fh:Q open_flags:I backing_id:i")
WRITE_OUT = Layout("fuse_write_out", "size:I 4x")
STATFS_OUT = Layout("fuse_statfs_out", KSTATFS.inside("st"))
GETXATTR_OUT = Layout("fuse_getxattr_out", "size:I 4x")
LK_OUT = Layout("fuse_lk_out", FILE_LOCK.inside("lk"))
INIT_OUT = Layout(
    "fuse_init_out",
    "major:I minor:I max_readahead:I flags:I max_background:H congestion_threshold:H"
    " max_write:I time_gran:I max_pages:H map_alignment:H flags2:I max_stack_depth:I"
    " request_timeout:H 22x",
)
CUSE_INIT_OUT = Layout(
    "cuse_init_out",
    "major:I minor:I 4x flags:I max_read:I max_write:I dev_major:I dev_minor:I 40x",
)
BMAP_OUT = Layout("fuse_bmap_out", "block:Q")
IOCTL_OUT = Layout("fuse_ioctl_out", "result:i flags:I in_iovs:I out_iovs:I")
IOCTL_IOVEC = Layout("fuse_ioctl_iovec", "base:Q len:Q")
POLL_OUT = Layout("fuse_poll_out", "revents:I 4x")
LSEEK_OUT = Layout("fuse_lseek_out", "offset:q")
COPY_FILE_RANGE_OUT = Layout("fuse_copy_file_range_out", "bytes_copied:Q")
DIRENT = Layout("fuse_dirent", "ino:Q off:Q namelen:I type:I")
DIRENTPLUS = Layout(
    "fuse_direntplus", f"{ENTRY_OUT.inside('entry_out')} {DIRENT.inside('dirent')}"
)

# --- Notifications

NOTIFY_POLL_WAKEUP_OUT = Layout("fuse_notify_poll_wakeup_out", "kh:Q")
NOTIFY_INVAL_INODE_OUT = Layout("fuse_notify_inval_inode_out", "ino:Q off:q len:q")
NOTIFY_INVAL_ENTRY_OUT = Layout(
    "fuse_notify_inval_entry_out", "parent:Q namelen:I flags:I"
)
NOTIFY_DELETE_OUT = Layout("fuse_notify_delete_out", "parent:Q child:Q namelen:I 4x")
NOTIFY_STORE_OUT = Layout("fuse_notify_store_out", "nodeid:Q offset:Q size:I 4x")
NOTIFY_RETRIEVE_OUT = Layout(
    "fuse_notify_retrieve_out", "notify_unique:Q nodeid:Q offset:Q size:I 4x"
)
NOTIFY_PRUNE_OUT = Layout("fuse_notify_prune_out", "count:I 4x 8x")

# --- The argument of an ioctl on the device

BACKING_MAP = Layout("fuse_backing_map", "fd:i flags:I 8x")

# --- io_uring: part of the protocol, but not decoded here

URING_ENT_IN_OUT = Layout(
    "fuse_uring_ent_in_out", "flags:Q commit_id:Q payload_sz:I 4x 8x"
)
URING_REQ_HEADER = Layout(
    "fuse_uring_req_header",
    f"in_out:128s op_in:128s {URING_ENT_IN_OUT.inside('ring_ent_in_out')}",
)
URING_CMD_REQ = Layout("fuse_uring_cmd_req", "flags:Q commit_id:Q qid:H 6x")
