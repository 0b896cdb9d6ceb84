"""The configuration that a filesystem negotiates with the kernel in INIT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from triofuse.filesystem.capabilities import DEFAULT_FLAGS, FlagConditions
from triofuse.filesystem.errors import CapabilityError
from triofuse.filesystem.flags import InitFlags

__all__ = ["KernelConfig"]

_KNOWN = sum(InitFlags)  # each bit once: an alias is not a member of its own
_NONE = InitFlags(0)


def _within(low: int, high: int) -> Callable[[Any, Any, int], None]:
    """Return a validator of a range, for __init__() and assignment."""

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
    """The kernel's offer in FUSE_INIT, and the filesystem's choice.

    ``Filesystem.init`` gets one: look at ``offered``, ask for more with `want`, for
    less with `decline`, and set the numbers.  `want` raises an error if a flag cannot
    be granted.  ``config.wanted |= flags`` takes those that can be granted; `refused`
    has the others, with reasons.

    Source: ``struct fuse_init_in`` and ``fuse_init_out`` in linux/fuse.h.

    Attributes:
      minor: The protocol in use is 7.minor.
      offered: The flags that the kernel offers.  SPLICE_*, HAS_IOCTL_DIR,
        NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT, HAS_EXPIRE_ONLY and HAS_RESEND are in
        effect whether they are wanted or not.
      implied: The flags that the filesystem's methods ask for: ``readdirplus``,
        ``setlk``.
      wanted: The flags to ask for: defaults that are good for all filesystems, the
        implied flags, and the changes by `want` and `decline`.
      max_write: Size of the largest WRITE, bytes.  The largest READ is this, rounded
        up to whole pages.
      max_readahead: Bytes to read ahead of sequential reads.  Beyond the kernel's own
        limit, 128 KiB, it needs the right to write ``read_ahead_kb`` in sysfs, as root
        has.  ``MountOptions.max_readahead`` overrides it.
      max_background: The most asynchronous requests in flight; 0 is the kernel's
        default, 12.
      congestion_threshold: The number of these from which the kernel throttles; 0 is
        3/4 of ``max_background``.
      time_gran: Granularity of timestamps, nanoseconds: a power of ten.
      max_stack_depth: With PASSTHROUGH: 1, or 2 to allow a stacked filesystem
        below.
      request_timeout: Seconds without an answer after which the kernel aborts the
        whole connection, rounded up to a multiple of 15; 0 is never.
      implemented: The methods that the filesystem implements.
      default_permissions: Whether it is mounted with that option; None if another
        program mounted it.
      allow_root: Whether it is mounted with that option.
    """

    minor: int = attrs.field(on_setattr=attrs.setters.frozen)
    offered: InitFlags = attrs.field(on_setattr=attrs.setters.frozen)
    wanted: InitFlags = DEFAULT_FLAGS
    max_write: int = attrs.field(default=1 << 20, validator=_within(4096, 1 << 24))
    max_readahead: int = attrs.field(default=1 << 20, validator=_within(0, 2**32 - 1))
    max_background: int = attrs.field(default=64, validator=_within(0, 2**16 - 1))
    congestion_threshold: int = attrs.field(default=48, validator=_within(0, 2**16 - 1))
    time_gran: int = attrs.field(
        default=1, validator=[_within(1, 10**9), _power_of_ten]
    )
    max_stack_depth: int = attrs.field(default=1, validator=_within(1, 2))
    request_timeout: int = attrs.field(default=0, validator=_within(0, 2**16 - 1))
    implemented: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    implied: InitFlags = attrs.field(default=_NONE, on_setattr=attrs.setters.frozen)
    default_permissions: bool | None = attrs.field(
        default=None, on_setattr=attrs.setters.frozen
    )
    allow_root: bool = attrs.field(default=False, on_setattr=attrs.setters.frozen)

    @property
    def granted(self) -> InitFlags:
        """The wanted flags that can be granted."""
        granted = self._asked
        for flag in self.refused:
            granted &= ~flag
        return granted

    @property
    def refused(self) -> Mapping[InitFlags, str]:
        """The wanted flags that cannot be granted, each with the reason."""
        reasons = {flag: self._why_refused(flag, self._asked) for flag in self._asked}
        return {flag: reason for flag, reason in reasons.items() if reason}

    @property
    def _asked(self) -> InitFlags:
        timeout = InitFlags.REQUEST_TIMEOUT if self.request_timeout else 0
        return self.wanted | timeout

    def want(self, flags: InitFlags) -> None:
        """Ask for flags.

        Raises:
          CapabilityError: One cannot be granted; then none is added.  The message has
            its name, the reason and the remedy: the kernel does not offer it, triofuse
            cannot honour it, a method or mount option is missing, or another wanted
            flag excludes it.
        """
        unknown = flags & ~_KNOWN
        if unknown:
            message = f"no capability has the bits {int(unknown):#x}"
            raise CapabilityError(message)
        together = self.wanted | flags
        for flag in flags:
            reason = self._why_refused(flag, together) or self._conflict(flag, together)
            if reason:
                message = f"cannot have {flag.name}: {reason}"
                raise CapabilityError(message)
        self.wanted = together

    def decline(self, flags: InitFlags) -> None:
        """Do not ask for flags, such as those that are wanted by default."""
        self.wanted &= ~flags

    def _why_refused(self, flag: InitFlags, taken: InitFlags) -> str | None:
        return self._conditions.why_refused(flag, taken)

    def _conflict(self, flag: InitFlags, taken: InitFlags) -> str | None:
        return self._conditions.conflict(flag, taken)

    @property
    def _conditions(self) -> FlagConditions:
        return FlagConditions(
            self.minor,
            self.offered,
            self.implemented,
            self.default_permissions,
            self.allow_root,
        )
