"""Mount options: checked when they are made, rendered once for each way to mount."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs
from attrs import validators

from triofuse.device import option_words as words
from triofuse.device.option_words import KERNEL_OWNED, NAMED, SWITCHES, VALUES

__all__ = ["MountOptions"]

# Of fsmount(2), from linux/mount.h.
_MOUNT_ATTR_NOATIME: Final = 0x10
_MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000

#: The flags that are the same number for fsmount(2) ...
_ATTRIBUTES: Final = (
    words.MS_RDONLY | words.MS_NOSUID | words.MS_NODEV | words.MS_NOEXEC
)

#: ... and those that fsconfig(2) knows as words: ``common_set_sb_flag`` in
#: fs/fs_context.c.
_SUPERBLOCK_FLAGS: Final = words.MS_RDONLY | words.MS_SYNCHRONOUS | words.MS_DIRSYNC

#: A comma ends an option, in the kernel as in fusermount3. Only the security
#: modules understand quotes: selinux_sb_eat_lsm_opts() in security/selinux/hooks.c.
_EXTRA = re.compile(r'[^,\0]+|(?:fs|def|root)?context="[^"\0]+"')

#: Bytes: the kernel takes a page with its NUL (copy_mount_string() in fs/namespace.c).
_LONGEST = mmap.PAGESIZE - 1

_QUOTED = re.compile(r'".*"', re.DOTALL)
_SPECIAL = re.compile(r"[\\,]")


def _check_text(_: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if "\0" in value:
        message = f"{attribute.name} cannot hold a NUL: {value!r}"
        raise ValueError(message)
    try:
        size = len(os.fsencode(value))
    except UnicodeEncodeError:
        message = f"{attribute.name} has a character that no name has: {value!r}"
        raise ValueError(message) from None
    if size > _LONGEST:
        message = f"{attribute.name} is longer than {_LONGEST} bytes: {value:.20}..."
        raise ValueError(message)


def _instance_of(kind: type, words: str) -> Any:
    """Return a validator that says what is due; that of attrs shows its own insides."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            message = f"{attribute.name} is {words}, not {value!r:.80}"
            raise TypeError(message)

    return check


