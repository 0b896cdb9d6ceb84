"""What kernel and filesystem agree on when a mount begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from triofuse.filesystem.capabilities import DEFAULT_FLAGS, Circumstances
from triofuse.filesystem.errors import CapabilityError
from triofuse.filesystem.flags import InitFlags

__all__ = ["KernelConfig"]

_KNOWN = sum(InitFlags)  # of each bit once: an alias is no member of its own
_NONE = InitFlags(0)


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
    with `decline`, and set the figures.  `want` fails where a capability cannot be
    had; ``config.wanted |= flags`` asks for what can be had of them, and `refused`
    says what cannot, and why.

    Source: ``struct fuse_init_in`` and ``fuse_init_out`` in linux/fuse.h.

    Attributes:
      minor: The protocol in use is 7.minor.
      offered: What the kernel can do.  SPLICE_*, HAS_IOCTL_DIR, NO_OPEN_SUPPORT,
        NO_OPENDIR_SUPPORT, HAS_EXPIRE_ONLY and HAS_RESEND it does whether they are
        wanted or not.
      implied: What the filesystem's own methods ask for: ``readdirplus``, ``setlk``.
      wanted: What it will be asked for: what is good for all filesystems, what is
        implied, and what `want` and `decline` have made of it.
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
      default_permissions: Whether it is mounted with that option; None if somebody
        else has mounted it.
      allow_root: Whether it is mounted with that option.
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
    implied: InitFlags = attrs.field(default=_NONE, on_setattr=attrs.setters.frozen)
    default_permissions: bool | None = attrs.field(
        default=None, on_setattr=attrs.setters.frozen
    )
    allow_root: bool = attrs.field(default=False, on_setattr=attrs.setters.frozen)

    @property
    def granted(self) -> InitFlags:
        """What is wanted and nothing stands in the way of."""
        granted = self._asked
        for flag in self.refused:
            granted &= ~flag
        return granted

    @property
    def refused(self) -> Mapping[InitFlags, str]:
        """What is wanted and cannot be had, each with the reason."""
        reasons = {flag: self._obstacle(flag, self._asked) for flag in self._asked}
        return {flag: reason for flag, reason in reasons.items() if reason}

    @property
    def _asked(self) -> InitFlags:
        timeout = InitFlags.REQUEST_TIMEOUT if self.request_timeout else 0
        return self.wanted | timeout

    def want(self, flags: InitFlags) -> None:
        """Ask for capabilities.

        Raises:
          CapabilityError: One cannot be had, and none is taken.  The message names
            it, the reason and the remedy: the kernel does not offer it, triofuse
            cannot honour it, the filesystem lacks the method for it, the mount the
            option, or another that is wanted excludes it.
        """
        unknown = flags & ~_KNOWN
        if unknown:
            message = f"no capability has the bits {int(unknown):#x}"
            raise CapabilityError(message)
        together = self.wanted | flags
        for flag in flags:
            reason = self._obstacle(flag, together) or self._rival(flag, together)
            if reason:
                message = f"cannot have {flag.name}: {reason}"
                raise CapabilityError(message)
        self.wanted = together

    def decline(self, flags: InitFlags) -> None:
        """Do without capabilities that would be taken by default."""
        self.wanted &= ~flags

    def _obstacle(self, flag: InitFlags, taken: InitFlags) -> str | None:
        return self._circumstances.obstacle(flag, taken)

    def _rival(self, flag: InitFlags, taken: InitFlags) -> str | None:
        return self._circumstances.rival(flag, taken)

    @property
    def _circumstances(self) -> Circumstances:
        return Circumstances(
            self.minor,
            self.offered,
            self.implemented,
            self.default_permissions,
            self.allow_root,
        )
