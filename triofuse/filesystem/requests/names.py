"""Requests about names in the directory ``nodeid``; names as of os.listdir."""

from __future__ import annotations

import attrs

from triofuse.filesystem.requests.request import Request

__all__ = [
    "Create",
    "Link",
    "Lookup",
    "Mkdir",
    "Mknod",
    "Rename",
    "Rmdir",
    "Symlink",
    "Tmpfile",
    "Unlink",
]


@attrs.define(eq=False, repr=False)
class Lookup(Request):
    """Find ``name`` in the directory ``nodeid`` (FUSE_LOOKUP).

    Attributes:
      name: The name.  With ``InitFlags.EXPORT_SUPPORT`` also ``.`` and ``..``, to
        resolve file handles.  ``.`` is the node itself: it may be a file, and the
        kernel may have forgotten it (ESTALE if it is gone).  ``..`` is its parent.
    """

    name: str


@attrs.define(eq=False, repr=False)
class Unlink(Request):
    """Remove the file ``name`` (FUSE_UNLINK, unlink(2)).

    Attributes:
      name: The name.  Open files and nodes with a lookup count stay usable.
    """

    name: str


@attrs.define(eq=False, repr=False)
class Rmdir(Request):
    """Remove the empty directory ``name`` (FUSE_RMDIR, rmdir(2)).

    Attributes:
      name: The name.
    """

    name: str


@attrs.define(eq=False, repr=False)
class Link(Request):
    """Make ``newname`` another name of an inode (``struct fuse_link_in``, link(2)).

    Attributes:
      oldnodeid: The inode; ``nodeid`` is the directory of the new name.
      newname: The new name.
    """

    oldnodeid: int
    newname: str


@attrs.define(eq=False, repr=False)
class Rename(Request):
    """Rename ``name`` to ``newname`` in ``newdir`` (``struct fuse_rename2_in``).

    Attributes:
      newdir: The directory of the new name.
      name: The old name; ``nodeid`` is its directory.
      newname: The new name.
      flags: `RenameFlags`; always 0 in ``rename``.
    """

    newdir: int
    name: str
    newname: str
    flags: int = 0


@attrs.define(eq=False, repr=False)
class Symlink(Request):
    """Make ``name`` a symbolic link to ``target`` (FUSE_SYMLINK, symlink(2)).

    Attributes:
      name: The name.
      target: The text that readlink(2) returns.
      security_contexts: Extended attributes to set at once (FUSE_SECURITY_CTX).
      groups: The supplementary groups of the caller that are relevant
        (FUSE_CREATE_SUPP_GROUP).
    """

    name: str
    target: str
    security_contexts: tuple[tuple[str, bytes], ...] = ()
    groups: tuple[int, ...] = ()


@attrs.define(eq=False, repr=False)
class Mkdir(Request):
    """Make the directory ``name`` (``struct fuse_mkdir_in``, mkdir(2)).

    Attributes:
      mode: Permissions.  The kernel has applied ``umask`` already, except with
        ``InitFlags.DONT_MASK``.
      umask: The umask of the caller.
      name: The name.
      security_contexts: Extended attributes to set at once (FUSE_SECURITY_CTX).
      groups: The supplementary groups of the caller that are relevant
        (FUSE_CREATE_SUPP_GROUP).
    """

    mode: int
    umask: int
    name: str
    security_contexts: tuple[tuple[str, bytes], ...] = ()
    groups: tuple[int, ...] = ()


@attrs.define(eq=False, repr=False)
class Mknod(Request):
    """Make the file, device, pipe or socket ``name`` (``struct fuse_mknod_in``).

    Attributes:
      mode: File type and permissions, as in `Mkdir`.
      rdev: The device number, as of ``os.makedev``.
      umask: The umask of the caller.
      name: The name.
      security_contexts: Extended attributes to set at once (FUSE_SECURITY_CTX).
      groups: The supplementary groups of the caller that are relevant
        (FUSE_CREATE_SUPP_GROUP).
    """

    mode: int
    rdev: int
    umask: int
    name: str
    security_contexts: tuple[tuple[str, bytes], ...] = ()
    groups: tuple[int, ...] = ()


@attrs.define(eq=False, repr=False)
class Create(Request):
    """Make the regular file ``name`` and open it (``struct fuse_create_in``).

    Attributes:
      flags: The flags of open(2): ``os.O_RDWR`` and so on.
      mode: File type (regular) and permissions, as in `Mkdir`.
      umask: The umask of the caller.
      open_flags: `OpenInFlags`.
      name: The name.
      security_contexts: Extended attributes to set at once (FUSE_SECURITY_CTX).
      groups: The supplementary groups of the caller that are relevant
        (FUSE_CREATE_SUPP_GROUP).
    """

    flags: int
    mode: int
    umask: int
    open_flags: int
    name: str
    security_contexts: tuple[tuple[str, bytes], ...] = ()
    groups: tuple[int, ...] = ()


class Tmpfile(Create):
    """Make a regular file without a name and open it (FUSE_TMPFILE, O_TMPFILE).

    ``nodeid`` is the directory that open(2) named; ``name`` is ``/``.
    """

    __slots__ = ()
