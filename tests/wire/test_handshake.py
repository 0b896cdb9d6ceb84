"""INIT: who offers what, who refuses what, and what is agreed on."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.wire import oracle
from tests.wire.messages import CALLER
from tests.wire.oracle import golden_struct
from triofuse.filesystem.capabilities import DEFAULT_FLAGS, names_of
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.errors import CapabilityError
from triofuse.filesystem.flags import InitFlags
from triofuse.wire.errors import HandshakeError
from triofuse.wire.handshake import (
    Init,
    agree,
    encode_init,
    encode_version,
    propose,
)

#: What a 6.18 kernel offers a plain fuse mount.
_OFFERED = oracle.GROUPS["init"]["offered_by_6_18"]
OFFER = InitFlags(_OFFERED["flags"] | _OFFERED["flags2"] << 32)

LIMIT = oracle.LIMITS["max_pages_limit"]["value"]


def offer(**changes: Any) -> Init:
    return attrs.evolve(Init(*CALLER, 7, 45, 0x20000, OFFER), **changes)


def config(**changes: Any) -> KernelConfig:
    """Return what the filesystem of no methods gets to see."""
    return propose(offer(**changes), frozenset())


# --- The proposal


def test_what_is_taken_by_default_is_offered_by_6_18() -> None:
    proposed = config()

    assert proposed.wanted == DEFAULT_FLAGS
    assert proposed.granted == DEFAULT_FLAGS
    assert proposed.offered == OFFER
    assert (proposed.minor, proposed.max_readahead) == (45, 1 << 20)


@pytest.mark.parametrize(
    ("method", "implied"),
    [
        ("setlk", InitFlags.POSIX_LOCKS | InitFlags.FLOCK_LOCKS),
        ("readdirplus", InitFlags.DO_READDIRPLUS),
        ("lookup", InitFlags(0)),
    ],
)
def test_a_method_implies_its_capabilities(method: str, implied: InitFlags) -> None:
    proposed = propose(offer(), frozenset({method}))

    assert proposed.wanted == DEFAULT_FLAGS | implied


@pytest.mark.parametrize(("kernel", "agreed"), [(45, 45), (99, 45), (44, 44), (3, 3)])
def test_the_smaller_minor_counts(kernel: int, agreed: int) -> None:
    assert config(minor=kernel).minor == agreed


def test_a_kernel_before_7_is_refused() -> None:
    with pytest.raises(HandshakeError, match=r"speaks FUSE 6\.9, 7\.0 is the oldest"):
        config(major=6, minor=9)


def test_a_newer_major_is_told_our_version() -> None:
    assert encode_version() == golden_struct("fuse_init_out", major=7, minor=45)[:8]


def test_what_is_not_offered_is_not_granted() -> None:
    proposed = config(flags=InitFlags.ASYNC_READ | InitFlags.POSIX_LOCKS)

    assert proposed.granted == InitFlags.ASYNC_READ


def test_an_old_kernel_has_no_readahead_to_offer() -> None:
    assert config(minor=5, max_readahead=0).max_readahead == 0


# --- The agreement


@pytest.mark.parametrize(
    ("wanted", "limit", "pages", "max_write"),
    [
        (1 << 20, LIMIT, 256, 1 << 20),
        (4096, LIMIT, 1, 4096),
        (4097, LIMIT, 2, 4097),
        (1 << 24, LIMIT, 256, 1 << 20),
        (1 << 24, 4096, 4096, 1 << 24),
        (1 << 20, 100, 100, 100 * 4096),
    ],
)
def test_max_write_is_bounded_by_the_pages_of_a_request(
    wanted: int, limit: int, pages: int, max_write: int
) -> None:
    proposed = config()
    proposed.max_write = wanted

    agreement = agree(proposed, limit)

    assert (agreement.max_pages, agreement.max_write) == (pages, max_write)


@pytest.mark.parametrize("decline", [True, False])
def test_without_max_pages_a_request_has_32_pages(decline: bool) -> None:
    proposed = config() if decline else config(flags=OFFER & ~InitFlags.MAX_PAGES)
    proposed.decline(InitFlags.MAX_PAGES)

    agreement = agree(proposed, LIMIT)

    assert agreement.max_pages == oracle.LIMITS["default_max_pages"]["value"]
    assert agreement.max_write == 32 * 4096


@pytest.mark.parametrize("max_write", [4096, 65536, 1 << 20])
def test_the_receive_buffer_is_large_enough_for_every_request(max_write: int) -> None:
    """For the kernel (header_room), and for an attribute of 64 KiB with its name."""
    proposed = config()
    proposed.max_write = max_write

    size = agree(proposed, LIMIT).receive_size

    assert size >= max_write + oracle.LIMITS["header_room"]["value"]
    assert size >= oracle.CONSTANTS["FUSE_MIN_READ_BUFFER"]
    assert size >= 40 + 16 + 256 + oracle.LIMITS["xattr_size_max"]["value"]


def test_without_init_ext_nothing_of_flags2_is_granted() -> None:
    proposed = config()
    proposed.want(InitFlags.PASSTHROUGH)
    proposed.decline(InitFlags.INIT_EXT)

    agreement = agree(proposed, LIMIT)

    assert agreement.flags == DEFAULT_FLAGS & ~InitFlags.INIT_EXT


def test_only_a_filesystem_that_lists_both_ways_is_asked_both_ways() -> None:
    both = propose(offer(), frozenset({"readdir", "readdirplus"}))

    assert InitFlags.READDIRPLUS_AUTO in both.wanted


@pytest.mark.parametrize("figure", [2, 50, 999_999_999])
def test_a_granularity_is_a_power_of_ten(figure: int) -> None:
    with pytest.raises(ValueError, match="power of ten"):
        config().time_gran = figure


def test_a_timeout_brings_its_capability() -> None:
    proposed = config()
    proposed.request_timeout = 30

    agreement = agree(proposed, LIMIT)

    assert agreement.request_timeout == 30
    assert InitFlags.REQUEST_TIMEOUT in agreement.flags


def test_a_timeout_that_the_kernel_does_not_offer_is_none() -> None:
    proposed = config(flags=DEFAULT_FLAGS)
    proposed.request_timeout = 30

    agreement = agree(proposed, LIMIT)

    assert agreement.request_timeout == 0
    assert "does not offer it" in agreement.refused[InitFlags.REQUEST_TIMEOUT]


def test_an_agreement_tells_who_wanted_what_and_what_came_of_it() -> None:
    proposed = propose(offer(), frozenset({"readdirplus"}))
    proposed.want(InitFlags.DONT_MASK)
    proposed.wanted |= InitFlags.FILE_OPS
    proposed.decline(InitFlags.ASYNC_READ)

    agreement = agree(proposed, LIMIT)

    assert agreement.offered == OFFER
    assert agreement.implied == InitFlags.DO_READDIRPLUS
    assert agreement.wanted == proposed.wanted
    assert list(agreement.refused) == [InitFlags.FILE_OPS]
    first, granted, *others, refused = str(agreement).splitlines()
    assert first.startswith("protocol 7.45, max_write 1048576 bytes, 256 pages in")
    assert granted == f"granted: {names_of(agreement.flags)}"
    assert others == [
        "  of these implied by methods: DO_READDIRPLUS",
        "  of these asked for by init(): DONT_MASK",
        f"offered, not wanted: {names_of(OFFER & ~agreement.flags)}",
    ]
    assert refused.startswith("refused: FILE_OPS: this kernel (protocol 7.45) does not")


def test_an_agreement_without_anything_says_so() -> None:
    agreement = agree(config(flags=InitFlags(0)), LIMIT)

    assert "granted: nothing" in str(agreement)


def test_a_capability_without_a_name_is_refused() -> None:
    with pytest.raises(CapabilityError, match="0x4000000000000"):
        config().want(InitFlags(1 << 50))


# --- The reply


def encoded(proposed: KernelConfig) -> bytes:
    return encode_init(proposed, agree(proposed, LIMIT))


def test_the_reply_has_what_was_agreed_on() -> None:
    proposed = config()
    proposed.want(InitFlags.PASSTHROUGH | InitFlags.REQUEST_TIMEOUT)
    proposed.max_write = 128 << 10
    proposed.max_readahead = 4096
    proposed.max_background = 5
    proposed.congestion_threshold = 4
    proposed.time_gran = 1000
    proposed.max_stack_depth = 2
    proposed.request_timeout = 60

    assert encoded(proposed) == golden_struct(
        "fuse_init_out",
        major=7,
        minor=45,
        max_readahead=4096,
        flags=DEFAULT_FLAGS & 0xFFFFFFFF,
        flags2=1 << (37 - 32) | 1 << (42 - 32),
        max_background=5,
        congestion_threshold=4,
        max_write=128 << 10,
        time_gran=1000,
        max_pages=32,
        max_stack_depth=2,
        request_timeout=60,
    )


def test_flags2_is_empty_without_init_ext() -> None:
    proposed = config(flags=OFFER & ~InitFlags.INIT_EXT)
    proposed.wanted |= InitFlags.PASSTHROUGH

    assert encoded(proposed) == golden_struct(
        "fuse_init_out",
        major=7,
        minor=45,
        max_readahead=1 << 20,
        flags=DEFAULT_FLAGS & ~InitFlags.INIT_EXT,
        max_background=64,
        congestion_threshold=48,
        max_write=1 << 20,
        time_gran=1,
        max_pages=256,
    )


def test_a_stack_depth_is_for_passthrough_only() -> None:
    proposed = config()
    proposed.max_stack_depth = 2

    assert encoded(proposed)[36:40] == bytes(4)


@pytest.mark.parametrize(
    ("minor", "size"),
    [(0, 8), (4, 8), (5, 24), (22, 24), (23, 64), (45, 64)],
)
def test_an_older_protocol_has_a_shorter_reply(minor: int, size: int) -> None:
    reply = encoded(config(minor=minor))

    assert len(reply) == size
    assert reply[:8] == golden_struct("fuse_init_out", major=7, minor=minor)[:8]
