"""What kernel and filesystem agree on when a mount begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from triofuse.filesystem.errors import CapabilityError
from triofuse.filesystem.flags import InitFlags

__all__ = ["KernelConfig"]

#: Taken whenever the kernel offers it: each only makes requests larger or fewer,
#: or is something that the runtime itself looks after.
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

#: What methods of the filesystem's own say about the kernel's flags.  With AUTO the
#: kernel sends plain READDIR as well.
IMPLIED_FLAGS = {
    frozenset({"setlk"}): InitFlags.POSIX_LOCKS | InitFlags.FLOCK_LOCKS,
    frozenset({"readdirplus"}): InitFlags.DO_READDIRPLUS,
    frozenset({"readdirplus", "readdir"}): InitFlags.READDIRPLUS_AUTO,
}

#: Flags that are worth nothing without a method.
_NEEDED_METHODS = {
    InitFlags.POSIX_LOCKS: "setlk",
    InitFlags.FLOCK_LOCKS: "setlk",
    InitFlags.DO_READDIRPLUS: "readdirplus",
    InitFlags.READDIRPLUS_AUTO: "readdir",
    InitFlags.POSIX_ACL: "getxattr",
}

#: Flags that triofuse cannot honour, and why.
_REFUSED = {
    InitFlags.SUBMOUNTS: "submounts are made by virtiofs only",
    InitFlags.MAP_ALIGNMENT: "DAX mappings exist on virtiofs only",
    InitFlags.HAS_INODE_DAX: "DAX mappings exist on virtiofs only",
    InitFlags.OVER_IO_URING: "requests are read from the device, not from a ring",
}


_KNOWN = sum(InitFlags)  # of each bit once: an alias is no member of its own


def _within(low: int, high: int) -> Callable[[Any, Any, int], None]:
    """Validate a number, also when it is assigned later."""

    def check(_: Any, attribute: attrs.Attribute[int], value: int) -> None:
        if not low <= value <= high:
            message = f"{attribute.name} must be {low}..{high}, not {value}"
            raise ValueError(message)

    return check


def _power_of_ten(_: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if str(value).strip("0") != "1":
        message = f"{attribute.name} must be a power of ten, not {value}"
        raise ValueError(message)


@attrs.define(eq=False)
class KernelConfig:
    """The kernel's offer in FUSE_INIT, and what the filesystem makes of it.

    ``Filesystem.init`` gets one: look at ``offered``, take more with `want`, less
    with `decline`, and set the figures.

    Source: ``struct fuse_init_in`` and ``fuse_init_out`` in linux/fuse.h.

    Attributes:
      minor: The protocol in use is 7.minor.
      offered: What the kernel can do.
      wanted: What it will be asked for, as far as it is offered.
      max_write: Bytes in the largest WRITE; the largest READ is that in whole pages.
      max_readahead: Bytes to read ahead; the kernel's own limit is the most.
      max_background: Asynchronous requests in flight at most; 0 is the kernel's
        default, 12.
      congestion_threshold: From how many on the kernel holds back; 0 is 3/4.
      time_gran: Nanoseconds to which timestamps are kept: a power of ten.
      max_stack_depth: With PASSTHROUGH: 1, or 2 to allow a stacked filesystem
        below.
      request_timeout: Seconds after which a request that is not answered ends the
        whole connection, rounded up to a multiple of 15; 0 is never.
      implemented: The methods that the filesystem has of its own.
    """

    minor: int = attrs.field(on_setattr=attrs.setters.frozen)
    offered: InitFlags = attrs.field(on_setattr=attrs.setters.frozen)
    wanted: InitFlags = DEFAULT_FLAGS
    max_write: int = attrs.field(default=1 << 20, validator=_within(4096, 1 << 24))
    max_readahead: int = attrs.field(default=1 << 17, validator=_within(0, 2**32 - 1))
    max_background: int = attrs.field(default=64, validator=_within(0, 2**16 - 1))
    congestion_threshold: int = attrs.field(default=48, validator=_within(0, 2**16 - 1))
    time_gran: int = attrs.field(
        default=1, validator=[_within(1, 10**9), _power_of_ten]
    )
    max_stack_depth: int = attrs.field(default=1, validator=_within(1, 2))
    request_timeout: int = attrs.field(default=0, validator=_within(0, 2**16 - 1))
    implemented: frozenset[str] = attrs.field(default=frozenset(), repr=False)

    @property
    def granted(self) -> InitFlags:
        """What is both wanted and offered."""
        timeout = InitFlags.REQUEST_TIMEOUT if self.request_timeout else 0
        return (self.wanted | timeout) & self.offered

    def want(self, flags: InitFlags) -> None:
        """Ask for capabilities.

        Raises:
          CapabilityError: The kernel does not offer one, triofuse cannot honour
            it, or the filesystem lacks the method for it.
        """
        unknown = flags & ~_KNOWN
        if unknown:
            message = f"no capability has the bits {int(unknown):#x}"
            raise CapabilityError(message)
        for flag in flags:
            self._check(flag)
        self.wanted |= flags

    def decline(self, flags: InitFlags) -> None:
        """Do without capabilities that would be taken by default."""
        self.wanted &= ~flags

    def _check(self, flag: InitFlags) -> None:
        method = _NEEDED_METHODS.get(flag)
        if flag in _REFUSED:
            reason = _REFUSED[flag]
        elif flag not in self.offered:
            reason = f"this kernel (protocol 7.{self.minor}) does not offer it"
        elif method and method not in self.implemented:
            reason = f"the filesystem has no method {method}()"
        else:
            return
        message = f"cannot have {flag.name}: {reason}"
        raise CapabilityError(message)
