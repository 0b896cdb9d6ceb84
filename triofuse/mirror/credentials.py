"""Credentials: whose rights the mirror uses when it acts for a caller.

The kernel has checked the caller's permissions before it asks.  What is left to the
filesystem below is what it alone can check: quotas, the blocks kept for root, owners of
what is made, file attributes that only some may change.  So the law is: the serving
thread has no capability that a user's request must not use, and takes on the caller's
ids where they matter.  Ids and capabilities are a thread's: no await inside.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import TypeVar

import attrs

from triofuse.filesystem.requests import Create, Mkdir, Mknod, Request, Symlink
from triofuse.mirror import libc

T = TypeVar("T")

#: The user and group of callers that cannot be seen; also of nobody in particular.
NOBODY = 65534

#: The uid of most requests when ALLOW_IDMAP is agreed on (INVALID_UID).
_NO_ID = 2**32 - 1


class Capability(IntEnum):
    """Those of capabilities(7) that matter here, by their bit."""

    FSETID = 4
    LINUX_IMMUTABLE = 9
    SYS_ADMIN = 21
    SYS_RESOURCE = 24


@attrs.frozen
class Caller:
    """The thread that makes a request.

    Attributes:
      uid: Its filesystem uid, in the server's user namespace.
      gid: Its filesystem gid, likewise.
      groups: Its supplementary groups.
      capabilities: Those it may use on files of the server's, bit N is number N: none
        in another user namespace, where CapEff speaks of that one only.
    """

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    capabilities: int = 0

    @classmethod
    def of(cls, request: Request) -> Caller:
        """Look at who waits for a request; proc(5) knows what the request does not.

        A thread of another PID namespace has pid 0 and cannot be seen: it gets the ids
        of the request, if there are any, and no rights beyond them.
        """
        try:
            with open(f"/proc/{request.pid}/status", "rb", buffering=0) as file:
                status = file.read(8192)
            uid, gid = (int(_words(status, name)[3]) for name in (b"Uid", b"Gid"))
            groups = frozenset(map(int, _words(status, b"Groups")))
            (effective,) = _words(status, b"CapEff")
            ours = int(effective, 16) if _is_in_our_namespace(request) else 0
        except (OSError, KeyError):
            known = request.uid != _NO_ID
            return cls(*((request.uid, request.gid) if known else (NOBODY, NOBODY)))
        return cls(uid, gid, groups, ours)

    def may(self, capability: Capability) -> bool:
        """Whether it has a capability."""
        return bool(self.capabilities >> capability & 1)

    def is_in(self, gid: int) -> bool:
        """Whether a group is among its own."""
        return gid == self.gid or gid in self.groups


def _words(status: bytes, name: bytes) -> list[bytes]:
    """Return what a line of a status says."""
    _, found, rest = status.partition(b"\n" + name + b":")
    if not found:
        raise KeyError(name)
    return rest.partition(b"\n")[0].split()


def ids_of(request: Request) -> tuple[int, int]:
    """Return uid and gid of a `Caller`, in a tenth of the time where the kernel can."""
    try:
        return libc.filesystem_ids(request.pid)
    except OSError:
        caller = Caller.of(request)
        return caller.uid, caller.gid


def _is_in_our_namespace(request: Request) -> bool:
    theirs = os.readlink(f"/proc/{request.pid}/ns/user")
    return theirs == os.readlink("/proc/self/ns/user")


def drop(capability: Capability) -> None:
    """Use a capability no more in this thread, until `take_up`."""
    libc.set_effective(libc.effective() & ~(1 << capability))


def take_up(capability: Capability) -> None:
    """Use a capability again, if it is permitted."""
    libc.set_effective(libc.effective() | 1 << capability)


@contextlib.contextmanager
def using(capabilities: int) -> Iterator[None]:
    """Use exactly these capabilities, those of them that are permitted."""
    previous = libc.effective()
    libc.set_effective(capabilities)
    try:
        yield
    finally:
        libc.set_effective(previous)


def charged(request: Request, act: Callable[[], T]) -> T:
    """Do what may take up space: past a quota only for who may pass it.

    The thread is without CAP_SYS_RESOURCE, so the filesystem below says where the
    limit is.  Only then is it worth a look who calls.
    """
    try:
        return act()
    except OSError as exc:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full or not Caller.of(request).may(Capability.SYS_RESOURCE):
            raise
    with using(libc.effective() | 1 << Capability.SYS_RESOURCE):
        return act()


def charged_anywhere(request: Request, act: Callable[[], T]) -> T:
    """Do the same in a worker thread, which has what capabilities it was born with."""
    with using(libc.effective() & ~(1 << Capability.SYS_RESOURCE)):
        return charged(request, act)


_SECBIT_NO_SETUID_FIXUP = 1 << 2


def _become(set_id: Callable[[int], int], number: int) -> None:
    """Set an id, and look: setfsuid(2) and setfsgid(2) do not say if they failed."""
    set_id(number)
    if set_id(-1) != number:
        raise PermissionError(errno.EPERM, f"cannot act as user or group {number}")


@contextlib.contextmanager
def _supplementary(groups: Sequence[int]) -> Iterator[None]:
    """Be in these groups besides one's own."""
    previous = os.getgroups()
    if groups:
        os.setgroups([*previous, *groups])
    try:
        yield
    finally:
        if groups:
            os.setgroups(previous)


@contextlib.contextmanager
def _filesystem_ids(uid: int, gid: int) -> Iterator[None]:
    """Own what this thread makes by these ids, and keep its capabilities."""
    securebits = libc.securebits()
    libc.set_securebits(securebits | _SECBIT_NO_SETUID_FIXUP)
    try:
        _become(libc.setfsgid, gid)
        _become(libc.setfsuid, uid)
        yield
    finally:
        libc.setfsuid(os.geteuid())
        libc.setfsgid(os.getegid())
        libc.set_securebits(securebits)


@contextlib.contextmanager
def writing_as(uid: int, gid: int) -> Iterator[None]:
    """Write to files that are open as somebody else would: blocks are kept by uid.

    Only root can; anybody else writes as itself.
    """
    if os.geteuid() or (uid, gid) == (0, 0):
        yield
    else:
        with _filesystem_ids(uid, gid):
            yield


@contextlib.contextmanager
def acting_as(
    uid: int, gid: int, umask: int, groups: Sequence[int] = ()
) -> Iterator[None]:
    """Make files as somebody else would.

    What is made has its owner from the start, so that quotas, setgid directories
    and default ACLs do what they would do for that owner.  The rights are those of
    this thread: the kernel has checked the caller's, with all of its groups.  The
    groups are for a server below, which may check them once more.

    The umask and the groups are the process's.

    Raises:
      PermissionError: Only root can be somebody else.
    """
    previous = os.umask(umask)
    try:
        if (uid, gid) == (os.geteuid(), os.getegid()):
            yield
        else:
            with _supplementary(groups), _filesystem_ids(uid, gid):
                yield
    finally:
        os.umask(previous)


def making_as_caller(
    request: Create | Mkdir | Mknod | Symlink, act: Callable[[], T], umask: int
) -> T:
    """Make something as the caller would, who then owns it."""

    def make() -> T:
        with acting_as(request.uid, request.gid, umask, request.groups):
            return act()

    return charged(request, make)
