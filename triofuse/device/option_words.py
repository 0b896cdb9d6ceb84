"""The words of ``-o``: which are honoured, ignored or refused.

The law: as in libfuse, the last of conflicting words counts.  A word is honoured, or
ignored because it is for mount(8), or refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Final

import attrs

__all__ = [
    "KERNEL_OWNED",
    "MS_DIRSYNC",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_RDONLY",
    "MS_SYNCHRONOUS",
    "NAMED",
    "NEGATED",
    "SWITCHES",
    "VALUES",
    "Switch",
    "known_words",
    "read_words",
    "split_words",
    "suggestion",
]

# Flags of mount(2), from linux/mount.h.
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_SYNCHRONOUS: Final = 16
MS_DIRSYNC: Final = 128
MS_NOSYMFOLLOW: Final = 256
MS_NOATIME: Final = 1024


@attrs.frozen
class Switch:
    """A word that stands for a flag of mount(2), or for its absence.

    Attributes:
      field: The field of `MountOptions` that it sets.
      setting: The value of the field.
      flag: The flag of mount(2); 0 where the word stands for its absence.
      since_3_18: Whether fusermount3 knows it only since libfuse 3.18.
    """

    field: str
    setting: bool
    flag: int = 0
    since_3_18: bool = False


SWITCHES: Final = {
    "ro": Switch("read_only", True, MS_RDONLY),
    "rw": Switch("read_only", False),
    "nosuid": Switch("suid", False, MS_NOSUID),
    "suid": Switch("suid", True),
    "nodev": Switch("dev", False, MS_NODEV),
    "dev": Switch("dev", True),
    "noexec": Switch("exec", False, MS_NOEXEC),
    "exec": Switch("exec", True),
    "sync": Switch("sync", True, MS_SYNCHRONOUS),
    "async": Switch("sync", False),
    "dirsync": Switch("dirsync", True, MS_DIRSYNC),
    "noatime": Switch("noatime", True, MS_NOATIME),
    "atime": Switch("noatime", False),
    "nosymfollow": Switch("symfollow", False, MS_NOSYMFOLLOW, since_3_18=True),
    "symfollow": Switch("symfollow", True, since_3_18=True),
}

#: The words that set the field of the same name.
NAMED: Final = frozenset(
    {"allow_other", "allow_root", "default_permissions", "auto_unmount", "clear_stale"}
)

#: The same with "no" in front, for who does not want what a filesystem wants.
NEGATED: Final = {f"no{word}": word for word in sorted(NAMED)}

#: The words that take a value, and the type of the value.
VALUES: Final[dict[str, type[str | int]]] = {
    "fsname": str,
    "subtype": str,
    "max_read": int,
    "max_readahead": int,
}

#: Words for mount(8), fstab(5) and systemd.mount(5), which pass them on.  The words for
#: access times have no effect on FUSE: S_NOATIME in fuse_init_inode(), fs/fuse/inode.c.
_FOR_MOUNT8 = (
    "defaults",
    "auto noauto nofail _netdev _rnetdev comment",
    "user nouser users nousers owner noowner group nogroup",
    "uhelper helper silent loud nomand nonempty big_writes",
    "diratime nodiratime relatime norelatime strictatime nostrictatime",
    "lazytime nolazytime iversion noiversion",
)
_IGNORED = frozenset(" ".join(_FOR_MOUNT8).split())

#: Prefixes of words for other programs: "x-systemd.automount", "X-mount.mkdir".
_IGNORED_PREFIXES = ("x-", "X-")

_NEW_MOUNT = "unmount it and mount it anew"
_OWN_WORD = "the filesystem itself says that, in what it returns: see"

#: Words of mount(8) for which it makes a system call of their own.
_PROPAGATIONS = (
    *("shared", "slave", "private", "unbindable"),
    *("rshared", "rslave", "rprivate", "runbindable"),
)

#: Fields that are called otherwise on a command line.
_FIELDS = {"read_only": "ro", "readonly": "ro", "ronly": "ro"}

#: Words that are refused, and why.
_REFUSED = {
    "remount": f"a FUSE filesystem takes its options when it is mounted; {_NEW_MOUNT}",
    "bind": "it makes no new mount; use mount --bind",
    "rbind": "it makes no new mount; use mount --rbind",
    "move": "it makes no new mount; use mount --move",
    **dict.fromkeys(_PROPAGATIONS, "it says how a mount is shared: mount --make-..."),
    "loop": "the filesystem itself opens what it shows; give it the file",
    "mand": "Linux has no mandatory locks since 5.15; leave it out",
    "blkdev": "a fuseblk mount needs a block device, and triofuse opens none",
    "uid": f"{_OWN_WORD} FileAttr.uid",
    "gid": f"{_OWN_WORD} FileAttr.gid",
    "umask": f"{_OWN_WORD} FileAttr.mode",
    "entry_timeout": f"{_OWN_WORD} Entry.entry_valid",
    "negative_timeout": f"{_OWN_WORD} Entry.negative()",
    "attr_timeout": f"{_OWN_WORD} FileAttr.attr_valid",
    "direct_io": f"{_OWN_WORD} Opened.flags",
    "kernel_cache": f"{_OWN_WORD} Opened.flags",
}

#: Options of the kernel that have no field.
_KERNEL_ONLY = ("blksize", "context", "fscontext", "defcontext", "rootcontext")

#: The options that triofuse itself passes to mount(2).
KERNEL_OWNED: Final = frozenset({"fd", "rootmode", "user_id", "group_id"})

#: Only security modules understand quotes; a comma in quotes does not end an option.
_PIECE = re.compile(r'((?:fs|def|root)?context="[^"\\]*")|\\(.)|(.)', re.DOTALL)


def read_words(
    words: Iterable[str],
) -> tuple[dict[str, bool | int | str], tuple[str, ...]]:
    """Return the fields that words of ``-o`` set, and those for the kernel only.

    Raises:
      ValueError: A word cannot be honoured, or is misspelled.
    """
    fields: dict[str, bool | int | str] = {}
    extra: dict[str, str] = {}
    for word in words:
        name = word.partition("=")[0]
        if name in _REFUSED:
            message = f"{word!r} cannot be honoured: {_REFUSED[name]}"
            raise ValueError(message)
        if name in _IGNORED or name.startswith(_IGNORED_PREFIXES):
            continue
        setting = _read(word)
        if setting is None:
            _check_spelling(word, name)
            extra.pop(name, None)  # keep the place of the last one
            extra[name] = word
        else:
            fields[setting[0]] = setting[1]
    return fields, tuple(extra.values())


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or an empty string if no name is similar."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]!r}?" if near else ""


def known_words() -> Iterator[str]:
    """Yield the words that are honoured, ignored or refused."""
    yield from _IGNORED
    yield from (*SWITCHES, *NAMED, *NEGATED, *VALUES, *_REFUSED, *_KERNEL_ONLY)


def _check_spelling(word: str, name: str) -> None:
    """Refuse a misspelled word and suggest the right one, which the kernel does not."""
    if name in KERNEL_OWNED or name in _KERNEL_ONLY:
        return
    if name in VALUES:
        message = f"the option {name!r} takes a value: {name}=..."
        raise ValueError(message)
    if name in SWITCHES or name in NAMED or name in NEGATED:
        message = f"the option {name!r} takes no value: {word!r}"
        raise ValueError(message)
    if name in _FIELDS:
        meant = f"; did you mean {_FIELDS[name]!r}?"
    else:
        meant = suggestion(name, known_words())
    if meant:
        message = (
            f"there is no option {word!r}{meant} "
            "(what only a newer kernel knows goes into MountOptions(extra=...))"
        )
        raise ValueError(message)


def split_words(text: str) -> list[str]:
    """Return the words of an option text, without their escapes."""
    words = [""]
    for quoted, escaped, plain in _PIECE.findall(text):
        if plain == ",":
            words.append("")
        else:
            words[-1] += quoted or escaped or plain
    return [word for word in words if word]


def _read(word: str) -> tuple[str, bool | int | str] | None:
    """Return the field that a word sets and its value; None if it sets no field."""
    if word in SWITCHES:
        switch = SWITCHES[word]
        return switch.field, switch.setting
    if word in NAMED:
        return word, True
    if word in NEGATED:
        return NEGATED[word], False
    name, equals, value = word.partition("=")
    if not equals or name not in VALUES:
        return None
    try:
        return name, VALUES[name](value)
    except ValueError:
        message = f"{name} takes a number, not {value!r}"
        raise ValueError(message) from None
