"""MountError: which step of a mount or unmount failed, why, and the remedy."""

from __future__ import annotations

import errno
import os

from triofuse.filesystem.words import shown

__all__ = ["MountError", "errno_of_words"]

_REMEDIES = {
    ("stat", errno.ENOENT): "create it first",
    ("stat", errno.ENOTDIR): "choose a directory or a regular file",
    ("stat", errno.EACCES): (
        "a directory on the way may not be searched, or another user's FUSE "
        "filesystem is mounted there"
    ),
    ("stat", errno.ENOTCONN): (
        "a filesystem that has died is still mounted there: unmount it with "
        "'umount -l', or let the option clear_stale do it"
    ),
    ("mount(2)", errno.EPERM): (
        "be root or have CAP_SYS_ADMIN, or install fuse3 for its fusermount3"
    ),
    ("mount(2)", errno.EACCES): (
        "a directory on the way may not be searched, or a security module forbids it"
    ),
    ("mount(2)", errno.ENODEV): "load FUSE with 'modprobe fuse'",
    ("mount(2)", errno.ENOENT): "the mountpoint has just vanished",
    ("mount(2)", errno.ENOTDIR): "the mountpoint has just changed its type",
    ("auto_unmount", errno.ENOSYS): (
        "sys.executable must be a Python interpreter: a frozen program has none"
    ),
    ("auto_unmount", errno.EACCES): "this user must be allowed to run sys.executable",
    ("auto_unmount", errno.ENOEXEC): (
        "sys.executable, run with -I -S, must be a Python interpreter that works"
    ),
    ("/proc/self/fd", errno.ENOENT): "mount /proc",
    ("fusermount3", errno.ENODEV): "load FUSE with 'modprobe fuse'",
    ("fusermount3", errno.EACCES): (
        "mount on a directory or file of your own, that you may write to"
    ),
    ("umount2", errno.EPERM): (
        "be root or have CAP_SYS_ADMIN, or install fuse3 for its fusermount3; a server "
        "that gives up being root needs the option auto_unmount"
    ),
    ("find the mount", errno.EACCES): (
        "a server that gives up being root needs the option auto_unmount"
    ),
    ("find the mount", errno.EBUSY): (
        "another mount covers it: unmount that one first; the filesystem itself ends "
        "when its device is closed"
    ),
    ("find the mount", errno.ENOENT): (
        "another mount covers the way to it: unmount that one first; the filesystem "
        "itself ends when its device is closed"
    ),
    ("/dev/fd", errno.EBADF): "whoever starts this program must pass the descriptor",
    ("/dev/fd", errno.ENODEV): "pass a descriptor of /dev/fuse",
    ("/dev/fd", errno.ENOTCONN): (
        "mount the filesystem before passing the descriptor on"
    ),
}

#: Messages of fusermount3 (a part of each), their errno and the remedy.
_FUSERMOUNT_MESSAGES = (
    (
        "user_allow_other",
        errno.EPERM,
        "put the line user_allow_other into /etc/fuse.conf, or do without allow_other",
    ),
    (
        "mount failed: Operation not permitted",
        errno.EPERM,
        (
            "a container needs the capability SYS_ADMIN, a user namespace a mount "
            "namespace of its own as in 'unshare -Urm'"
        ),
    ),
    (
        "/dev/fuse: Permission denied",
        errno.EACCES,
        "its mode is usually 0666: ask the administrator for access",
    ),
    ("mount_max", errno.EMFILE, "raise mount_max in /etc/fuse.conf"),
    ("unknown option", errno.EINVAL, "only root, who mounts by mount(2), may use it"),
    ("not owned by user", errno.EACCES, "mount on a directory of your own"),
    ("no write access", errno.EACCES, "mount on a directory that you may write to"),
    ("is forbidden", errno.EPERM, "mount on a filesystem that holds files of yours"),
    ("device not found", errno.ENODEV, "load FUSE with 'modprobe fuse'"),
    (
        "not found in /etc/mtab",
        errno.EPERM,
        (
            "only who mounted it may unmount it: a server that changes its user needs "
            "the option auto_unmount"
        ),
    ),
)


_UNMOUNTING = frozenset({"find the mount", "umount2", "fusermount3 -u"})


class MountError(OSError):
    """A mount or unmount failed: at which step, and why.

    Args:
      number: The errno.
      mountpoint: The mountpoint.
      step: The step that failed: ``stat``, ``open /dev/fuse``, ``auto_unmount``,
        ``mount(2)`` (also for fsopen(2) and the like), ``fusermount3``,
        ``/proc/self/fd``, ``/proc/self/mountinfo``, ``clear_stale``,
        ``find the mount``, ``umount2``, ``fusermount3 -u`` or ``/dev/fd``.
      words: The message of the step, in place of the errno's own text.
      remedy: The remedy; by default that of the step and the errno.

    Attributes:
      errno: As above.
      filename: The mountpoint.
      mountpoint: The same.
      step: As above.
      words: As above; empty where there are none.
      remedy: As above; empty where none is known.
    """

    def __init__(
        self,
        number: int,
        mountpoint: str,
        step: str,
        words: str = "",
        remedy: str | None = None,
    ) -> None:
        super().__init__(number, os.strerror(number), mountpoint)
        self.mountpoint = mountpoint
        self.step = step
        self.words = words
        advice = _advice(number, step, words) if remedy is None else remedy
        self.remedy: str = advice

    def __reduce__(self) -> tuple[type[MountError], tuple[int | str | None, ...]]:
        state = (self.errno, self.mountpoint, self.step, self.words, self.remedy)
        return type(self), state

    def __str__(self) -> str:
        deed = "unmount" if self.step in _UNMOUNTING else "mount on"
        reason = shown(self.words) or f"{self.step}: {self.strerror}"
        advice = f" ({shown(self.remedy)})" if self.remedy else ""
        return f"cannot {deed} {shown(self.mountpoint)}: {reason}{advice}"


def errno_of_words(words: str) -> int:
    """Return the errno that a message of fusermount3 stands for; EPERM if unknown."""
    for part, number, _ in _FUSERMOUNT_MESSAGES:
        if part in words:
            return number
    known = (
        number for number in errno.errorcode if words.endswith(os.strerror(number))
    )
    return next(known, errno.EPERM)


def _advice(number: int, step: str, words: str) -> str:
    for part, _, remedy in _FUSERMOUNT_MESSAGES:
        if part in words:
            return remedy
    return _REMEDIES.get((step, number), "")
