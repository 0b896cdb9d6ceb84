"""Mount options: checked on creation, encoded for each way to mount."""

from __future__ import annotations

import functools
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import attrs
from attrs import validators

from triofuse.device import option_words as words
from triofuse.device.option_words import KERNEL_OWNED, NAMED, NEGATED, SWITCHES, VALUES

__all__ = ["MountOptions"]

_T = TypeVar("_T")

# Attributes of fsmount(2), from linux/mount.h.
_MOUNT_ATTR_NOATIME: Final = 0x10
_MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000

#: The flags of mount(2) that have the same number in fsmount(2).
_ATTRIBUTES: Final = (
    words.MS_RDONLY | words.MS_NOSUID | words.MS_NODEV | words.MS_NOEXEC
)

#: The flags of mount(2) that fsconfig(2) knows as words: ``common_set_sb_flag`` in
#: fs/fs_context.c.
_SUPERBLOCK_FLAGS: Final = words.MS_RDONLY | words.MS_SYNCHRONOUS | words.MS_DIRSYNC

#: A comma ends an option, in the kernel as in fusermount3.  Only security modules
#: understand quotes: selinux_sb_eat_lsm_opts() in security/selinux/hooks.c.
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
            message = f"an option has no comma and no NUL, and is not empty: {word!r}"
        elif name in KERNEL_OWNED:
            message = f"mount(2) gets {name} from triofuse itself, not from {word!r}"
        elif name in {**SWITCHES, **NEGATED, **VALUES} or name in NAMED:
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


def _remembers_what_was_given(options: type[_T]) -> type[_T]:
    """Have ``__init__`` note the names of its arguments, in ``given``."""
    init = options.__init__

    @functools.wraps(init)
    def remember(self: Any, **given: Any) -> None:
        init(self, **given)
        object.__setattr__(self, "given", frozenset(given))

    options.__init__ = remember  # type: ignore[method-assign]
    return options


@_remembers_what_was_given
@attrs.frozen(kw_only=True)
class MountOptions:
    """The options of a mount.

    Attributes:
      fsname: The source that mount(8) and df(1) show; any text without NUL.
      subtype: Shown as the type ``fuse.subtype``; plain ``fuse`` if it is empty.
      read_only: The kernel refuses writes with EROFS; the filesystem gets none.
      allow_other: All users may access the mount, not only the user who mounts.
        Users other than root need ``user_allow_other`` in /etc/fuse.conf for it.
      allow_root: Root may access the mount besides the user who mounts.  The kernel
        knows allow_other only, so the session checks the user of each request.  The
        kernel answers other users from its cache: they see names and attributes for
        as long as ``entry_valid`` and ``attr_valid`` say.  They never see contents,
        listings and link targets.  To hide names and attributes as well, mount in a
        directory of mode 0700, or use ``default_permissions`` and a root of mode 0700.
      default_permissions: The kernel checks modes, owners and ACLs instead of
        sending ACCESS.
      dev: Honour device nodes; root only.
      suid: Honour set-user-ID bits and file capabilities; root only.
      exec: Allow programs to be run.
      noatime: Do not update access times.
      sync: Write synchronously.
      dirsync: Change directories synchronously.
      symfollow: Follow symbolic links below the mountpoint; False needs Linux 5.10.
      max_read: Bytes in the largest READ, at least 4096; None for the kernel's own
        limit.
      max_readahead: Bytes that the kernel reads ahead of sequential reads; None for
        what the filesystem says, or 1 MiB.  More hides the latency of a slow store, and
        makes random access to mapped files read more.  The kernel's own limit is 128
        KiB: only who may write ``read_ahead_kb`` in sysfs, as root may, can exceed it.
      auto_unmount: Start a small process that unmounts when this process dies, also
        by SIGKILL.  It takes 0.01 seconds and 4 MB, and needs no other program.
      clear_stale: If a dead FUSE filesystem is still mounted there, unmount it first.
        The kernel does not get this option.
      extra: Options of the kernel that have no field here, such as
        ``context="..."``; fusermount3 refuses most.
      given: The names of the fields that were given, with their default value too.
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
    max_readahead: int | None = attrs.field(
        default=None,
        validator=validators.optional(
            [
                _instance_of(int, "an int, or None"),
                validators.ge(0),
                validators.lt(2**32),
            ]
        ),
    )
    auto_unmount: bool = _switch()
    clear_stale: bool = _switch()
    extra: tuple[str, ...] = attrs.field(
        default=(), validator=[_instance_of(tuple, "a tuple of str"), _check_extra]
    )

    given: frozenset[str] = attrs.field(
        default=frozenset(), init=False, eq=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        if self.allow_other and self.allow_root:
            raise ValueError("allow_other lets root in: allow_root contradicts it")

    @classmethod
    def parse(cls, text: str) -> MountOptions:
        r"""Read what follows ``-o`` on a command line.

        Args:
          text: Options separated by commas; the last of conflicting ones counts.  A
            backslash escapes the next character: ``fsname=a\,b``.

        Returns:
          The options.  Words that triofuse does not know are in ``extra``.  Words for
          mount(8) only, as ``_netdev`` and ``x-systemd.automount``, are left out.

        Raises:
          ValueError: A word cannot be honoured, is misspelled, or has an invalid
            value.
          TypeError: ``text`` is not a str.

        Source: ``fuse_mount_opts`` in libfuse's lib/mount.c; mount(8), fstab(5).
        """
        given: object = text
        if not isinstance(given, str):
            message = f"options are text, as in 'ro,fsname=backup', not {text!r:.80}"
            raise TypeError(message)
        return cls.of_words(words.split_words(text))

    @classmethod
    def of_words(cls, given: Iterable[str]) -> MountOptions:
        """Read words of ``-o``, as `parse`, that are split already."""
        fields, extra = words.read_words(given)
        chosen: dict[str, Any] = dict(fields)
        if extra:
            chosen["extra"] = extra
        return cls(**chosen)

    def over(self, defaults: MountOptions) -> MountOptions:
        """Return these options, and where nothing was given those of ``defaults``."""
        names = self.given | defaults.given
        if self.allow_other or self.allow_root:  # each contradicts the other
            names = names - {"allow_other", "allow_root"} | self.given
        chosen: dict[str, Any] = {
            name: getattr(self if name in self.given else defaults, name)
            for name in names
        }
        return MountOptions(**chosen)

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
        """Yield the parameters for fsconfig(2): names, and values or None."""
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
        """Return the options for the data of mount(2), one word each."""
        known = []
        if self.default_permissions:
            known.append("default_permissions")
        if self.allow_other or self.allow_root:
            known.append("allow_other")
        if self.max_read is not None:
            known.append(f"max_read={self.max_read}")
        return [*known, *self.extra]

    def fusermount_text(self) -> str:
        """Return the argument of ``-o`` for fusermount3."""
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
    # mount(2) needs quotes around a comma, and removes them; fsconfig(2) does not.
    return value[1:-1] if _QUOTED.fullmatch(value) else value


def _escape(value: str) -> str:
    # fusermount3 knows escapes only in these two: do_mount() in util/fusermount.c.
    return _SPECIAL.sub(r"\\\g<0>", value)
