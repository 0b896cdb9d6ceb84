"""Mount options: checked when they are made, rendered once for each way to mount."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import attrs
from attrs import validators

__all__ = ["MountOptions"]

# Flags of mount(2) and MOUNT_ATTR_NOATIME of fsmount(2), from linux/mount.h.
_MS_RDONLY: Final = 1
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_NOEXEC: Final = 8
_MS_SYNCHRONOUS: Final = 16
_MS_DIRSYNC: Final = 128
_MS_NOATIME: Final = 1024
_MOUNT_ATTR_NOATIME: Final = 16

#: The flags that are the same number for fsmount(2) ...
_ATTRIBUTES: Final = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC

#: ... and those that fsconfig(2) knows as words: ``common_set_sb_flag`` in
#: fs/fs_context.c.
_SUPERBLOCK_FLAGS: Final = _MS_RDONLY | _MS_SYNCHRONOUS | _MS_DIRSYNC


@attrs.frozen
class _Switch:
    field: str
    setting: bool
    flag: int = 0


#: The words that stand for flags of mount(2); half of them for their absence.
_SWITCHES = {
    "ro": _Switch("read_only", True, _MS_RDONLY),
    "rw": _Switch("read_only", False),
    "nosuid": _Switch("suid", False, _MS_NOSUID),
    "suid": _Switch("suid", True),
    "nodev": _Switch("dev", False, _MS_NODEV),
    "dev": _Switch("dev", True),
    "noexec": _Switch("exec", False, _MS_NOEXEC),
    "exec": _Switch("exec", True),
    "sync": _Switch("sync", True, _MS_SYNCHRONOUS),
    "async": _Switch("sync", False),
    "dirsync": _Switch("dirsync", True, _MS_DIRSYNC),
    "noatime": _Switch("noatime", True, _MS_NOATIME),
    "atime": _Switch("noatime", False),
}

#: The words that set the field of the same name.
_NAMED = frozenset(
    {"allow_other", "allow_root", "default_permissions", "auto_unmount", "clear_stale"}
)

#: The words that take a value, and what it is.
_VALUES: dict[str, type[str | int]] = {"fsname": str, "subtype": str, "max_read": int}

#: What mount(2) is told without being asked.
_KERNEL_OWNED = frozenset({"fd", "rootmode", "user_id", "group_id"})

#: A comma ends an option, in the kernel as in fusermount3. Only the security
#: modules understand quotes: selinux_sb_eat_lsm_opts() in security/selinux/hooks.c.
_EXTRA = re.compile(r'[^,\0]+|(?:fs|def|root)?context="[^"\0]+"')

_TUPLE_OF_TEXT = validators.deep_iterable(
    validators.instance_of(str), validators.instance_of(tuple)
)

_PIECE = re.compile(r"\\(.)|(.)", re.DOTALL)
_QUOTED = re.compile(r'".*"', re.DOTALL)
_SPECIAL = re.compile(r"[\\,]")


def _check_text(_: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if "\0" in value:
        message = f"{attribute.name} cannot hold a NUL: {value!r}"
        raise ValueError(message)


def _check_extra(_: Any, __: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    names = [word.partition("=")[0] for word in value]
    for word, name in zip(value, names, strict=True):
        if not _EXTRA.fullmatch(word):
            message = f"one option cannot hold a comma or a NUL, nor nothing: {word!r}"
        elif name in _KERNEL_OWNED:
            message = f"mount(2) gets {name} from triofuse itself, not from {word!r}"
        elif name in _SWITCHES or name in _NAMED or name in _VALUES:
            message = f"{word!r} is no extra option: MountOptions has a field for it"
        elif names.count(name) > 1:
            message = f"the option {name!r} is given twice"
        else:
            continue
        raise ValueError(message)


def _switch(*, default: bool = False) -> bool:
    return attrs.field(default=default, validator=validators.instance_of(bool))


def _text(default: str, *, least: int) -> str:
    return attrs.field(
        default=default,
        validator=[
            validators.instance_of(str),
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
    max_read: int | None = attrs.field(
        default=None,
        validator=validators.optional(
            [
                validators.instance_of(int),
                validators.ge(4096),
                validators.lt(2**32),
            ]
        ),
    )
    auto_unmount: bool = _switch()
    clear_stale: bool = _switch()
    extra: tuple[str, ...] = attrs.field(
        default=(), validator=[_TUPLE_OF_TEXT, _check_extra]
    )

    def __attrs_post_init__(self) -> None:
        if self.allow_other and self.allow_root:
            raise ValueError("allow_other lets root in: allow_root contradicts it")

    @classmethod
    def parse(cls, text: str) -> MountOptions:
        r"""Read what follows ``-o`` on a command line.

        Args:
          text: Options with commas between them. A backslash makes the character
            after it an ordinary one: ``fsname=a\,b``.

        Returns:
          The options; words that triofuse does not know are in ``extra``.

        Raises:
          ValueError: Options contradict each other, or one makes no sense.
        """
        chosen: dict[str, Any] = {}
        extra = []
        for word in _split(text):
            setting = _read(word)
            if setting is None:
                extra.append(word)
            elif chosen.setdefault(*setting) != setting[1]:
                message = f"{word!r} contradicts an earlier option"
                raise ValueError(message)
        return cls(extra=tuple(extra), **chosen)

    @property
    def fstype(self) -> str:
        """The type for mount(2)."""
        return f"fuse.{self.subtype}" if self.subtype else "fuse"

    @property
    def flags(self) -> int:
        """The flags for mount(2)."""
        flags = 0
        for switch in _SWITCHES.values():
            if getattr(self, switch.field) == switch.setting:
                flags |= switch.flag
        return flags

    @property
    def attributes(self) -> int:
        """The attributes for fsmount(2)."""
        noatime = _MOUNT_ATTR_NOATIME if self.noatime else 0
        return self.flags & _ATTRIBUTES | noatime

    def parameters(self) -> Iterator[tuple[str, str | None]]:
        """Yield what belongs into fsconfig(2): names, and values or None."""
        yield "source", self.fsname
        if self.subtype:
            yield "subtype", self.subtype
        for word, switch in _SWITCHES.items():
            if switch.flag & self.flags & _SUPERBLOCK_FLAGS:
                yield word, None
        for word in self.kernel_words():
            name, equals, value = word.partition("=")
            yield name, (_unquoted(value) if equals else None)

    def kernel_words(self) -> list[str]:
        """Return what belongs into the data of mount(2), one word an option."""
        words = []
        if self.default_permissions:
            words.append("default_permissions")
        if self.allow_other or self.allow_root:
            words.append("allow_other")
        if self.max_read is not None:
            words.append(f"max_read={self.max_read}")
        return [*words, *self.extra]

    def fusermount_text(self) -> str:
        """Return what follows ``-o`` on the command line of fusermount3."""
        return ",".join(self._fusermount_words())

    def _fusermount_words(self) -> Iterator[str]:
        yield f"fsname={_escape(self.fsname)}"
        if self.subtype:
            yield f"subtype={_escape(self.subtype)}"
        for word, switch in _SWITCHES.items():
            if getattr(self, switch.field) == switch.setting:
                yield word
        yield from self.kernel_words()


def _split(text: str) -> list[str]:
    words = [""]
    for escaped, plain in _PIECE.findall(text):
        if plain == ",":
            words.append("")
        else:
            words[-1] += escaped or plain
    return [word for word in words if word]


def _read(word: str) -> tuple[str, bool | int | str] | None:
    """Return the field that a word sets, and to what; None if there is no such."""
    if word in _SWITCHES:
        switch = _SWITCHES[word]
        return switch.field, switch.setting
    if word in _NAMED:
        return word, True
    name, equals, value = word.partition("=")
    if not equals or name not in _VALUES:
        return None
    try:
        return name, _VALUES[name](value)
    except ValueError:
        message = f"{name} takes a number, not {value!r}"
        raise ValueError(message) from None


def _unquoted(value: str) -> str:
    # mount(2) needs quotes around a comma, and takes them off.
    return value[1:-1] if _QUOTED.fullmatch(value) else value


def _escape(value: str) -> str:
    # Only here does fusermount3 know escapes: do_mount() in util/fusermount.c.
    return _SPECIAL.sub(r"\\\g<0>", value)
