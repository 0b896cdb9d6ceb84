"""The conditions of the flags of INIT: why a flag is refused, and the remedy.

The kernel silently ignores most flags that it cannot honour; for some it refuses the
whole mount.  So each flag with a condition is here, with the reason in words.
"""

from __future__ import annotations

import attrs

from triofuse.filesystem.flags import InitFlags

__all__ = ["DEFAULT_FLAGS", "IMPLIED_FLAGS", "FlagConditions", "names_of"]

#: Accepted whenever the kernel offers them: each makes requests larger or fewer, or
#: the runtime handles it.
DEFAULT_FLAGS = (
    InitFlags.ASYNC_READ
    | InitFlags.BIG_WRITES
    | InitFlags.AUTO_INVAL_DATA
    | InitFlags.ASYNC_DIO
    | InitFlags.PARALLEL_DIROPS
    | InitFlags.ABORT_ERROR
    | InitFlags.MAX_PAGES
    | InitFlags.SETXATTR_EXT
    | InitFlags.INIT_EXT
)

#: Flags that follow from the methods a filesystem implements.  With READDIRPLUS_AUTO
#: the kernel sends plain READDIR as well.
IMPLIED_FLAGS = {
    frozenset({"setlk"}): InitFlags.POSIX_LOCKS | InitFlags.FLOCK_LOCKS,
    frozenset({"readdirplus"}): InitFlags.DO_READDIRPLUS,
    frozenset({"readdirplus", "readdir"}): InitFlags.READDIRPLUS_AUTO,
}

#: Flags that need a method.
_NEEDED_METHODS = {
    InitFlags.POSIX_LOCKS: "setlk",
    InitFlags.FLOCK_LOCKS: "setlk",
    InitFlags.DO_READDIRPLUS: "readdirplus",
    InitFlags.READDIRPLUS_AUTO: "readdir",
    InitFlags.POSIX_ACL: "getxattr",
}

_SPLICE = "it changes nothing: what FileData names is spliced without it"

#: Flags that triofuse cannot honour, and why.
_REFUSED = {
    InitFlags.SUBMOUNTS: "submounts are made by virtiofs only",
    InitFlags.MAP_ALIGNMENT: "DAX mappings exist on virtiofs only",
    InitFlags.HAS_INODE_DAX: "DAX mappings exist on virtiofs only",
    InitFlags.OVER_IO_URING: "requests are read from the device, not from a ring",
    InitFlags.SPLICE_WRITE: _SPLICE,
    InitFlags.SPLICE_MOVE: _SPLICE,
    InitFlags.SPLICE_READ: _SPLICE,
}

#: Flags that exclude each other: the kernel honours the second of each pair only
#: (process_init_reply() in fs/fuse/inode.c).
_LOSES_TO = {
    InitFlags.PASSTHROUGH: InitFlags.WRITEBACK_CACHE,
    InitFlags.EXPLICIT_INVAL_DATA: InitFlags.AUTO_INVAL_DATA,
    InitFlags.EXPORT_SUPPORT: InitFlags.NO_EXPORT_SUPPORT,
}
_WINS_OVER = {winner: loser for loser, winner in _LOSES_TO.items()}

#: Flags from here on are sent in ``flags2``, which needs INIT_EXT.
_FLAGS2 = 1 << 32


@attrs.frozen
class FlagConditions:
    """Everything that a flag may depend on, except other flags.

    Attributes:
      minor: The protocol in use is 7.minor.
      offered: The flags that the kernel offers.
      implemented: The methods that the filesystem implements.
      default_permissions: Whether it is mounted with that option; None if another
        program mounted it.
      allow_root: Whether it is mounted with that option.  The session then checks the
        user id of each request.
    """

    minor: int
    offered: InitFlags
    implemented: frozenset[str]
    default_permissions: bool | None
    allow_root: bool

    def why_refused(self, flag: InitFlags, taken: InitFlags) -> str | None:
        """Return why a flag cannot be granted, None if it can.

        Args:
          flag: One flag.
          taken: All flags that are wanted together.
        """
        method = _NEEDED_METHODS.get(flag)
        winner = _LOSES_TO.get(flag)
        if flag in _REFUSED:
            return _REFUSED[flag]
        if flag == InitFlags.CACHE_SYMLINKS and self.allow_root:
            return (
                "the kernel would show cached links to all users, and allow_root "
                "admits two; mount with allow_other"
            )
        if flag not in self.offered:
            return (
                f"this kernel (protocol 7.{self.minor}) does not offer it; "
                "want it only if config.offered has it"
            )
        if method and method not in self.implemented:
            return f"the filesystem has no method {method}(); write one"
        if winner is not None and winner in taken & self.offered:
            return _exclusion(winner)
        if flag is InitFlags.ALLOW_IDMAP:
            return self._idmap_refused(taken)
        return _missing_flag(flag, taken & self.offered)

    def conflict(self, flag: InitFlags, taken: InitFlags) -> str | None:
        """Return which wanted flag the kernel would drop for this one, if any."""
        loser = _WINS_OVER.get(flag)
        return _exclusion(loser) if loser is not None and loser in taken else None

    def _idmap_refused(self, taken: InitFlags) -> str | None:
        if self.allow_root:
            return (
                "allow_root tells users apart by the ids of requests, and requests "
                "have none with this flag; mount with allow_other"
            )
        checked = self.default_permissions is not False  # None: unknown, not refused
        if not checked and InitFlags.POSIX_ACL not in taken & self.offered:
            return (
                "the kernel refuses the mount without default_permissions; "
                "mount with that option, or want POSIX_ACL too"
            )
        return _missing_flag(InitFlags.ALLOW_IDMAP, taken & self.offered)


def _exclusion(other: InitFlags) -> str:
    return (
        f"the kernel takes no {other.name} with it; "
        f"decline one of them first: config.decline(InitFlags.{other.name})"
    )


def _missing_flag(flag: InitFlags, taken: InitFlags) -> str | None:
    """Return which other flag this one needs and lacks, if any."""
    auto = flag is InitFlags.READDIRPLUS_AUTO
    if auto and InitFlags.DO_READDIRPLUS not in taken:
        return "it works with DO_READDIRPLUS only; want both"
    if flag >= _FLAGS2 and InitFlags.INIT_EXT not in taken:
        return "it is sent with INIT_EXT only; do not decline that"
    return None


def names_of(flags: InitFlags) -> str:
    """Return the names of flags, separated by spaces."""
    return " ".join(flag.name or hex(flag) for flag in flags) or "nothing"
