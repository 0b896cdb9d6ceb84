"""Capabilities: what a filesystem may have of the kernel's offer, and why not."""

from __future__ import annotations

import attrs
import pytest

from tests.wire.test_handshake import config, offer
from triofuse.filesystem.capabilities import DEFAULT_FLAGS
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.errors import CapabilityError
from triofuse.filesystem.flags import InitFlags
from triofuse.wire.handshake import propose


def test_a_capability_can_be_taken_and_declined() -> None:
    proposed = config()

    proposed.want(InitFlags.WRITEBACK_CACHE | InitFlags.DONT_MASK)
    proposed.decline(InitFlags.ASYNC_READ | InitFlags.DONT_MASK)

    expected = DEFAULT_FLAGS | InitFlags.WRITEBACK_CACHE
    assert proposed.granted == expected & ~InitFlags.ASYNC_READ


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        (InitFlags.SUBMOUNTS, "cannot have SUBMOUNTS: .* virtiofs only"),
        (InitFlags.MAP_ALIGNMENT, "cannot have MAP_ALIGNMENT: .* virtiofs only"),
        (InitFlags.HAS_INODE_DAX, "cannot have HAS_INODE_DAX: .* virtiofs only"),
        (InitFlags.OVER_IO_URING, "cannot have OVER_IO_URING: .* not from a ring"),
        (
            InitFlags.FILE_OPS,
            r"cannot have FILE_OPS: this kernel \(protocol 7\.45\) does not offer it",
        ),
        (InitFlags.POSIX_LOCKS, r"POSIX_LOCKS: the filesystem has no method setlk\(\)"),
        (InitFlags.FLOCK_LOCKS, r"FLOCK_LOCKS: .* no method setlk\(\)"),
        (InitFlags.DO_READDIRPLUS, r"DO_READDIRPLUS: .* no method readdirplus\(\)"),
        (InitFlags.READDIRPLUS_AUTO, r"READDIRPLUS_AUTO: .* method readdir\(\)"),
        (InitFlags.POSIX_ACL, r"POSIX_ACL: .* no method getxattr\(\); write one"),
        (InitFlags.SPLICE_READ, "SPLICE_READ: .* spliced without it"),
        (
            InitFlags.EXPLICIT_INVAL_DATA,
            r"no AUTO_INVAL_DATA with it; .* config\.decline\(InitFlags\.AUTO_INVAL_DATA",
        ),
    ],
)
def test_a_capability_is_refused_with_a_reason(flag: InitFlags, reason: str) -> None:
    proposed = config()

    with pytest.raises(CapabilityError, match=reason):
        proposed.want(InitFlags.DONT_MASK | flag)

    assert proposed.wanted == DEFAULT_FLAGS, "all or nothing"


def test_a_capability_with_its_method_is_granted() -> None:
    proposed = propose(offer(), frozenset({"setlk", "getxattr"}))

    proposed.want(InitFlags.POSIX_LOCKS | InitFlags.POSIX_ACL)

    assert InitFlags.POSIX_ACL in proposed.granted


@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        (InitFlags.PASSTHROUGH, InitFlags.WRITEBACK_CACHE),
        (InitFlags.EXPLICIT_INVAL_DATA, InitFlags.AUTO_INVAL_DATA),
        (InitFlags.EXPORT_SUPPORT, InitFlags.NO_EXPORT_SUPPORT),
    ],
)
def test_of_flags_that_exclude_each_other_one_is_had(
    loser: InitFlags, winner: InitFlags
) -> None:
    proposed = config()
    proposed.decline(winner)

    for first, second in [(loser, winner), (winner, loser)]:
        proposed.want(first)
        with pytest.raises(CapabilityError, match=f"no {first.name} with it"):
            proposed.want(second)
        proposed.decline(first)
    proposed.wanted |= loser | winner

    assert proposed.granted == DEFAULT_FLAGS | winner
    assert list(proposed.refused) == [loser]


def test_auto_readdirplus_goes_with_readdirplus_only() -> None:
    proposed = propose(offer(), frozenset({"readdir", "readdirplus"}))
    proposed.decline(InitFlags.DO_READDIRPLUS)

    assert proposed.granted == DEFAULT_FLAGS
    assert "DO_READDIRPLUS only" in proposed.refused[InitFlags.READDIRPLUS_AUTO]


def idmapping(checks: bool | None, *, allow_root: bool = False) -> KernelConfig:
    """Return what a filesystem gets to see that is mounted in some way."""
    return propose(
        offer(),
        frozenset({"getxattr"}),
        default_permissions=checks,
        allow_root=allow_root,
    )


def test_an_idmap_takes_a_kernel_that_checks_permissions() -> None:
    proposed = idmapping(False)

    with pytest.raises(CapabilityError, match="without default_permissions; mount"):
        proposed.want(InitFlags.ALLOW_IDMAP)
    proposed.want(InitFlags.ALLOW_IDMAP | InitFlags.POSIX_ACL)

    assert InitFlags.ALLOW_IDMAP in proposed.granted


@pytest.mark.parametrize("known", [True, None])
def test_an_idmap_is_had_where_it_may_be_possible(known: bool | None) -> None:
    proposed = idmapping(known)

    proposed.want(InitFlags.ALLOW_IDMAP)

    assert InitFlags.ALLOW_IDMAP in proposed.granted


def test_an_idmap_and_allow_root_exclude_each_other() -> None:
    proposed = idmapping(True, allow_root=True)

    with pytest.raises(CapabilityError, match="allow_root tells users apart by"):
        proposed.want(InitFlags.ALLOW_IDMAP)


def test_an_idmap_takes_flags2() -> None:
    proposed = idmapping(True)
    proposed.decline(InitFlags.INIT_EXT)

    with pytest.raises(CapabilityError, match="INIT_EXT only"):
        proposed.want(InitFlags.ALLOW_IDMAP)


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("max_write", 4096, 1 << 24),
        ("max_readahead", 0, 2**32 - 1),
        ("max_background", 0, 2**16 - 1),
        ("congestion_threshold", 0, 2**16 - 1),
        ("time_gran", 1, 10**9),
        ("max_stack_depth", 1, 2),
        ("request_timeout", 0, 2**16 - 1),
    ],
)
def test_a_figure_stays_within_what_the_kernel_takes(
    field: str, low: int, high: int
) -> None:
    proposed = config()

    setattr(proposed, field, low)
    setattr(proposed, field, high)

    for wrong in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"{field} must be {low}\.\.{high}, not"):
            setattr(proposed, field, wrong)
    assert getattr(proposed, field) == high


@pytest.mark.parametrize(
    "field", ["minor", "offered", "implied", "default_permissions", "allow_root"]
)
def test_the_offer_is_the_kernels(field: str) -> None:
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        setattr(config(), field, 0)