def _check_extra(_: Any, __: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    if wrong := [word for word in value if not isinstance(word, str)]:
        message = f"extra is a tuple of str, and has {wrong[0]!r:.80}"
        raise TypeError(message)
    names = [word.partition("=")[0] for word in value]
    for word, name in zip(value, names, strict=True):
        if not _EXTRA.fullmatch(word):
            message = f"one option cannot hold a comma or a NUL, nor nothing: {word!r}"
        elif name in KERNEL_OWNED:
            message = f"mount(2) gets {name} from triofuse itself, not from {word!r}"
        elif name in SWITCHES or name in NAMED or name in VALUES:
            message = f"{word!r} is no extra option: MountOptions has a field for it"
        elif names.count(name) > 1:
            message = f"the option {name!r} is given twice"
        else:
            continue
        raise ValueError(message)


def _switch(*, default: bool = False) -> bool:
    return attrs.field(default=default, validator=_instance_of(bool, "True or False"))


def _text(default: str, *, least: int) -> str:
    return attrs.field(
        default=default,
        validator=[
            _instance_of(str, "a str"),
            validators.min_len(least),
            _check_text,
        ],
    )


@attrs.frozen(kw_only=True)
class MountOptions:
    """How a filesystem is mounted.

    Attributes:
      fsname: The source that mount(8) and df(1) show; any text but NUL.
      subtype: The type is shown as ``fuse.subtype``; plain ``fuse`` if it is empty.
      read_only: Refuse writing before the filesystem is asked.
      allow_other: Let all users in, not only the one who mounts; who is not root
        needs ``user_allow_other`` in /etc/fuse.conf for it.
      allow_root: Let in root besides the one who mounts. The kernel knows
        allow_other only: telling the users apart is the session's part, which sees
        requests. What the kernel has cached it shows to others, too: that names are
        there, and their attributes, for as long as ``entry_valid`` and
        ``attr_valid`` say; contents, listings and link targets never. To hide all
        of it, mount in a directory of mode 0700, or with ``default_permissions``
        on a root of mode 0700.
      default_permissions: Let the kernel check modes, owners and ACLs instead of
        sending ACCESS.
      dev: Honour device nodes; root only.
      suid: Honour set-user-ID bits and file capabilities; root only.
      exec: Allow programs to be run.
      noatime: Leave access times alone.
      sync: Write synchronously.
      dirsync: Change directories synchronously.
      symfollow: Follow symbolic links below the mountpoint; False needs Linux 5.10.
      max_read: Bytes in the largest READ, at least 4096; None for the kernel's own
        limit.
      auto_unmount: Start a small process that unmounts when this one dies, however
        it dies. It takes 0.01 seconds and 4 MB; nothing else is needed for it.
      clear_stale: If a FUSE filesystem that has died is still mounted there, unmount
        it first. Not the kernel's to know.
      extra: Options of the kernel that have no field here, such as
        ``context="..."``; fusermount3 refuses most.
    """

    fsname: str = _text("triofuse", least=1)
    subtype: str = _text("triofuse", least=0)
    read_only: bool = _switch()
    allow_other: bool = _switch()
    allow_root: bool = _switch()
    default_permissions: bool = _switch()
    dev: bool = _switch()
    suid: bool = _switch()
    exec: bool = _switch(default=True)
    noatime: bool = _switch()
    sync: bool = _switch()
    dirsync: bool = _switch()
    symfollow: bool = _switch(default=True)
    max_read: int | None = attrs.field(
        default=None,
        validator=validators.optional(
            [
                _instance_of(int, "an int, or None"),
                validators.ge(4096),
                validators.lt(2**32),
            ]
        ),
    )
    auto_unmount: bool = _switch()
    clear_stale: bool = _switch()
    extra: tuple[str, ...] = attrs.field(
        default=(), validator=[_instance_of(tuple, "a tuple of str"), _check_extra]
    )

    def __attrs_post_init__(self) -> None:
        if self.allow_other and self.allow_root:
            raise ValueError("allow_other lets root in: allow_root contradicts it")

    @classmethod
    def parse(cls, text: str) -> MountOptions:
        r"""Read what follows ``-o`` on a command line.

        Args:
          text: Options with commas between them, the later one counting.  A backslash
            makes the character after it an ordinary one: ``fsname=a\,b``.

        Returns:
          The options; words that triofuse does not know are in ``extra``, and those
          that are for mount(8) only are left out: ``_netdev``, ``x-systemd.automount``.

        Raises:
          ValueError: A word cannot be honoured, is nearly another one, or makes no
            sense.
          TypeError: This is no text.

        Source: ``fuse_mount_opts`` in libfuse's lib/mount.c; mount(8), fstab(5).
        """
        given: object = text
        if not isinstance(given, str):
            message = f"options are text, as in 'ro,fsname=backup', not {text!r:.80}"
            raise TypeError(message)
        fields, extra = words.read_words(text)
        chosen: dict[str, Any] = dict(fields)
        return cls(extra=extra, **chosen)

    @property
    def fstype(self) -> str:
        """The type for mount(2)."""
        return f"fuse.{self.subtype}" if self.subtype else "fuse"

    @property
    def flags(self) -> int:
        """The flags for mount(2)."""
        flags = 0
        for switch in SWITCHES.values():
            if getattr(self, switch.field) == switch.setting:
                flags |= switch.flag
        return flags

    @property
    def attributes(self) -> int:
        """The attributes for fsmount(2)."""
        attributes = self.flags & _ATTRIBUTES
        if self.noatime:
            attributes |= _MOUNT_ATTR_NOATIME
        if not self.symfollow:
            attributes |= _MOUNT_ATTR_NOSYMFOLLOW
        return attributes

    def parameters(self) -> Iterator[tuple[str, str | None]]:
        """Yield what belongs into fsconfig(2): names, and values or None."""
        yield "source", self.fsname
        if self.subtype:
            yield "subtype", self.subtype
        for word, switch in SWITCHES.items():
            if switch.flag & self.flags & _SUPERBLOCK_FLAGS:
                yield word, None
        for word in self.kernel_words():
            name, equals, value = word.partition("=")
            yield name, (_unquoted(value) if equals else None)

    def kernel_words(self) -> list[str]:
        """Return what belongs into the data of mount(2), one word an option."""
        known = []
        if self.default_permissions:
            known.append("default_permissions")
        if self.allow_other or self.allow_root:
            known.append("allow_other")
        if self.max_read is not None:
            known.append(f"max_read={self.max_read}")
        return [*known, *self.extra]

    def fusermount_text(self) -> str:
        """Return what follows ``-o`` on the command line of fusermount3."""
        return ",".join(self._fusermount_words())

    def _fusermount_words(self) -> Iterator[str]:
        yield f"fsname={_escape(self.fsname)}"
        if self.subtype:
            yield f"subtype={_escape(self.subtype)}"
        for word, switch in SWITCHES.items():
            if getattr(self, switch.field) != switch.setting:
                continue
            if switch.flag or not switch.since_3_18:
                yield word
        yield from self.kernel_words()


def _unquoted(value: str) -> str:
    # mount(2) needs quotes around a comma, and takes them off.
    return value[1:-1] if _QUOTED.fullmatch(value) else value


def _escape(value: str) -> str:
    # Only here does fusermount3 know escapes: do_mount() in util/fusermount.c.
    return _SPECIAL.sub(r"\\\g<0>", value)
